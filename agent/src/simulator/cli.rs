//! The simulator's command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use uuid::Uuid;

use crate::secret::Secret;
use crate::server_url::ServerUrl;
use crate::trust::CaFingerprint;

const ABOUT: &str = "Simulates one device or a whole fleet against a SignalBeam server";

const MORE: &str = "\
Scenarios of a fleet (--scenario); an iteration is one heartbeat of each device, unless it says otherwise:
  steady         heartbeats by certificate at the interval, spread by a tenth either way
  renewal-storm  certificates of one day, so that the renewal window is open; in each iteration all devices renew at
                 once, then every old certificate must be refused, on its open connection and on a new one, and every
                 new one accepted
  flapping       in each iteration a device cuts its connection, restarts with nothing but what it keeps on disk, or
                 hangs up before it has read the answer to a heartbeat, a renewal or a certificate request, and then
                 repeats; no device may be lost
  revocations    an administrator revokes the certificates of a share of the devices (--share) while all send
                 heartbeats; from the moment the revocation is answered the certificate must be refused, the API key
                 must do, and a certificate that is asked for anew must be accepted

Exit codes: 0 everything held, 1 something failed or did not hold, 2 usage, 3 waiting for approval, 4 not approved,
5 credential expired or missing.

Examples:
  One device, approved by a person:
    signalbeam-simulator --device-manager-url https://localhost:8443 --ca-cert signalbeam-data/ca/ca-cert.pem \\
        --token sbt_a1b2c3d4_... --use-device-auth --use-mtls --wait-for-approval

  One device that makes its token, approves itself and checks the authentication log:
    export SIGNALBEAM_ADMIN_TOKEN=$(signalbeam admin-token)
    signalbeam-simulator --device-manager-url https://localhost:8443 --ca-cert signalbeam-data/ca/ca-cert.pem \\
        --use-device-auth --use-mtls --wait-for-approval --iterations 3 --heartbeat-interval-seconds 1

  The same device again, by its API key alone:
    signalbeam-simulator ... --device-id 01a20293-ed4b-7214-a315-1d093331faab --use-device-auth --iterations 1

  A thousand devices, all of which renew at once, and the summary as JSON:
    signalbeam-simulator --device-manager-url https://localhost:8443 --ca-cert signalbeam-data/ca/ca-cert.pem \\
        --devices 1000 --scenario renewal-storm --iterations 1 --ops-url http://127.0.0.1:9464 --json";

/// What a fleet does once it is enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Heartbeats at an interval.
    Steady,
    /// All certificates renewed at once.
    RenewalStorm,
    /// Connections cut, restarts, lost answers.
    Flapping,
    /// Certificates revoked while heartbeats are sent.
    Revocations,
}

impl Scenario {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::RenewalStorm => "renewal-storm",
            Self::Flapping => "flapping",
            Self::Revocations => "revocations",
        }
    }
}

/// The command line.
// Each of the spec's switches is one.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Parser)]
#[command(name = "signalbeam-simulator", version, about = ABOUT, after_help = MORE)]
pub struct Cli {
    /// The server
    #[arg(long, value_name = "URL", env = "SIGNALBEAM_CLOUD_URL")]
    pub device_manager_url: ServerUrl,
    /// Register and authenticate as a device; the API key alone unless --use-mtls stands beside it (the default)
    #[arg(long)]
    pub use_device_auth: bool,
    /// Ask for a certificate and authenticate by it
    #[arg(long)]
    pub use_mtls: bool,
    /// Wait until an administrator has approved the device, instead of ending with exit code 3
    #[arg(long)]
    pub wait_for_approval: bool,
    /// How long to wait for approval, at most
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub approval_timeout_seconds: u32,
    /// The tenant that issued the token
    #[arg(
        long,
        value_name = "UUID",
        env = "SIGNALBEAM_TENANT_ID",
        default_value = "00000000-0000-0000-0000-000000000001"
    )]
    pub tenant_id: Uuid,
    /// The registration token; not needed with --admin-token or --device-id
    #[arg(long, value_name = "TOKEN", env = "SIGNALBEAM_TOKEN", hide_env_values = true, value_parser = read_secret)]
    pub token: Option<Secret>,
    /// The device's label; in a fleet its beginning
    #[arg(long, value_name = "NAME", env = "SIGNALBEAM_DEVICE_NAME", default_value = "simulator")]
    pub device_name: String,
    /// Go on as a device that an earlier run registered, from its sim-credentials folder
    #[arg(long, value_name = "UUID", conflicts_with_all = ["token", "devices"])]
    pub device_id: Option<Uuid>,
    /// The folder in which sim-credentials-{deviceId} is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// How often: heartbeats of one device (until stopped by default), iterations of a fleet's scenario (5 by default)
    #[arg(long, value_name = "N", conflicts_with = "duration_seconds")]
    pub iterations: Option<u32>,
    /// How long a fleet's scenario lasts, in the place of --iterations
    #[arg(long, value_name = "SECONDS", requires = "devices")]
    pub duration_seconds: Option<u32>,
    /// Pause between a device's heartbeats, fractions allowed
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub heartbeat_interval_seconds: f64,
    /// Trust only the CA in this PEM file
    #[arg(long, value_name = "FILE", conflicts_with = "ca_fingerprint")]
    pub ca_cert: Option<PathBuf>,
    /// Fetch the server's CA and trust only it, if it has this fingerprint
    #[arg(long, value_name = "SHA256:HEX")]
    pub ca_fingerprint: Option<CaFingerprint>,
    /// An administrator's token: makes registration tokens, approves, and reads the authentication log
    #[arg(long, value_name = "JWT", env = "SIGNALBEAM_ADMIN_TOKEN", hide_env_values = true, value_parser = read_secret)]
    pub admin_token: Option<Secret>,
    /// Simulate a fleet of this many devices, by certificate, with --admin-token; their credentials are kept in memory
    #[arg(long, value_name = "N")]
    pub devices: Option<u32>,
    /// What the fleet does
    #[arg(long, value_enum, default_value = "steady", requires = "devices")]
    pub scenario: Scenario,
    /// The most requests at a time
    #[arg(long, value_name = "N", default_value_t = 32, requires = "devices")]
    pub concurrency: u32,
    /// Let the devices arrive over this time instead of all at once
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "devices")]
    pub ramp_seconds: u32,
    /// Open a new connection, with a full handshake, for each heartbeat
    #[arg(long, requires = "devices")]
    pub new_connections: bool,
    /// Days of validity to ask for [default: the server's; 1 in renewal-storm and flapping]
    #[arg(long, value_name = "DAYS", requires = "devices")]
    pub validity_days: Option<u16>,
    /// Percent of the devices whose certificates are revoked in revocations
    #[arg(long, value_name = "PERCENT", default_value_t = 10, requires = "devices")]
    pub share: u8,
    /// Begin the simulator's draws here, to repeat a run's choices [default: drawn, and shown in the summary]
    #[arg(long, value_name = "N", requires = "devices")]
    pub seed: Option<u64>,
    /// The server's operations listener, for its own view of validation latency
    #[arg(long, value_name = "URL", requires = "devices")]
    pub ops_url: Option<String>,
    /// The summary as JSON on standard output; remarks go to standard error
    #[arg(long)]
    pub json: bool,
}

/// Takes anything: a refusal here would print the secret.
// clap wants a `Result`.
#[allow(clippy::unnecessary_wraps)]
fn read_secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_help_has_examples_and_every_scenario() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:"));
        for scenario in Scenario::value_variants() {
            assert!(help.contains(&format!("\n  {:<13}", scenario.as_str())), "{} in {help}", scenario.as_str());
        }
    }

    #[test]
    fn the_flags_of_the_specification_are_read() {
        let url = "https://localhost:5001";
        let flags = ["--use-device-auth", "--use-mtls", "--wait-for-approval"];
        let line = ["signalbeam-simulator", "--device-manager-url", url].into_iter().chain(flags);
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.device_manager_url.to_string(), url);
        assert!(cli.use_device_auth && cli.use_mtls && cli.wait_for_approval);
    }
}

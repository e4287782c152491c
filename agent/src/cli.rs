//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use uuid::Uuid;

use crate::output::Format;
use crate::secret::Secret;
use crate::server_url::ServerUrl;
use crate::settings::ReloadSignal;
use crate::trust::CaFingerprint;

const ABOUT: &str = "The agent that gives this device its SignalBeam identity and keeps it";

const EXAMPLES: &str = "\
Examples:
  signalbeam-agent register --tenant-id 00000000-0000-0000-0000-000000000001 \\
      --token sbt_a1b2c3d4_... --device-name warehouse-01 \\
      --cloud-url https://localhost:8443 --ca-fingerprint SHA256:...
  signalbeam-agent status                # after an administrator approved it
  signalbeam-agent request-certificate
  signalbeam-agent run

Exit codes: 0 fine, 1 failed, 2 usage, 3 waiting for approval, 4 not approved,
5 credential expired or missing.
Settings may stand in agent.toml beside credentials.json.";

const REGISTER_EXAMPLES: &str = "\
Examples:
  signalbeam-agent register --tenant-id 00000000-0000-0000-0000-000000000001 \\
      --token sbt_a1b2c3d4_... --device-name warehouse-01 \\
      --cloud-url https://edge.example:8443 --ca-cert /etc/signalbeam/ca.pem
  export SIGNALBEAM_TOKEN=sbt_a1b2... SIGNALBEAM_CLOUD_URL=https://edge.example
  signalbeam-agent register --tenant-id ... --device-name warehouse-01

With --force the identity in force stays so until the server has answered, and
is then kept beside credentials.json. The server goes on accepting the former
device until an administrator decommissions it.

If the answer is lost, run the same command again: it goes on with the same
registration.";

const RUN_EXAMPLES: &str = "\
Examples:
  signalbeam-agent run            # heartbeats until SIGTERM or Ctrl-C
  signalbeam-agent run --once     # one heartbeat, for cron; renews in time
  signalbeam-agent run --exec 'systemctl reload nginx'
  signalbeam-agent run --reload-pid-file /run/mosquitto.pid

The command of --exec sees SIGNALBEAM_DEVICE_ID, SIGNALBEAM_CERT_DIR,
SIGNALBEAM_SERIAL, SIGNALBEAM_EXPIRES_AT (seconds since 1970),
SIGNALBEAM_CERTIFICATE_PATH, SIGNALBEAM_PRIVATE_KEY_PATH and
SIGNALBEAM_CA_CERTIFICATE_PATH.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  signalbeam-agent completions bash > /etc/bash_completion.d/signalbeam-agent
  signalbeam-agent completions fish \\
      > ~/.config/fish/completions/signalbeam-agent.fish";

/// The agent that gives this device its `SignalBeam` identity and keeps it.
#[derive(Debug, Parser)]
#[command(name = "signalbeam-agent", version, about = ABOUT, after_help = EXAMPLES)]
pub struct Cli {
    /// The device's identity [default: ~/.signalbeam/credentials.json]
    #[arg(long, global = true, value_name = "FILE", env = "SIGNALBEAM_CREDENTIALS")]
    pub credentials: Option<PathBuf>,
    /// Where certificates are kept [default: /var/lib/signalbeam-agent/certs, or ~/.signalbeam/certs where that can't be written]
    #[arg(long, global = true, value_name = "DIR", env = "SIGNALBEAM_CERT_DIR")]
    pub cert_dir: Option<PathBuf>,
    /// The form of results, and of errors on standard error
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub output: Format,
    /// The form of the log on standard error [default: that of --output]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", env = "SIGNALBEAM_LOG_FORMAT")]
    pub log_format: Option<Format>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Register this device with a registration token
    #[command(after_help = REGISTER_EXAMPLES)]
    Register(RegisterArgs),
    /// Ask the server where this device stands; fetches the API key once it is approved
    #[command(after_help = "Example:\n  signalbeam-agent --output json status")]
    Status,
    /// Send heartbeats and renew the certificate in time
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Request a certificate; the private key is made on this device
    #[command(after_help = "Example:\n  signalbeam-agent --cert-dir /etc/signalbeam/certs request-certificate")]
    RequestCertificate {
        /// Let the server make the private key and send it once
        #[arg(long)]
        server_key: bool,
    },
    /// Show the installed certificate, without asking the server
    #[command(after_help = "Example:\n  signalbeam-agent certificate-status || signalbeam-agent renew-certificate")]
    CertificateStatus,
    /// Renew the installed certificate now
    #[command(after_help = "Example:\n  signalbeam-agent renew-certificate")]
    RenewCertificate,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Show the version
    #[command(after_help = "Example:\n  signalbeam-agent --output json version")]
    Version,
}

/// `register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// The tenant that issued the token
    #[arg(long, value_name = "UUID", env = "SIGNALBEAM_TENANT_ID")]
    pub tenant_id: Uuid,
    /// The registration token; the environment keeps it out of the process list
    #[arg(long, value_name = "TOKEN", env = "SIGNALBEAM_TOKEN", hide_env_values = true, value_parser = read_secret)]
    pub token: Secret,
    /// A label for this device, 1 to 128 characters
    #[arg(long, value_name = "NAME", env = "SIGNALBEAM_DEVICE_NAME", value_parser = read_device_name)]
    pub device_name: String,
    /// The server; the token is sent there, so there is no default
    #[arg(long, value_name = "URL", env = "SIGNALBEAM_CLOUD_URL")]
    pub cloud_url: Option<ServerUrl>,
    /// Trust only the CA in this PEM file
    #[arg(long, value_name = "FILE", conflicts_with = "ca_fingerprint")]
    pub ca_cert: Option<PathBuf>,
    /// Fetch the server's CA and trust only it, if it has this fingerprint
    #[arg(long, value_name = "SHA256:HEX")]
    pub ca_fingerprint: Option<CaFingerprint>,
    /// Replace the identity this device has, once the server has given a new one
    #[arg(long)]
    pub force: bool,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// One heartbeat, then exit
    #[arg(long)]
    pub once: bool,
    /// Run this in a shell after the certificate or its CAs changed
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// Signal the process with the id in this file after the certificate or its CAs changed
    #[arg(long, value_name = "FILE")]
    pub reload_pid_file: Option<PathBuf>,
    /// The signal for it [default: HUP]
    #[arg(long, value_enum, value_name = "SIGNAL")]
    pub reload_signal: Option<ReloadSignal>,
}

/// Takes anything: a refusal here would print the secret.
// clap wants a `Result`.
#[allow(clippy::unnecessary_wraps)]
fn read_secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn read_device_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if !(1..=128).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err("must have 1 to 128 characters, none of them control characters".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_help_has_examples() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        assert_has_narrow_examples(&mut command);
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
            assert_has_narrow_examples(sub);
        }
    }

    fn assert_has_narrow_examples(command: &mut clap::Command) {
        let help = command.render_help().to_string();
        let examples = &help[help.find("Example").unwrap_or_else(|| panic!("{} has none", command.get_name()))..];
        for line in examples.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_device_name_is_bounded() {
        assert_eq!(read_device_name(" warehouse-01 ").unwrap(), "warehouse-01");
        assert_eq!(read_device_name(&"ä".repeat(128)).unwrap().chars().count(), 128);
        for wrong in ["", "  ", &"a".repeat(129), "a\nb"] {
            assert!(read_device_name(wrong).is_err(), "{wrong:?}");
        }
    }
}

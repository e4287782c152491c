//! What is to be done, read from the command line and checked before anything is sent.

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::secret::{Secret, parse_registration_token};
use crate::simulator::cli::{Cli, Scenario};
use crate::simulator::target::Target;

/// How many iterations a fleet's scenario has where nothing is said.
const DEFAULT_ITERATIONS: u32 = 5;
const MOST_DEVICES: u32 = 100_000;
const MOST_CONCURRENT: u32 = 1_000;
const LONGEST_INTERVAL_SECONDS: f64 = 86_400.0;

/// One device or many.
#[derive(Debug)]
pub enum Plan {
    /// A device that goes the agent's way, with its credentials on disk.
    One(OnePlan),
    /// Many devices, with their credentials in memory.
    Fleet(FleetPlan),
}

/// How the single device comes by its identity.
#[derive(Debug)]
pub enum Origin {
    /// It registers with this token.
    Token(Secret),
    /// It registers with a token that the administrator's token makes.
    NewToken,
    /// An earlier run registered it.
    Registered(Uuid),
}

/// What a single device does.
#[derive(Debug)]
pub struct OnePlan {
    /// The server and whom to believe.
    pub target: Target,
    /// The administrator's token, if there is one.
    pub admin_token: Option<Secret>,
    /// Where the identity comes from.
    pub origin: Origin,
    /// The device's tenant.
    pub tenant_id: Uuid,
    /// The device's label.
    pub device_name: String,
    /// Where its folder is made.
    pub directory: PathBuf,
    /// Whether it asks for a certificate.
    pub uses_certificate: bool,
    /// How long it waits for approval; nothing where it does not wait.
    pub approval_patience: Option<Duration>,
    /// How many heartbeats; nothing means until stopped.
    pub iterations: Option<u32>,
    /// Pause between heartbeats.
    pub interval: Duration,
    /// Whether the result is JSON.
    pub json: bool,
}

/// When a scenario ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After so many iterations.
    Iterations(u32),
    /// After so long.
    Duration(Duration),
}

/// What a fleet does.
#[derive(Debug)]
pub struct FleetPlan {
    /// The server and whom to believe.
    pub target: Target,
    /// The administrator's token.
    pub admin_token: Secret,
    /// The devices' tenant.
    pub tenant_id: Uuid,
    /// What the devices' labels begin with.
    pub device_name: String,
    /// How many.
    pub devices: u32,
    /// The most requests at a time.
    pub concurrency: u32,
    /// The time over which the devices arrive.
    pub ramp: Duration,
    /// What they do.
    pub scenario: Scenario,
    /// For how long.
    pub length: Length,
    /// Pause between a device's heartbeats.
    pub interval: Duration,
    /// Whether each heartbeat opens a connection.
    pub new_connections: bool,
    /// Days of validity to ask for.
    pub validity_days: Option<u16>,
    /// Percent of the devices whose certificates are revoked.
    pub share_percent: u8,
    /// Where the simulator's draws begin.
    pub seed: Option<u64>,
    /// The server's operations listener.
    pub ops_url: Option<String>,
    /// Whether the result is JSON.
    pub json: bool,
}

impl Plan {
    /// Reads a plan from the command line.
    ///
    /// # Errors
    /// What is missing or out of bounds, in words for the user.
    pub fn of(cli: Cli) -> Result<Self, String> {
        let interval = cli.heartbeat_interval_seconds;
        if !(0.0..=LONGEST_INTERVAL_SECONDS).contains(&interval) {
            return Err(format!(
                "--heartbeat-interval-seconds is {interval}, but must be 0 to {LONGEST_INTERVAL_SECONDS}"
            ));
        }
        let interval = Duration::from_secs_f64(interval);
        match cli.devices {
            None => OnePlan::of(cli, interval).map(Self::One),
            Some(devices) => FleetPlan::of(cli, devices, interval).map(Self::Fleet),
        }
    }
}

impl OnePlan {
    fn of(cli: Cli, interval: Duration) -> Result<Self, String> {
        let target = Target::new(cli.device_manager_url, cli.ca_cert, cli.ca_fingerprint);
        let origin = match (cli.device_id, cli.token, &cli.admin_token) {
            (Some(id), _, _) => Origin::Registered(id),
            (None, Some(token), _) => {
                Origin::Token(parse_registration_token(token.expose()).map_err(|reason| format!("--token: {reason}"))?)
            }
            (None, None, Some(_)) => Origin::NewToken,
            (None, None, None) => return Err(no_token(&target)),
        };
        Ok(Self {
            target,
            admin_token: cli.admin_token,
            origin,
            tenant_id: cli.tenant_id,
            device_name: cli.device_name,
            directory: cli.directory,
            uses_certificate: cli.use_mtls,
            approval_patience: cli
                .wait_for_approval
                .then_some(Duration::from_secs(cli.approval_timeout_seconds.into())),
            iterations: cli.iterations,
            interval,
            json: cli.json,
        })
    }
}

impl FleetPlan {
    fn of(cli: Cli, devices: u32, interval: Duration) -> Result<Self, String> {
        let Some(admin_token) = cli.admin_token else {
            return Err("a fleet needs --admin-token (or SIGNALBEAM_ADMIN_TOKEN), to make tokens and approve: \
                        'signalbeam admin-token' prints one"
                .to_owned());
        };
        for (flag, value, least, most) in [
            ("--devices", devices, 1, MOST_DEVICES),
            ("--concurrency", cli.concurrency, 1, MOST_CONCURRENT),
            ("--share", u32::from(cli.share), 1, 100),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("{flag} is {value}, but must be {least} to {most}"));
            }
        }
        let needs_open_window = matches!(cli.scenario, Scenario::RenewalStorm | Scenario::Flapping);
        let length = cli.duration_seconds.map_or_else(
            || Length::Iterations(cli.iterations.unwrap_or(DEFAULT_ITERATIONS)),
            |seconds| Length::Duration(Duration::from_secs(seconds.into())),
        );
        Ok(Self {
            target: Target::new(cli.device_manager_url, cli.ca_cert, cli.ca_fingerprint),
            admin_token,
            tenant_id: cli.tenant_id,
            device_name: cli.device_name,
            devices,
            concurrency: cli.concurrency.min(devices),
            ramp: Duration::from_secs(cli.ramp_seconds.into()),
            scenario: cli.scenario,
            length,
            interval,
            new_connections: cli.new_connections,
            validity_days: cli.validity_days.or(needs_open_window.then_some(1)),
            share_percent: cli.share,
            seed: cli.seed,
            ops_url: cli.ops_url,
            json: cli.json,
        })
    }

    /// How long after the beginning a device arrives.
    pub fn arrival(&self, number: usize) -> Duration {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.ramp.mul_f64(f64::from(number) / f64::from(self.devices))
    }

    /// How many devices have their certificate revoked; one at least.
    pub fn victims(&self) -> usize {
        (self.devices as usize * usize::from(self.share_percent)).div_ceil(100)
    }
}

fn no_token(target: &Target) -> String {
    format!(
        "give --token, --device-id or --admin-token; an administrator makes a token with\n  \
         curl -X POST {} -H \"Authorization: Bearer $(signalbeam admin-token)\" {} \
         -d '{{\"tenantId\": \"00000000-0000-0000-0000-000000000001\"}}'",
        target.server().join("/api/registration-tokens"),
        target.curl_trust(),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, String> {
        let base = ["signalbeam-simulator", "--device-manager-url", "https://localhost:8443"];
        Plan::of(Cli::try_parse_from(base.iter().chain(arguments)).unwrap())
    }

    fn fleet(arguments: &[&str]) -> FleetPlan {
        match plan(&[&["--admin-token", "a.b.c"], arguments].concat()) {
            Ok(Plan::Fleet(plan)) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_device_without_a_way_to_register_is_told_how_to_get_one() {
        let reason = plan(&["--use-device-auth"]).unwrap_err();
        assert!(reason.contains("https://localhost:8443/api/registration-tokens"), "{reason}");
        assert!(plan(&["--token", "sbt_cut"]).unwrap_err().contains("--token"));
        let id = "01a20293-ed4b-7214-a315-1d093331faab";
        assert!(matches!(
            plan(&["--device-id", id]),
            Ok(Plan::One(OnePlan { origin: Origin::Registered(_), uses_certificate: false, .. }))
        ));
        assert!(matches!(
            plan(&["--admin-token", "a.b.c", "--use-mtls"]),
            Ok(Plan::One(OnePlan { origin: Origin::NewToken, uses_certificate: true, .. }))
        ));
    }

    #[test]
    fn a_fleet_needs_an_administrator_and_sane_numbers() {
        assert!(plan(&["--devices", "8"]).unwrap_err().contains("--admin-token"));
        for (flag, value) in [("--devices", "0"), ("--devices", "100001"), ("--concurrency", "0"), ("--share", "101")] {
            let mut line = vec!["--admin-token", "a.b.c", flag, value];
            if flag != "--devices" {
                line.extend(["--devices", "8"]);
            }
            assert!(plan(&line).unwrap_err().contains(flag), "{flag} {value}");
        }
        let negative =
            plan(&["--device-id", "01a20293-ed4b-7214-a315-1d093331faab", "--heartbeat-interval-seconds=-1"]);
        assert!(negative.unwrap_err().contains("--heartbeat-interval-seconds"));
    }

    #[test]
    fn scenarios_that_renew_ask_for_certificates_whose_window_is_open() {
        assert_eq!(fleet(&["--devices", "8"]).validity_days, None);
        assert_eq!(fleet(&["--devices", "8", "--scenario", "renewal-storm"]).validity_days, Some(1));
        assert_eq!(
            fleet(&["--devices", "8", "--scenario", "flapping", "--validity-days", "20"]).validity_days,
            Some(20)
        );
    }

    #[test]
    fn devices_arrive_evenly_and_a_share_is_at_least_one() {
        let plan = fleet(&["--devices", "8", "--ramp-seconds", "4", "--concurrency", "99"]);
        let arrivals: Vec<_> = (0..8).map(|number| plan.arrival(number).as_millis()).collect();
        assert_eq!(arrivals, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]);
        assert_eq!((plan.concurrency, plan.victims()), (8, 1));
        assert_eq!(fleet(&["--devices", "250", "--share", "10"]).victims(), 25);
        assert_eq!(plan.length, Length::Iterations(5));
    }
}

//! `signalbeam-simulator`: one device that goes the whole way by the agent's own code, or a fleet that puts a server to the test.

use std::io::Write;

use crate::clock::Clock;
use crate::commands::Outcome;
use crate::failure::Failure;
use crate::simulator::cli::Cli;
use crate::simulator::plan::Plan;
use crate::simulator::stopping::Stop;

pub mod admin;
pub mod cli;
pub mod device;
pub mod dice;
pub mod fleet;
pub mod hang_up;
pub mod histogram;
pub mod operations;
pub mod plan;
pub mod progress;
pub mod record;
pub mod scenario;
pub mod schedule;
pub mod single;
pub mod stopping;
pub mod summary;
pub mod target;
pub mod world;

/// Executes a command line: results go to `out`, remarks too unless the result is JSON, progress to `err`.
///
/// # Errors
/// The failure, with its exit code and advice.
pub fn execute(cli: Cli, clock: &dyn Clock, out: &mut dyn Write, err: &mut dyn Write) -> Outcome {
    let plan = Plan::of(cli).map_err(Failure::Usage)?;
    let stop = Stop::on_signals().map_err(|error| Failure::system("cannot wait for signals", error))?;
    match plan {
        Plan::One(plan) => single::run(&plan, clock, &stop, out, err),
        Plan::Fleet(plan) => fleet::run(&plan, &stop, out),
    }
}

/// The codes after which only another API key helps.
const NEEDS_ANOTHER_KEY: [&str; 4] =
    ["API_KEY_ALREADY_CLAIMED", "INVALID_API_KEY", "API_KEY_EXPIRED", "API_KEY_REVOKED"];

/// What to do after a failure, in the simulator's words: its options are its own, and its devices are quickly made anew.
pub fn advice(failure: &Failure) -> String {
    match failure {
        Failure::Usage(_) => "Run 'signalbeam-simulator --help'.".to_owned(),
        Failure::NotRegistered(_) => {
            "Check --device-id and --directory: an earlier run must have registered the device there.".to_owned()
        }
        Failure::Pending => {
            "Ask an administrator to approve it, then run this again with --device-id; --wait-for-approval waits for it."
                .to_owned()
        }
        other if NEEDS_ANOTHER_KEY.contains(&other.code()) => {
            "Ask an administrator to rotate the device's API key, then run this again with --device-id.".to_owned()
        }
        other if other.advice().contains("signalbeam-agent") => {
            "Run 'signalbeam-simulator' again with --device-id, or without it and with a new token for a new device."
                .to_owned()
        }
        other => other.advice().replace("--cloud-url", "--device-manager-url"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::CallError;

    #[test]
    fn advice_names_this_program_and_its_options() {
        let server = || "https://localhost".parse().unwrap();
        for failure in [
            Failure::Usage("--token is missing".to_owned()),
            Failure::NotRegistered("credentials.json".into()),
            Failure::Pending,
            Failure::NoApiKey,
            Failure::Call(CallError::Unreachable { server: server(), reason: "refused".to_owned() }),
            Failure::Call(CallError::NotOurServer { server: server(), what: "a web page".to_owned() }),
        ] {
            let said = advice(&failure);
            assert!(!said.contains("signalbeam-agent") && !said.contains("--cloud-url"), "{said}");
        }
    }
}

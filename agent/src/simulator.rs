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

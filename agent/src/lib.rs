//! The device agent: gives a device its identity, keeps its certificate fresh, and survives lost answers and power cuts.
//!
//! The library exists for the programs of this crate and their tests.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

use std::io::Write;
use std::path::PathBuf;

use crate::cli::{Cli, Command};
use crate::clock::Clock;
use crate::commands::{Context, Outcome};
use crate::enrolment::KeyOrigin;
use crate::locations::Locations;
use crate::output::Output;

pub mod anchors;
pub mod api;
pub mod cert_store;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod credentials;
pub mod decision;
pub mod durable;
pub mod enrolment;
pub mod exit;
pub mod failure;
pub mod locations;
pub mod output;
pub mod problem;
pub mod runner;
pub mod secret;
pub mod server_url;
pub mod session;
pub mod settings;
pub mod signals;
pub mod simulator;
pub mod transport;
pub mod trust;

/// Executes a command line. Results go to `sink`, logs to the tracing subscriber, a failure to the caller.
///
/// # Errors
/// The failure, with its exit code and advice.
pub fn execute(cli: Cli, home: Option<PathBuf>, clock: &dyn Clock, sink: &mut dyn Write) -> Outcome {
    let locations = Locations::new(cli.credentials, cli.cert_dir, home)?;
    let mut context = Context { locations, output: Output::new(cli.output, sink), clock };
    dispatch(cli.command, &mut context)
}

/// Executes a command in a context of the caller's.
///
/// # Errors
/// As [`execute`].
pub fn dispatch(command: Command, context: &mut Context<'_>) -> Outcome {
    match command {
        Command::Register(args) => commands::register::execute(&args, context),
        Command::Status => commands::status::execute(context),
        Command::Run(args) => commands::run::execute(&args, context),
        Command::RequestCertificate { server_key } => {
            let origin = if server_key { KeyOrigin::Server } else { KeyOrigin::Device };
            commands::request_certificate::execute(origin, context)
        }
        Command::CertificateStatus => commands::certificate_status::execute(context),
        Command::RenewCertificate => commands::renew_certificate::execute(context),
        Command::Completions { shell } => commands::completions::execute(shell, context),
        Command::Version => commands::version::execute(context),
    }
}

//! `signalbeam ca`: which certificate authorities there are, and what takes one to the end of its life and the next one
//! into its own.

mod rotate;
mod running_server;
mod status;
mod survey;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DataDirArgs, Failure, block_on};
use crate::config::{Config, Flags, Sources};

const EXAMPLES: &str = "\
Examples:
  signalbeam ca status                                      which there are, and what to do next
  signalbeam ca rotate prepare                              make the successor; devices learn to trust it
  signalbeam ca rotate activate --yes                       let it sign from now on
  signalbeam ca rotate retire                               trust the old one no longer

Docs: docs/runbooks/certificate-rotation.md, docs/runbooks/ca-disaster-recovery.md";

/// What to do with the certificate authorities.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum CaCommand {
    /// Show every certificate authority and say what the next step is, also beside a running server
    Status(status::StatusArgs),
    /// Let another authority take over: prepare it, activate it, retire the old one. The server must be running
    #[command(subcommand)]
    Rotate(rotate::RotateCommand),
}

/// Where the data is, and the configuration.
#[derive(Debug, Clone, Args)]
struct PlaceArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// The configuration; by default ./signalbeam.toml, then signalbeam.toml in the data directory
    #[arg(long, env = "SIGNALBEAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl PlaceArgs {
    fn config(&self) -> Result<Config, Failure> {
        Ok(Sources::find(self.config.clone(), &self.data_dir.data_dir, Flags::default()).load()?)
    }
}

pub(super) fn run(command: &CaCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            CaCommand::Status(args) => status::run(args).await,
            CaCommand::Rotate(command) => rotate::run(command).await,
        }
    })
}

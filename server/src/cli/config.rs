//! `signalbeam config`: is it right, and what does it come to.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DataDirArgs, Failure, print};
use crate::config::{Flags, Sources};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether the configuration is right; exit code 2 and every problem where it is not
    Check(ConfigArgs),
    /// Print every key with its effective value, as TOML that can be used as a file
    Print(ConfigArgs),
}

/// Which configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The file; by default ./signalbeam.toml, then signalbeam.toml in the data directory
    #[arg(long, env = "SIGNALBEAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

pub(super) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    let (ConfigCommand::Check(args) | ConfigCommand::Print(args)) = command;
    let sources = Sources::find(args.config.clone(), &args.data_dir.data_dir, Flags::default());
    let config = if matches!(command, ConfigCommand::Check(_)) { sources.check()? } else { sources.load()? };
    let from = sources.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    match command {
        ConfigCommand::Check(_) => {
            for key in sources.warnings()? {
                print(&format!("warning: {key}\n"))?;
            }
            print(&format!("the configuration is right ({from})\n"))
        }
        ConfigCommand::Print(_) => {
            let values = toml::to_string(&config).map_err(Failure::of)?;
            print(&format!("# Defaults, {from}, then the environment.\n{values}"))
        }
    }
}

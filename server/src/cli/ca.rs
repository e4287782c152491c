//! `signalbeam ca`: which certificate authorities there are, and what takes one to the end of its life and the next one
//! into its own.

mod export;
mod import;
mod rotate;
mod running_server;
mod status;
mod survey;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use signalbeam_pki::FileKeyStores;

use super::{DataDirArgs, Failure, block_on};
use crate::config::{Config, Flags, KeyStore, Sources};
use crate::serve::file_key_stores;

const EXAMPLES: &str = "\
Examples:
  signalbeam ca status                                      which there are, and what to do next
  signalbeam ca rotate prepare                              make the successor; devices learn to trust it
  signalbeam ca rotate activate --yes                       let it sign from now on
  signalbeam ca rotate retire                               trust the old one no longer
  signalbeam ca import --certificate ca.pem --key key.pem   bring an authority in, or put a lost key back
  signalbeam ca export --output ca-cert.pem                 what devices and proxies trust

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
    /// Bring an authority in that was made elsewhere, or put back a key that was lost
    Import(import::ImportArgs),
    /// Write out what devices and proxies trust; with --with-key, a key under a passphrase
    Export(export::ExportArgs),
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

/// Keys come and go through files alone.
#[derive(Debug, thiserror::Error)]
#[error(
    "the keys of this installation are in a token or vault (`ca.key_store`), which only its own tools put keys into; what makes \
     authorities there is `signalbeam ca rotate prepare`"
)]
struct NotInFiles;

/// The files in which the installation keeps its keys.
fn file_stores(place: &PlaceArgs) -> Result<FileKeyStores, Failure> {
    let config = place.config()?;
    if config.ca.key_store != KeyStore::File {
        return Err(Failure::of(NotInFiles));
    }
    file_key_stores(&config, &place.data_dir.data_dir).map_err(Failure::of)
}

pub(super) fn run(command: &CaCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            CaCommand::Status(args) => status::run(args).await,
            CaCommand::Rotate(command) => rotate::run(command).await,
            CaCommand::Import(args) => import::run(args).await,
            CaCommand::Export(args) => export::run(args).await,
        }
    })
}

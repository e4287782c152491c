//! `signalbeam backup`: a consistent copy of a data directory, also beside a running server.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use signalbeam_event_store::{Clock, SystemClock};

use super::{DataDirArgs, Failure, block_on, print, print_progress};
use crate::backup::create::{Request, create};
use crate::backup::manifest::Manifest;
use crate::backup::progress::readable_size;
use crate::backup::verify::verify;

const EXAMPLES: &str = "\
Examples:
  signalbeam backup --output /mnt/backups/monday              back up ./signalbeam-data, beside a running server too
  signalbeam backup --data-dir /var/lib/signalbeam --output /mnt/backups/monday
  signalbeam backup --output /mnt/copies/monday --no-secrets  leave out the keys: for somebody who should only look
  signalbeam backup verify /mnt/backups/monday                read everything again and compare it with the manifest

The backup holds the private key of the certificate authority: keep it as you keep that.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  signalbeam backup verify /mnt/backups/monday
  signalbeam backup verify /mnt/backups/monday && echo good";

/// What to back up, and where to.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// The folder to make; it must not exist yet
    #[arg(long, value_name = "DIR", required = true)]
    output: Option<PathBuf>,
    /// Leave out private keys, secrets and the configuration. Such a backup restores a running server only together with
    /// keys from elsewhere
    #[arg(long)]
    no_secrets: bool,
}

/// What to do with a backup that was made.
#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Read a backup again: every file's digest, every event's hash
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify {
        /// The backup's folder
        #[arg(value_name = "DIR")]
        backup: PathBuf,
    },
}

pub(super) fn run(args: &BackupArgs) -> Result<(), Failure> {
    block_on(async {
        if let Some(BackupCommand::Verify { backup }) = &args.command {
            let manifest = verify(backup, &mut print_progress()).await.map_err(Failure::of)?;
            return print(&describe(&format!("{} is as it was made", backup.display()), &manifest));
        }
        let output = args.output.clone().unwrap_or_default();
        let request = Request { data_dir: &args.data_dir.data_dir, output: &output, with_secrets: !args.no_secrets };
        let manifest = create(request, SystemClock.now(), &mut print_progress()).await.map_err(Failure::of)?;
        print(&describe(&format!("{} was made and verified", output.display()), &manifest))
    })
}

fn describe(headline: &str, manifest: &Manifest) -> String {
    let log = manifest
        .event_log
        .as_ref()
        .map_or("empty".to_owned(), |end| format!("up to position {}, recorded at {}", end.position, end.recorded_at));
    let authentication_log = manifest.authentication_log.as_ref();
    let authentication_log = authentication_log
        .map_or("empty".to_owned(), |end| format!("up to row {}, recorded at {}", end.row, end.timestamp));
    let keys = if manifest.has_secrets { "included" } else { "left out" };
    // The structure was checked; whether rows are what was sealed is another, longer question.
    let seals = "not checked here: `signalbeam audit verify` does that";
    format!(
        "{headline}\n  \
         event log           {log}\n  \
         authentication log  {authentication_log}\n  \
         its seals           {seals}\n  \
         keys and secrets    {keys}\n  \
         files               {}, {}\n",
        manifest.files.len(),
        readable_size(manifest.bytes()),
    )
}

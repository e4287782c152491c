//! `signalbeam restore`: puts a backup into a data directory, and acknowledges that the log went back by it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use signalbeam_domain::{Position, Reason};
use signalbeam_event_store::{Clock, SqliteEventReader, SystemClock};
use tokio::time::{Instant, sleep};

use super::{DataDirArgs, Failure, block_on, print, print_progress};
use crate::config::{Flags, Sources};
use crate::data_dir::running;
use crate::restore::{Request, Restored, restore};
use crate::rollback::acknowledgement::Acknowledgement;
use crate::rollback::witness::WITNESS_FILE;
use crate::rollback::{Rollback, detect, evidence};
use crate::serve::EVENTS_FILE;

const EXAMPLES: &str = "\
Examples:
  signalbeam restore --from /mnt/backups/monday --data-dir /var/lib/signalbeam
  signalbeam restore --from /mnt/backups/monday --data-dir /var/lib/signalbeam --replace
  signalbeam restore acknowledge --data-dir /var/lib/signalbeam                  show what went back, and how far
  signalbeam restore acknowledge --data-dir /var/lib/signalbeam --position 977   let devices in again

A restored log may have lost revocations. Until that is acknowledged the server lets no device in and issues nothing;
admins read, revoke and suspend.";

const ACKNOWLEDGE_EXAMPLES: &str = "\
Examples:
  signalbeam restore acknowledge                   show what went back, how far, and the command to type
  signalbeam restore acknowledge --position 977 --reason 'disk replaced, revocations applied again'

Before that, apply again what the log may have lost: docs/deployment/backup-and-restore.md says how.";

/// How long a running server may take to take up an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// What to restore, and where to.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(super) struct RestoreArgs {
    #[command(subcommand)]
    command: Option<RestoreCommand>,
    /// The backup's folder
    #[arg(long, value_name = "DIR", required = true)]
    from: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Move aside what is in the data directory, where it is of the same installation. Nothing is deleted
    #[arg(long)]
    replace: bool,
}

/// What else there is to do about a log that went back.
#[derive(Debug, Subcommand)]
enum RestoreCommand {
    /// Acknowledge that the log went back: devices are let in again. Takes effect at once on a running server
    #[command(after_help = ACKNOWLEDGE_EXAMPLES)]
    Acknowledge(AcknowledgeArgs),
}

#[derive(Debug, Args)]
struct AcknowledgeArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// The configuration; by default ./signalbeam.toml, then signalbeam.toml in the data directory
    #[arg(long, env = "SIGNALBEAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The position at which the log was found to end, as a confirmation; without it, it is shown
    #[arg(long, value_name = "N")]
    position: Option<u64>,
    /// Who acknowledges it, as the log will tell; by default the user of this system
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    operator: Option<String>,
    /// Why, as the log will tell
    #[arg(long, value_name = "TEXT", value_parser = Reason::parse)]
    reason: Option<Reason>,
}

/// Why nothing was acknowledged.
#[derive(Debug, thiserror::Error)]
enum AcknowledgeError {
    #[error("there is nothing to acknowledge: the log agrees with everything that has seen it")]
    Nothing,
    #[error("the log was found to end at position {found}, not {typed}: look again before you acknowledge it")]
    OtherPosition { found: Position, typed: u64 },
    #[error("the acknowledgement was left for the server, which has not taken it up within 15 s: look into its log")]
    NotTakenUp,
}

pub(super) fn run(args: &RestoreArgs) -> Result<(), Failure> {
    block_on(async {
        if let Some(RestoreCommand::Acknowledge(args)) = &args.command {
            return acknowledge(args).await;
        }
        let (backup, data_dir) = (args.from.clone().unwrap_or_default(), &args.data_dir.data_dir);
        let request = Request { backup: &backup, data_dir, replace: args.replace };
        let restored = restore(request, SystemClock.now(), &mut print_progress()).await.map_err(Failure::of)?;
        print(&describe(data_dir, &restored))
    })
}

fn describe(data_dir: &Path, restored: &Restored) -> String {
    let Restored { manifest, rollback, moved_to, missing_keys } = restored;
    let position = rollback.found_position;
    let mut lines = vec![format!("{} holds the backup of {}", data_dir.display(), manifest.created_at)];
    lines.push(format!("  event log      up to position {position}"));
    lines.extend(rollback.witnessed.map(|point| format!("  it had reached position {}", point.position)));
    lines.extend(moved_to.as_ref().map(|path| format!("  moved aside    {}", path.display())));
    if !missing_keys.is_empty() {
        let missing = missing_keys.join("\n  ");
        lines.push(format!(
            "\nThe backup was made without secrets. Put these files there (mode 600) before the server is started:\n  {missing}"
        ));
    }
    lines.push(format!(
        "\nWhatever happened after position {position} is not in the log: revocations among it are undone. Start the server;\n\
         it lets no device in. Apply again what was lost, then acknowledge it:\n\n  {}\n",
        rollback.command(data_dir),
    ));
    lines.join("\n")
}

async fn acknowledge(args: &AcknowledgeArgs) -> Result<(), Failure> {
    let data_dir = args.data_dir.with(&[EVENTS_FILE])?;
    let found = find(args).await?;
    let Some(typed) = args.position else { return show(args, found.as_ref()) };
    let rollback = found.ok_or_else(|| Failure::of(AcknowledgeError::Nothing))?;
    if Position(typed) != rollback.found_position {
        let found = rollback.found_position;
        return Err(Failure::Usage(AcknowledgeError::OtherPosition { found, typed }.into()));
    }
    let said = Acknowledgement {
        rollback_id: rollback.id,
        operator: args.operator.clone().unwrap_or_else(user),
        acknowledged_at: SystemClock.now(),
        reason: args.reason.clone(),
    };
    said.write(data_dir).map_err(Failure::of)?;
    if !is_served(data_dir)? {
        return print("acknowledged; it takes effect when the server is started\n");
    }
    let begun = Instant::now();
    while Rollback::read(data_dir).map_err(Failure::of)?.is_some_and(|present| present.id == rollback.id) {
        if begun.elapsed() > PATIENCE {
            return Err(Failure::of(AcknowledgeError::NotTakenUp));
        }
        sleep(PAUSE).await;
    }
    print("acknowledged; the server lets devices in again\n")
}

/// Says how it stands; the exit code says whether devices are kept out.
fn show(args: &AcknowledgeArgs, found: Option<&Rollback>) -> Result<(), Failure> {
    let data_dir = &args.data_dir.data_dir;
    let Some(rollback) = found else { return print(&format!("{}\n", AcknowledgeError::Nothing)) };
    if let Some(said) = Acknowledgement::read(data_dir, rollback).map_err(Failure::of)? {
        let (what, who) = (rollback.describe(), said.operator);
        print(&format!("{what}\nacknowledged by {who}; it takes effect at the next start of the server\n"))?;
        return Err(Failure::Told(1));
    }
    let mut command = rollback.command(data_dir);
    if let Some(config) = &args.config {
        command = format!("{command} --config {}", config.display());
    }
    print(&format!("{}\nTo acknowledge that, type:\n\n  {command}\n", rollback.describe()))?;
    Err(Failure::Told(1))
}

/// What is to be acknowledged: as a server or a restore has noted it, or as it shows on a directory without a server.
async fn find(args: &AcknowledgeArgs) -> Result<Option<Rollback>, Failure> {
    let data_dir = &args.data_dir.data_dir;
    if let Some(noted) = Rollback::read(data_dir).map_err(Failure::of)? {
        return Ok(Some(noted));
    }
    if is_served(data_dir)? {
        return Ok(None);
    }
    let config = Sources::find(args.config.clone(), data_dir, Flags::default()).load()?;
    let witness_files = [data_dir.join(WITNESS_FILE)].into_iter().chain(config.store.witness_file);
    let log = SqliteEventReader::open(data_dir.join(EVENTS_FILE)).await.map_err(Failure::of)?;
    let seen = evidence(data_dir, &witness_files.collect::<Vec<_>>()).await;
    let found = detect(&seen, &log, SystemClock.now()).await.map_err(Failure::of)?;
    log.close().await;
    if let Some(found) = &found {
        found.write(data_dir).map_err(Failure::of)?;
    }
    Ok(found)
}

fn is_served(data_dir: &Path) -> Result<bool, Failure> {
    Ok(running(data_dir).map_err(Failure::of)?.is_some())
}

/// Who types: whoever became somebody else by sudo is named as themselves.
pub(super) fn user() -> String {
    let mut names = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let first = names.find_map(|name| parse_name(&name).ok());
    let uid = rustix::process::getuid().as_raw();
    let of_system = || name_of(uid, &std::fs::read_to_string("/etc/passwd").unwrap_or_default());
    first.or_else(of_system).unwrap_or_else(|| format!("uid-{uid}"))
}

/// The name of a user, where no variable tells it, as in a container.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let uid = uid.to_string();
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = lines.find(|fields| fields.get(2) == Some(&uid.as_str()))?.first().map(|name| parse_name(name).ok());
    name.flatten()
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_fine = (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_fine { Ok(text.to_owned()) } else { Err("expected 1 to 128 bytes without control characters".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_as_the_system_names_them() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nbeam:x:999:999::/:/bin/false\n";
        assert_eq!(name_of(999, passwd).as_deref(), Some("beam"));
        assert_eq!(name_of(7, passwd), None);
    }
}

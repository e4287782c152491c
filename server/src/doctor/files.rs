//! The directory and its files: there, private, ours, and none left over.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Check, Subject, in_words};
use crate::config::KeyStore;
use crate::data_dir::{RESTORE_FILE, access};
use crate::restore::REPLACED_PREFIX;
use crate::rollback::ROLLBACK_FILE;
use crate::rollback::acknowledgement::ACKNOWLEDGEMENT_FILE;
use crate::rollback::witness::WITNESS_FILE;
use crate::serve::{
    ADMIN_KEY_FILE, AUDIT_FILE, AUTHORITY_FOLDER, EVENTS_FILE, MAC_KEY_FILE, PROJECTIONS_FILE, TLS_FOLDER,
};

const DATA_DIRECTORY: &str = "data-directory";
const KEY_FILES: &str = "key-files";
const OWNERS: &str = "file-owners";
const INTERRUPTED_RESTORE: &str = "interrupted-restore";
const LEFTOVER_FILES: &str = "leftover-files";

/// What is younger may be a file that is just being written.
const DRAFT_SECONDS: i64 = 60;

/// Only there where the authority's key is in no token or vault.
const AUTHORITY_KEY_FILE: &str = "ca/ca-key.pem";
/// What a server cannot do without once it has run.
const NEEDED: [&str; 6] = [EVENTS_FILE, AUDIT_FILE, ADMIN_KEY_FILE, MAC_KEY_FILE, AUTHORITY_KEY_FILE, "ca/ca-cert.pem"];
/// What only its owner may read.
const PRIVATE: [&str; 6] =
    [EVENTS_FILE, AUDIT_FILE, ADMIN_KEY_FILE, MAC_KEY_FILE, AUTHORITY_KEY_FILE, "tls/server.pem"];

/// What a command that ran as somebody else may have left to a server that cannot read it.
const SHARED: [&str; 4] = [PROJECTIONS_FILE, WITNESS_FILE, ROLLBACK_FILE, ACKNOWLEDGEMENT_FILE];

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let data_dir = subject.data_dir;
    let directory = data_directory(subject);
    if !data_dir.is_dir() {
        return vec![directory];
    }
    vec![directory, key_files(data_dir), owners(data_dir), interrupted_restore(data_dir), leftover_files(subject)]
}

/// Of a directory that this user may not look into: nothing in it is missing then, as far as anybody can tell.
pub(super) fn denied(data_dir: &Path) -> Option<Check> {
    let files = [&NEEDED[..], &PRIVATE[..]].concat();
    let error = access::admits(data_dir, &files).err()?;
    let action = "run `signalbeam doctor` as that user; nothing else was looked at";
    Some(Check::error(DATA_DIRECTORY, in_words(&error), action))
}

fn data_directory(subject: &Subject<'_>) -> Check {
    let data_dir = subject.data_dir;
    let shown = data_dir.display();
    let Ok(metadata) = fs::metadata(data_dir) else {
        let action = "name the right one with --data-dir, or start a server on it first (`signalbeam serve`)";
        return Check::error(DATA_DIRECTORY, format!("{shown} does not exist"), action);
    };
    if !metadata.is_dir() {
        return Check::error(DATA_DIRECTORY, format!("{shown} is no directory"), "name the right one with --data-dir");
    }
    let (mut found, mut actions) = (Vec::new(), Vec::new());
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        found.push(format!("{shown} can be entered by others (mode {mode:03o})"));
        actions.push(format!("run `chmod 700 {shown}`"));
    }
    let in_file = subject.config.as_ref().is_ok_and(|config| config.ca.key_store == KeyStore::File);
    let is_elsewhere = |name: &str| name == AUTHORITY_KEY_FILE && !in_file;
    let missing: Vec<_> =
        NEEDED.into_iter().filter(|name| !is_elsewhere(name) && !data_dir.join(name).exists()).collect();
    if missing.contains(&EVENTS_FILE) && missing.len() == NEEDED.len() {
        found.push(format!("{shown} is no data directory of a server: there is no {EVENTS_FILE} in it"));
        actions
            .push("name the right one with --data-dir, or start a server on it first (`signalbeam serve`)".to_owned());
    } else if !missing.is_empty() {
        found.push(format!("{shown} lacks {}", missing.join(", ")));
        actions.push("restore them from a backup".to_owned());
    }
    if found.is_empty() {
        return Check::ok(DATA_DIRECTORY, format!("{shown} is there, private and complete"));
    }
    Check::error(DATA_DIRECTORY, found.join("; "), actions.join("; "))
}

fn key_files(data_dir: &Path) -> Check {
    let open: Vec<String> = PRIVATE
        .into_iter()
        .map(|name| data_dir.join(name))
        .filter(|path| fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0))
        .map(|path| path.display().to_string())
        .collect();
    if open.is_empty() {
        return Check::ok(KEY_FILES, "keys and databases can be read by their owner alone");
    }
    let files = open.join(" ");
    let action = format!("run `chmod 600 {files}`; whoever could read a key may have it, so think of replacing it");
    Check::error(KEY_FILES, format!("others may read {}", open.join(", ")), action)
}

/// Everything belongs to whom the directory belongs to, or a server that runs as that user cannot use it.
fn owners(data_dir: &Path) -> Check {
    let owner = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.uid());
    let Some(ours) = owner(data_dir) else { return Check::skipped(OWNERS, "the directory cannot be looked at") };
    let foreign: Vec<String> = PRIVATE
        .into_iter()
        .chain(SHARED)
        .map(|name| data_dir.join(name))
        .filter(|path| owner(path).is_some_and(|uid| uid != ours))
        .map(|path| path.display().to_string())
        .collect();
    if foreign.is_empty() {
        return Check::ok(OWNERS, format!("everything belongs to the user {ours}"));
    }
    let action = format!("run `chown {ours} {}`, or the server may not be able to use them", foreign.join(" "));
    Check::warning(OWNERS, format!("these do not belong to the user {ours}: {}", foreign.join(", ")), action)
}

fn interrupted_restore(data_dir: &Path) -> Check {
    if data_dir.join(RESTORE_FILE).exists() {
        let action = "run the same `signalbeam restore` command again: it goes on where it was";
        return Check::error(INTERRUPTED_RESTORE, "a restore into this directory was not finished", action);
    }
    Check::ok(INTERRUPTED_RESTORE, "no restore is unfinished")
}

fn leftover_files(subject: &Subject<'_>) -> Check {
    let data_dir = subject.data_dir;
    let mut left: Vec<String> = ["", AUTHORITY_FOLDER, TLS_FOLDER]
        .into_iter()
        .flat_map(|folder| fs::read_dir(data_dir.join(folder)).into_iter().flatten().flatten())
        .filter(|entry| is_leftover(&entry.file_name().to_string_lossy()))
        .filter(|entry| entry.metadata().is_ok_and(|file| subject.now.unix_seconds() - file.mtime() >= DRAFT_SECONDS))
        .map(|entry| entry.path().display().to_string())
        .collect();
    if left.is_empty() {
        return Check::ok(LEFTOVER_FILES, "nothing was left behind");
    }
    left.sort();
    let action = "where no server, rebuild or restore is at work, and you need nothing of it any more, remove it";
    Check::warning(LEFTOVER_FILES, format!("left behind: {}", left.join(", ")), action)
}

fn is_leftover(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("new" | "damaged" | "rebuild"))
        || name.starts_with(REPLACED_PREFIX)
        || name.starts_with(".unfinished-")
}

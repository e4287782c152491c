//! Holding a backup against its manifest: every file's digest, every event's hash. Nothing is written.

use std::path::Path;

use signalbeam_domain::Position;
use signalbeam_event_store::sqlite::copy::{audit_tail, check_events};
use signalbeam_event_store::witness::event_at;
use signalbeam_event_store::{EventReader, SqliteEventReader};

use super::manifest::{AuditEnd, FileEntry, LogEnd, Manifest};
use super::progress::Progress;
use super::{BackupError, digest, io_error};
use crate::serve::{AUDIT_FILE, EVENTS_FILE};

/// Reads everything in a backup and compares it with the manifest.
///
/// # Errors
/// [`BackupError`] at the first thing that is not as it should be.
pub async fn verify(backup: &Path, progress: &mut Progress) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(backup)?;
    for database in [EVENTS_FILE, AUDIT_FILE] {
        if manifest.file(database).is_none() {
            return Err(mismatch(database, "the manifest does not name it".to_owned()));
        }
    }
    for file in &manifest.files {
        progress.at(|| format!("reading {}", file.path));
        let path = backup.join(&file.path);
        let found = digest::of_file(&path).map_err(io_error("read", &path))?;
        compare(file, found)?;
    }
    let end = log_end(&backup.join(EVENTS_FILE), progress).await?;
    if end != manifest.event_log {
        return Err(mismatch(EVENTS_FILE, "the log ends with another event".to_owned()));
    }
    progress.at(|| format!("checking {AUDIT_FILE}"));
    let end = audit_tail(&backup.join(AUDIT_FILE), true).await?.map(AuditEnd::from);
    if end != manifest.authentication_log {
        return Err(mismatch(AUDIT_FILE, "it ends with another row".to_owned()));
    }
    Ok(manifest)
}

fn mismatch(file: &str, reason: String) -> BackupError {
    BackupError::Mismatch { file: file.to_owned(), reason }
}

/// Whether a file has the size and the digest that the manifest names.
///
/// # Errors
/// [`BackupError::Mismatch`]
pub(crate) fn compare(file: &FileEntry, (bytes, sha256): (u64, signalbeam_domain::Digest)) -> Result<(), BackupError> {
    if bytes != file.bytes {
        return Err(mismatch(&file.path, format!("it has {bytes} bytes in the place of {}", file.bytes)));
    }
    if sha256 != file.sha256 {
        return Err(mismatch(&file.path, "its SHA-256 is another one".to_owned()));
    }
    Ok(())
}

/// The log's ends, every event in between read and its hash recomputed.
async fn log_end(path: &Path, progress: &mut Progress) -> Result<Option<LogEnd>, BackupError> {
    let log = SqliteEventReader::open_at_rest(path).await?;
    let head = log.head().await?;
    let checked = check_events(&log, Position(0), head, |reached| {
        progress.at(|| format!("checking events: {reached} of {head}"));
    });
    let last = checked.await?;
    let first = event_at(&log, Position(1)).await?;
    log.close().await;
    Ok(first.zip(last).map(|(first, last)| LogEnd::of(&first, &last)))
}

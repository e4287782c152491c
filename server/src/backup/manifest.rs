//! What a backup says of itself: `manifest.json`.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use signalbeam_domain::{Digest, EventId, Position, Timestamp};
use signalbeam_event_store::Recorded;
use signalbeam_event_store::sqlite::copy::AuditTail;

use super::BackupError;
use crate::serve::AUTHORITY_FOLDER;

/// The manifest's file.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The version of the manifest and of the folder's layout.
pub const FORMAT: u32 = 1;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// When the backup was begun.
    pub created_at: Timestamp,
    /// The version of the program that made it.
    pub program_version: String,
    /// The event log; absent where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<LogEnd>,
    /// The last row of the authentication log; absent where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_log: Option<AuditEnd>,
    /// Whether the private keys are in it.
    pub has_secrets: bool,
    /// Every file but this one.
    pub files: Vec<FileEntry>,
}

/// Which log it is, and its last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEnd {
    /// The id of the log's first event, by which one installation's log is told from another's.
    pub log_id: EventId,
    /// The last event's position.
    pub position: Position,
    /// Its id.
    pub event_id: EventId,
    /// Its hash.
    pub hash: Digest,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl LogEnd {
    /// Of a log with these events at its ends.
    pub(crate) fn of(first: &Recorded, last: &Recorded) -> Self {
        Self {
            log_id: first.envelope.event_id,
            position: last.envelope.position,
            event_id: last.envelope.event_id,
            hash: last.hash,
            recorded_at: last.envelope.recorded_at,
        }
    }
}

/// The end of the authentication log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEnd {
    /// The last row's number.
    pub row: i64,
    /// When that attempt was made.
    pub timestamp: String,
}

impl From<AuditTail> for AuditEnd {
    fn from(tail: AuditTail) -> Self {
        Self { row: tail.row, timestamp: tail.timestamp }
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Its path in the backup and in the data directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Of its content.
    pub sha256: Digest,
}

impl Manifest {
    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// [`BackupError`] where it is missing, of a newer format, or names files outside of the backup.
    pub fn read(backup: &Path) -> Result<Self, BackupError> {
        let text = std::fs::read(backup.join(MANIFEST_FILE))
            .map_err(|source| BackupError::NoManifest { path: backup.to_owned(), source })?;
        let damaged = |reason: String| BackupError::Manifest { path: backup.to_owned(), reason };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(damaged(format!("format {} is not known to this program", manifest.format)));
        }
        match manifest.files.iter().find(|file| !stays_inside(&file.path)) {
            Some(file) => Err(damaged(format!("`{}` is no file of a data directory", file.path))),
            None => Ok(manifest),
        }
    }

    /// What the manifest says of a file.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The size of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A name, a name in a folder, or one in a key slot's folder: a manifest may come from anywhere and must not write anywhere.
fn stays_inside(path: &str) -> bool {
    let mut count = 0;
    let is_plain = Path::new(path).components().all(|part| {
        count += 1;
        matches!(part, Component::Normal(_))
    });
    let deepest = if Path::new(path).starts_with(AUTHORITY_FOLDER) { 3 } else { 2 };
    is_plain && (1..=deepest).contains(&count) && path != MANIFEST_FILE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_files_of_a_data_directory_and_no_others() {
        for good in ["events.db", "ca/ca-key.pem", "ca/issuing-1/ca-key.pem"] {
            assert!(stays_inside(good), "{good}");
        }
        for bad in
            ["", "/etc/passwd", "../events.db", "ca/../../x", "a/b/c", "ca/b/../c", "ca/b/c/d", ".", "manifest.json"]
        {
            assert!(!stays_inside(bad), "{bad}");
        }
    }
}

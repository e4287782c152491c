//! An event log that went back to an earlier state: what witnessed that, what is kept of it, and how it is acknowledged.
//!
//! Revocations that a rolled-back log has lost would be undone in silence. So whoever has seen the log remembers the last
//! event: a small file beside the databases, a second one on other storage where that is configured, and the derived
//! tables' checkpoint. A log that contradicts one of them is relied on again only after an operator's acknowledgement.

pub mod acknowledgement;
mod file;
pub mod witness;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use signalbeam_domain::event_log::RollbackCause;
use signalbeam_domain::{Position, RollbackId, Timestamp};
use signalbeam_event_store::{EventReader, LogPoint, StoreError};
use signalbeam_projections::Tables;
use uuid::Uuid;

use crate::data_dir::DataDirError;
use crate::serve::PROJECTIONS_FILE;
use witness::Witness;

/// The file in the data directory that says that the log went back, until that is acknowledged.
pub const ROLLBACK_FILE: &str = "rollback.json";

/// Why a file of this kind cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read or written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// It is not what this program writes.
    #[error("{} is damaged, or of a newer version of this program", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

/// The log went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Names this time.
    pub id: RollbackId,
    /// How it was noticed.
    pub cause: RollbackCause,
    /// By what.
    pub witness: String,
    /// The last event that is known to have stood in the log, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<LogPoint>,
    /// The position at which the log ended when it was noticed.
    pub found_position: Position,
    /// When it was noticed.
    pub detected_at: Timestamp,
}

impl Rollback {
    /// One that is noticed now.
    pub fn new(
        cause: RollbackCause,
        witness: String,
        witnessed: Option<LogPoint>,
        found_position: Position,
        detected_at: Timestamp,
    ) -> Self {
        Self { id: RollbackId::from_uuid(Uuid::now_v7()), cause, witness, witnessed, found_position, detected_at }
    }

    /// Reads what is kept in a data directory.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn read(data_dir: &Path) -> Result<Option<Self>, RecordError> {
        file::read(&data_dir.join(ROLLBACK_FILE))
    }

    /// Keeps it in a data directory.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn write(&self, data_dir: &Path) -> Result<(), RecordError> {
        file::write(&data_dir.join(ROLLBACK_FILE), self)
    }

    /// In words, for logs and people.
    pub fn describe(&self) -> String {
        let end = self.found_position;
        let witnessed = self.witnessed.map_or("an unknown position".to_owned(), |point| point.position.to_string());
        match self.cause {
            RollbackCause::Restored => match self.witnessed {
                Some(point) => format!(
                    "the log was restored from a backup that ends at position {end}; {} had seen position {}",
                    self.witness, point.position
                ),
                None => format!(
                    "the log was restored from a backup that ends at position {end}; how far it had come is not known"
                ),
            },
            RollbackCause::Behind => {
                format!("the log ends at position {end}, and {} has seen position {witnessed}", self.witness)
            }
            RollbackCause::OtherHistory => format!(
                "the log, which ends at position {end}, has another event at position {witnessed} than {} has seen there",
                self.witness
            ),
            RollbackCause::Unreadable => format!(
                "the log, which ends at position {end}, cannot be read at position {witnessed}, which {} has seen",
                self.witness
            ),
        }
    }

    /// The command that acknowledges it.
    pub fn command(&self, data_dir: &Path) -> String {
        format!("signalbeam restore acknowledge --data-dir {} --position {}", data_dir.display(), self.found_position)
    }
}

/// What has been seen of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// By whom, as messages name them.
    pub witness: String,
    /// Which event.
    pub point: LogPoint,
}

/// Everything that has seen the log of a data directory: the witness files and the derived tables. What is missing or
/// unreadable has nothing to say; a warning tells of it.
pub async fn evidence(data_dir: &Path, witness_files: &[PathBuf]) -> Vec<Evidence> {
    let mut found = Vec::new();
    for path in witness_files {
        match Witness::read(path) {
            Ok(Some(seen)) => found.push(Evidence { witness: path.display().to_string(), point: seen.point }),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a witness of the log cannot be read");
            }
        }
    }
    found.extend(of_tables(&data_dir.join(PROJECTIONS_FILE)).await);
    found
}

/// The derived tables' last event. What cannot be read is rebuilt anyway.
async fn of_tables(path: &Path) -> Option<Evidence> {
    let (tables, _) = Tables::peek(path).await.ok()?;
    let checkpoint = tables.checkpoint().await;
    tables.close().await;
    let checkpoint = checkpoint.ok()?;
    let (event_id, _) = checkpoint.event?;
    let point = LogPoint { position: checkpoint.position, event_id, hash: None };
    Some(Evidence { witness: path.display().to_string(), point })
}

/// Holds the evidence against the log: the gravest contradiction, if there is one.
///
/// # Errors
/// [`StoreError`] where the log does not answer.
pub async fn detect(
    evidence: &[Evidence],
    log: &(impl EventReader + ?Sized),
    now: Timestamp,
) -> Result<Option<Rollback>, StoreError> {
    let mut gravest: Option<(RollbackCause, &Evidence)> = None;
    for seen in evidence {
        if let Some(cause) = seen.point.contradicted_by(log).await
            && gravest.is_none_or(|(_, known)| seen.point.position > known.point.position)
        {
            gravest = Some((cause, seen));
        }
    }
    let Some((cause, seen)) = gravest else { return Ok(None) };
    let head = log.head().await?;
    Ok(Some(Rollback::new(cause, seen.witness.clone(), Some(seen.point), head, now)))
}

#[cfg(test)]
mod tests;

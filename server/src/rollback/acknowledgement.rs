//! An operator's acknowledgement that the log went back: a file that the server takes up, at once or at its next start.
//! Only the server writes to the log.

use std::path::Path;

use serde::{Deserialize, Serialize};
use signalbeam_domain::event_log::RollbackAcknowledged;
use signalbeam_domain::{Actor, Reason, RollbackId, Timestamp};

use super::{ROLLBACK_FILE, RecordError, Rollback, file};

/// The file in the data directory.
pub const ACKNOWLEDGEMENT_FILE: &str = "rollback-acknowledgement.json";

/// What the operator said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// Of which rollback.
    pub rollback_id: RollbackId,
    /// The operator's name on the machine.
    pub operator: String,
    /// When.
    pub acknowledged_at: Timestamp,
    /// Why, where they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Acknowledgement {
    /// Reads the acknowledgement of this rollback; one of another is none.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn read(data_dir: &Path, rollback: &Rollback) -> Result<Option<Self>, RecordError> {
        let found: Option<Self> = file::read(&data_dir.join(ACKNOWLEDGEMENT_FILE))?;
        Ok(found.filter(|acknowledgement| acknowledgement.rollback_id == rollback.id))
    }

    /// Leaves it for the server.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn write(&self, data_dir: &Path) -> Result<(), RecordError> {
        file::write(&data_dir.join(ACKNOWLEDGEMENT_FILE), self)
    }

    /// As it is recorded in the log.
    pub fn event(&self, rollback: &Rollback) -> RollbackAcknowledged {
        RollbackAcknowledged {
            rollback_id: rollback.id,
            cause: rollback.cause,
            witnessed_position: rollback.witnessed.map(|point| point.position),
            found_position: rollback.found_position,
            detected_at: rollback.detected_at,
            acknowledged_at: self.acknowledged_at,
            reason: self.reason.clone(),
        }
    }

    /// Who said it.
    pub fn actor(&self) -> Actor {
        Actor::system(&format!("operator:{}", self.operator))
    }
}

/// Ends the matter: the rollback first, so that an acknowledgement without one is all that a crash can leave.
///
/// # Errors
/// [`RecordError`]
pub fn clear(data_dir: &Path) -> Result<(), RecordError> {
    file::remove(&data_dir.join(ROLLBACK_FILE))?;
    file::remove(&data_dir.join(ACKNOWLEDGEMENT_FILE))
}

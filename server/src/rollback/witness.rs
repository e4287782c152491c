//! A witness file: the newest event of the log that is known to be durable, outside of the databases.

use std::path::Path;

use serde::{Deserialize, Serialize};
use signalbeam_domain::Timestamp;
use signalbeam_event_store::{LogPoint, Recorded};

use super::{RecordError, file};

/// The witness in the data directory.
pub const WITNESS_FILE: &str = "witness.json";

/// What a witness file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// The event.
    #[serde(flatten)]
    pub point: LogPoint,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Witness {
    /// Of this event.
    pub fn of(recorded: &Recorded) -> Self {
        Self { point: LogPoint::of(recorded), recorded_at: recorded.envelope.recorded_at }
    }

    /// Reads a witness file; `None` where there is none.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        file::read(path)
    }

    /// Writes a witness file, durably, all of it or nothing.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        file::write(path, self)
    }
}

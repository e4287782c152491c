//! How far a projection has read the log: moved by compare-and-set in the transaction that writes its rows.

use signalbeam_domain::{EventId, Position, Timestamp};
use signalbeam_event_store::{EventReader, Recorded, StoreError};
use sqlx::SqliteConnection;

use crate::columns::{Columns, ReadError};

/// The name of the one projection that all of the tables belong to.
pub const DIRECTORY: &str = "directory";

/// The last event that a projection has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Its position; 0 before the first.
    pub position: Position,
    /// Its id and when it was recorded; nothing before the first.
    pub event: Option<(EventId, Timestamp)>,
}

impl Checkpoint {
    /// Behind an event.
    pub(crate) fn behind(recorded: &Recorded) -> Self {
        let envelope = &recorded.envelope;
        Self { position: envelope.position, event: Some((envelope.event_id, envelope.recorded_at)) }
    }

    pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Self, ReadError> {
        let row = sqlx::query("SELECT position, event_id, recorded_at FROM checkpoints WHERE projection = $1")
            .bind(DIRECTORY)
            .fetch_one(connection)
            .await?;
        let event_id = row.optional("event_id", EventId::parse)?;
        let recorded_at = row.optional_moment("recorded_at")?;
        Ok(Self { position: Position(row.integer("position")?), event: event_id.zip(recorded_at) })
    }

    /// Moves from here to `next`; false where somebody else has moved it.
    pub(crate) async fn advance(self, next: Self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let (event_id, recorded_at) = next.event.unzip();
        let moved = sqlx::query(
            "UPDATE checkpoints SET position = $1, event_id = $2, recorded_at = $3 \
             WHERE projection = $4 AND position = $5",
        )
        .bind(as_integer(next.position)?)
        .bind(event_id.map(|id| id.to_string()))
        .bind(recorded_at.map(|moment| moment.to_string()))
        .bind(DIRECTORY)
        .bind(as_integer(self.position)?)
        .execute(connection)
        .await?;
        Ok(moved.rows_affected() == 1)
    }

    /// Whether this log has that event at that position. If not, the tables were made from another log, or from this
    /// one before it was put back to an earlier state.
    pub(crate) async fn is_of(self, reader: &dyn EventReader) -> Result<bool, StoreError> {
        let Some((event_id, _)) = self.event else { return Ok(self.position == Position(0)) };
        let recorded = reader.event(event_id).await?;
        Ok(recorded.is_some_and(|recorded| recorded.envelope.position == self.position))
    }
}

fn as_integer(position: Position) -> Result<i64, sqlx::Error> {
    i64::try_from(position.0).map_err(|error| sqlx::Error::Encode(error.into()))
}

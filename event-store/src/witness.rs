//! Points of the log that somebody has seen: held against the log, they tell whether it went back to an earlier state.

use serde::{Deserialize, Serialize};
use signalbeam_domain::event_log::RollbackCause;
use signalbeam_domain::{Digest, EventId, Position};

use crate::port::{EventReader, Filter, Recorded, StoreError};

/// An event that once stood in the log, as whoever saw it there remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogPoint {
    /// Where it stood.
    pub position: Position,
    /// Its id.
    pub event_id: EventId,
    /// Its hash, where that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Digest>,
}

impl LogPoint {
    /// This event's.
    pub fn of(recorded: &Recorded) -> Self {
        let envelope = &recorded.envelope;
        Self { position: envelope.position, event_id: envelope.event_id, hash: Some(recorded.hash) }
    }

    /// Holds the point against the log: how the log contradicts it, where it does.
    pub async fn contradicted_by(&self, log: &(impl EventReader + ?Sized)) -> Option<RollbackCause> {
        match event_at(log, self.position).await {
            Ok(None) => Some(RollbackCause::Behind),
            Ok(Some(found)) if self.is_of(&found) => None,
            Ok(Some(_)) => Some(RollbackCause::OtherHistory),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    position = self.position.0,
                    "the event at a witnessed position cannot be read"
                );
                Some(RollbackCause::Unreadable)
            }
        }
    }

    fn is_of(&self, recorded: &Recorded) -> bool {
        self.event_id == recorded.envelope.event_id && self.hash.is_none_or(|hash| hash == recorded.hash)
    }
}

/// The event at a position, where there is one.
///
/// # Errors
/// [`StoreError`] where the log does not answer or the event is damaged.
pub async fn event_at(log: &(impl EventReader + ?Sized), position: Position) -> Result<Option<Recorded>, StoreError> {
    let Some(before) = position.0.checked_sub(1) else { return Ok(None) };
    let page = log.read_all(Position(before), 1, &Filter::default()).await?;
    Ok(page.events.into_iter().next().filter(|found| found.envelope.position == position))
}

/// The log's newest event; `None` where it is empty.
///
/// # Errors
/// As [`event_at`].
pub async fn newest(log: &(impl EventReader + ?Sized)) -> Result<Option<Recorded>, StoreError> {
    event_at(log, log.head().await?).await
}

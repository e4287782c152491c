//! How far a reader of the log has come, and whether it had to stop: published by one task, waited for by many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signalbeam_domain::{DecodeError, Envelope, Position, StreamId};
use signalbeam_event_store::Recorded;
use tokio::sync::watch;

/// Why a projection stopped for good. It never skips an event, because security depends on what it shows.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProjectionFailure {
    /// An event cannot be read: a newer program wrote it, or it is damaged.
    #[error("the event {event_type} at position {position} cannot be read")]
    Unreadable {
        /// Where it stands.
        position: Position,
        /// Its type.
        event_type: String,
        /// Why.
        #[source]
        source: Arc<DecodeError<serde_json::Error>>,
    },
    /// An event stands in a stream whose name is not what its category's should be: it cannot be told whose it is.
    #[error("the event {event_type} at position {position} stands in the stream {stream}, which names nothing")]
    Nameless {
        /// Where it stands.
        position: Position,
        /// Its type.
        event_type: String,
        /// The stream.
        stream: StreamId,
    },
    /// An event contradicts what was recorded before it, such as a serial number that is taken.
    #[error("an event up to position {position} contradicts what was recorded before")]
    Contradiction {
        /// The last event of the batch that was refused.
        position: Position,
        /// What the tables said.
        #[source]
        source: Arc<sqlx::Error>,
    },
}

impl ProjectionFailure {
    pub(crate) fn unreadable(recorded: &Recorded, source: DecodeError<serde_json::Error>) -> Self {
        Self::Unreadable {
            position: recorded.envelope.position,
            event_type: recorded.envelope.event_type.clone(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn nameless(envelope: &Envelope) -> Self {
        Self::Nameless {
            position: envelope.position,
            event_type: envelope.event_type.clone(),
            stream: envelope.stream.clone(),
        }
    }
}

/// A reader has not come as far as was asked for in the time that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the projection stands at position {reached}, behind {wanted}")]
pub struct Behind {
    /// How far it has come.
    pub reached: Position,
    /// How far was asked for.
    pub wanted: Position,
}

#[derive(Debug, Clone, Default)]
struct State {
    position: Position,
    failure: Option<ProjectionFailure>,
}

/// How far a reader has come. It only moves forward, unless it is told to start over.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: watch::Sender<State>,
    /// Beside the state, since it is asked on every request.
    has_failed: AtomicBool,
}

impl Progress {
    pub(crate) fn position(&self) -> Position {
        self.state.borrow().position
    }

    pub(crate) fn failure(&self) -> Option<ProjectionFailure> {
        self.state.borrow().failure.clone()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub(crate) fn reach(&self, position: Position) {
        self.state.send_if_modified(|state| {
            let is_ahead = position > state.position;
            state.position = state.position.max(position);
            is_ahead
        });
    }

    pub(crate) fn fail(&self, failure: ProjectionFailure) {
        self.has_failed.store(true, Ordering::Release);
        self.state.send_modify(|state| state.failure = Some(failure));
    }

    /// Waits until `wanted` is reached; without a bound only where a failure ends the wait.
    pub(crate) async fn reached(&self, wanted: Position) -> Result<(), Behind> {
        let mut states = self.state.subscribe();
        match states.wait_for(|state| state.position >= wanted || state.failure.is_some()).await {
            Ok(state) if state.position >= wanted => Ok(()),
            _ => Err(Behind { reached: self.position(), wanted }),
        }
    }

    pub(crate) async fn wait_for(&self, wanted: Position, timeout: Duration) -> Result<(), Behind> {
        if self.position() >= wanted {
            return Ok(());
        }
        let timely = tokio::time::timeout(timeout, self.reached(wanted)).await;
        timely.unwrap_or_else(|_| Err(Behind { reached: self.position(), wanted }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_the_position_is_reached_or_the_time_is_over() {
        let progress = Progress::default();
        progress.reach(Position(3));
        assert_eq!(progress.wait_for(Position(3), Duration::ZERO).await, Ok(()));
        let behind = Behind { reached: Position(3), wanted: Position(4) };
        assert_eq!(progress.wait_for(Position(4), Duration::from_millis(1)).await, Err(behind));
        let (waited, ()) = tokio::join!(progress.wait_for(Position(4), Duration::from_mins(1)), async {
            progress.reach(Position(9));
        });
        assert_eq!(waited, Ok(()));
        progress.reach(Position(5));
        assert_eq!(progress.position(), Position(9), "it never moves back");
    }
}

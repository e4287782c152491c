//! An event store that counts what is appended and how long that takes, and notes it as this node's own writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use signalbeam_domain::{Category, Digest, EventId, Position, StreamId};
use signalbeam_event_store::{
    AppendError, Appended, Batch, EventReader, EventStore, Filter, Page, Recorded, RecordedCommand, SqliteEventStore,
    StoreError, Subscription,
};
use signalbeam_projections::Freshness;
use tokio::sync::watch;

/// Measures the store that it wraps. Whoever appends through it finds what it appended when it asks the tables.
pub(super) struct MeasuredStore<S> {
    store: Arc<S>,
    freshness: Freshness,
}

impl<S> MeasuredStore<S> {
    pub(super) fn new(store: Arc<S>, freshness: Freshness) -> Self {
        Self { store, freshness }
    }
}

impl MeasuredStore<SqliteEventStore> {
    /// How long ago the last attempt to write failed; none where something has been written since.
    pub(super) fn last_write_failure(&self) -> Option<Duration> {
        self.store.last_write_failure()
    }

    /// The position of the newest event whose commit is durable.
    pub(super) fn committed(&self) -> watch::Receiver<Position> {
        self.store.committed()
    }

    /// Lets the writer finish and closes the file.
    pub(super) async fn close(&self) {
        self.store.close().await;
    }
}

#[async_trait]
impl<S: EventStore> EventStore for MeasuredStore<S> {
    async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        let started = Instant::now();
        let appended = self.store.append(batch).await?;
        self.freshness.note_appended(appended.position);
        metrics::histogram!("signalbeam_event_append_duration_seconds").record(started.elapsed());
        if !appended.is_repeat {
            for recorded in &appended.events {
                let category = recorded.envelope.stream.category().as_str();
                metrics::counter!("signalbeam_events_appended_total", "category" => category).increment(1);
            }
        }
        Ok(appended)
    }
}

#[async_trait]
impl<S: EventStore> EventReader for MeasuredStore<S> {
    async fn read_stream(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_stream(stream).await
    }

    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        self.store.read_all(after, limit, filter).await
    }

    async fn streams_of(&self, category: Category) -> Result<Vec<StreamId>, StoreError> {
        self.store.streams_of(category).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        self.store.event(id).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.store.head().await
    }

    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        self.store.command(command_id).await
    }

    fn subscribe(&self, after: Position) -> Subscription {
        self.store.subscribe(after)
    }
}

#[cfg(test)]
mod tests {
    use signalbeam_domain::device::{DecisionReason, DeviceEvent, DeviceReinstated};
    use signalbeam_domain::{Actor, CorrelationId, DeviceId};
    use signalbeam_event_store::execute::new_events;
    use signalbeam_event_store::{CommandMetadata, ExpectedVersion, MemoryEventStore, StreamWrite, SystemClock};
    use signalbeam_projections::{Projector, Tables};
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn whatever_is_appended_counts_as_this_nodes_own() {
        let folder = tempfile::tempdir().unwrap();
        let inner = Arc::new(MemoryEventStore::new(Arc::new(SystemClock)));
        let tables = Tables::open(&folder.path().join("projections.db"), &*inner).await.unwrap();
        let freshness = Freshness::new(Arc::new(Projector::start(Arc::clone(&inner) as _, tables)));
        let store = MeasuredStore::new(inner, freshness.clone());
        let event = DeviceEvent::from(DeviceReinstated(DecisionReason { reason: None }));
        let write = StreamWrite {
            stream: StreamId::device(DeviceId::from_uuid(Uuid::from_u128(7))),
            expected: ExpectedVersion::Any,
            events: new_events(None, vec![event]),
        };
        let metadata = CommandMetadata {
            actor: Actor::system("tests"),
            correlation_id: CorrelationId::from_uuid(Uuid::from_u128(1)),
            causation_id: None,
            idempotency: None,
        };
        let appended = store.append(Batch { metadata, writes: vec![write] }).await.unwrap();
        assert_eq!((freshness.last_appended(), appended.position), (Position(1), Position(1)));
    }
}

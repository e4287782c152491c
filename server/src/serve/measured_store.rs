//! An event store that counts what is appended and how long that takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use signalbeam_domain::{Digest, EventId, Position, StreamId};
use signalbeam_event_store::{
    AppendError, Appended, Batch, EventReader, EventStore, Filter, Page, Recorded, RecordedCommand, SqliteEventStore,
    StoreError, Subscription,
};

/// Measures the store that it wraps.
pub(super) struct MeasuredStore<S>(pub(super) Arc<S>);

impl MeasuredStore<SqliteEventStore> {
    /// How long ago the last attempt to write failed; none where something has been written since.
    pub(super) fn last_write_failure(&self) -> Option<Duration> {
        self.0.last_write_failure()
    }
}

#[async_trait]
impl<S: EventStore> EventStore for MeasuredStore<S> {
    async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        let started = Instant::now();
        let appended = self.0.append(batch).await?;
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
        self.0.read_stream(stream).await
    }

    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        self.0.read_all(after, limit, filter).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        self.0.event(id).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.0.head().await
    }

    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        self.0.command(command_id).await
    }

    fn subscribe(&self, after: Position) -> Subscription {
        self.0.subscribe(after)
    }
}

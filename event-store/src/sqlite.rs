//! The log in one file, by the embedded database engine: one writer, committing in groups, and readers beside it.
//!
//! Beside `events.db` stands `events.db.lock`, which the writing process holds locked: a second writer is refused, so
//! what the writer knows of the log's end is true. [`SqliteEventReader`] opens the file beside a running writer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signalbeam_domain::{Category, Digest, EventId, Position, StreamId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::ledger::PreparedBatch;
use crate::port::{
    AppendError, Appended, Batch, EventReader, EventStore, Filter, Page, Recorded, RecordedCommand, StoreError,
    Subscription,
};
use crate::sqlite::database::{Database, Kind};
use crate::sqlite::recent::Recent;
use crate::sqlite::write_health::WriteHealth;
use crate::sqlite::writer::{Request, Written};

mod audit;
pub mod copy;
mod database;
mod insert;
mod known;
mod queue;
mod reader;
mod recent;
mod row;
mod write_health;
mod writer;

pub use audit::{SqliteAuditLog, SqliteAuditReader};
pub use database::OpenError;
pub use reader::SqliteEventReader;

/// How many batches may wait; whoever comes then waits for a place.
const QUEUE: usize = 1_024;

static KIND: Kind = Kind {
    what: "an event log of SignalBeam",
    application_id: i32::from_be_bytes(*b"SBev"),
    migrator: &sqlx::migrate!("../migrations/sqlite/events"),
};

/// The event log in a file. An append is answered when it would survive the loss of power.
///
/// Dropping the store ends it once the appends that wait are done; [`close`](Self::close) also waits for that.
pub struct SqliteEventStore {
    requests: mpsc::Sender<Request>,
    reader: SqliteEventReader,
    health: WriteHealth,
}

/// The store was closed, or its runtime is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the event store is closed")]
struct Closed;

impl SqliteEventStore {
    /// Opens the log for writing; creates it, readable by its owner alone, where it does not exist. Events are stamped
    /// by this clock. Needs a tokio runtime, on which the writer and the subscriptions run.
    ///
    /// # Errors
    /// [`OpenError`] says whether the file is in use, something else, newer, or out of reach.
    pub async fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let database = Database::open(path, &KIND).await?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let health = WriteHealth::default();
        let recent = Recent::default();
        let head = writer::start(database, queue, clock, health.clone(), recent.clone())
            .await
            .map_err(|error| database::database_error(path, error))?;
        Ok(Self { requests, reader: SqliteEventReader::beside_writer(path, head, recent), health })
    }

    /// How long ago the last attempt to write failed; none where something has been written since, or nothing failed.
    pub fn last_write_failure(&self) -> Option<Duration> {
        self.health.last_failure()
    }

    /// The position of the newest event whose commit is durable; changes with every commit.
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.reader.committed()
    }

    /// Appends what waits in the queue, then ends the writer and the subscriptions, and lets go of the file. Appends
    /// that come later fail.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.requests.send(Request::Close(closed)).await.is_ok() {
            // An error says that the writer has ended already.
            let _ = done.await;
        }
        self.reader.close().await;
    }

    async fn write(&self, batch: PreparedBatch) -> Result<Written, AppendError> {
        let closed = || StoreError { context: "append", source: Arc::new(Closed) };
        let (answer, outcome) = oneshot::channel();
        self.requests.send(Request::Append { batch, answer }).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl EventStore for SqliteEventStore {
    async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        match self.write(PreparedBatch::new(batch)?).await? {
            Written::Appended { events, position } => Ok(Appended { position, events, is_repeat: false }),
            Written::Repeat(command) => {
                let events = self.reader.events_of(&command).await?;
                Ok(Appended { position: command.position, events, is_repeat: true })
            }
        }
    }
}

#[async_trait]
impl EventReader for SqliteEventStore {
    async fn read_stream(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        self.reader.read_stream(stream).await
    }

    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        self.reader.read_all(after, limit, filter).await
    }

    async fn streams_of(&self, category: Category) -> Result<Vec<StreamId>, StoreError> {
        self.reader.streams_of(category).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        self.reader.event(id).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.reader.head().await
    }

    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        self.reader.command(command_id).await
    }

    fn subscribe(&self, after: Position) -> Subscription {
        self.reader.subscribe(after)
    }
}

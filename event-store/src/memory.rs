//! The log in memory: does all that the log on disk does, for as long as the process lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use signalbeam_domain::{Category, Digest, EventId, Position, StreamId};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::ledger::{KnownCommand, Ledger, PreparedBatch, Verdict};
use crate::port::{
    AppendError, Appended, Batch, EventReader, EventStore, Filter, Page, Recorded, RecordedCommand, StoreError,
    Subscription,
};
use crate::subscription;

mod audit;

pub use audit::MemoryAuditLog;

/// An event log that lives as long as the process. Dropping it ends its subscriptions.
pub struct MemoryEventStore {
    log: Arc<Mutex<Log>>,
    head: watch::Sender<Position>,
    clock: Arc<dyn Clock>,
}

/// An event's position is its index plus one.
#[derive(Default)]
struct Log {
    ledger: Ledger,
    events: Vec<Recorded>,
    by_stream: HashMap<StreamId, Vec<usize>>,
    by_id: HashMap<EventId, usize>,
}

impl MemoryEventStore {
    /// An empty log that stamps its events by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { log: Arc::default(), head: watch::Sender::default(), clock }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }
}

/// No code panics while it holds the lock with the log half changed, so a poisoned lock still guards a whole log.
fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn append(&mut self, events: &[Recorded]) {
        for recorded in events {
            let index = self.events.len();
            self.by_stream.entry(recorded.envelope.stream.clone()).or_default().push(index);
            self.by_id.insert(recorded.envelope.event_id, index);
            self.events.push(recorded.clone());
        }
    }

    fn page(&self, after: Position, limit: usize, filter: &Filter) -> Page {
        let mut page = Page { events: vec![], reached: after };
        if limit == 0 {
            return page;
        }
        for recorded in self.behind(after) {
            page.reached = recorded.envelope.position;
            if filter.matches(recorded) {
                page.events.push(recorded.clone());
                if page.events.len() == limit {
                    break;
                }
            }
        }
        page
    }

    fn behind(&self, after: Position) -> &[Recorded] {
        usize::try_from(after.0).ok().and_then(|after| self.events.get(after..)).unwrap_or_default()
    }

    fn events_of(&self, command: &KnownCommand) -> Vec<Recorded> {
        self.behind(command.after()).iter().take_while(|r| r.envelope.position <= command.position).cloned().collect()
    }
}

#[async_trait]
impl EventReader for MemoryEventStore {
    async fn read_stream(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        let log = self.log();
        let indexes = log.by_stream.get(stream).map(Vec::as_slice).unwrap_or_default();
        Ok(indexes.iter().filter_map(|index| log.events.get(*index).cloned()).collect())
    }

    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        Ok(self.log().page(after, limit, filter))
    }

    async fn streams_of(&self, category: Category) -> Result<Vec<StreamId>, StoreError> {
        let log = self.log();
        let mut streams: Vec<_> =
            log.by_stream.keys().filter(|stream| stream.category() == category).cloned().collect();
        streams.sort_unstable();
        Ok(streams)
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        let log = self.log();
        Ok(log.by_id.get(&id).and_then(|index| log.events.get(*index)).cloned())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(self.log().ledger.tail.position)
    }

    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        let log = self.log();
        let command = log.ledger.commands.get(command_id);
        Ok(command.map(|c| RecordedCommand {
            body_sha256: c.body_sha256,
            position: c.position,
            events: log.events_of(c),
        }))
    }

    fn subscribe(&self, after: Position) -> Subscription {
        let log = Arc::clone(&self.log);
        let read = move |after| {
            let page = lock(&log).page(after, subscription::PAGE, &Filter::default());
            std::future::ready(Ok(page))
        };
        subscription::start(read, self.head.subscribe(), after)
    }
}

#[async_trait]
impl EventStore for MemoryEventStore {
    async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        let batch = PreparedBatch::new(batch)?;
        let mut log = self.log();
        match log.ledger.judge(batch, self.clock.now())? {
            Verdict::Append { events, position } => {
                log.append(&events);
                self.head.send_replace(position);
                Ok(Appended { position, events, is_repeat: false })
            }
            Verdict::Repeat(command) => {
                Ok(Appended { position: command.position, events: log.events_of(&command), is_repeat: true })
            }
        }
    }
}

//! A log in which one event is of a type that nobody knows, which can be out of reach, and which can be late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use signalbeam_domain::{Category, Digest, EventId, Position, StreamId};
use signalbeam_event_store::{
    EventReader, Filter, MemoryEventStore, Page, Recorded, RecordedCommand, StoreError, Subscription, SubscriptionItem,
};
use tokio::sync::mpsc;

pub(crate) struct TamperedLog {
    store: Arc<MemoryEventStore>,
    unknown: Position,
    pub(crate) is_out_of_reach: AtomicBool,
    /// Whether the next page is empty, as if its reader had asked before anything was there.
    pub(crate) is_late: AtomicBool,
}

impl TamperedLog {
    /// The log of `store` with the event at `unknown` changed.
    pub(crate) fn new(store: Arc<MemoryEventStore>, unknown: Position) -> Self {
        Self { store, unknown, is_out_of_reach: AtomicBool::default(), is_late: AtomicBool::default() }
    }
}

fn tamper(unknown: Position, events: &mut [Recorded]) {
    for recorded in events.iter_mut().filter(|recorded| recorded.envelope.position == unknown) {
        recorded.envelope.event_type = format!("{}.teleported", recorded.envelope.stream.category().as_str());
    }
}

#[async_trait]
impl EventReader for TamperedLog {
    async fn read_stream(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_stream(stream).await
    }

    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        if self.is_late.swap(false, Ordering::SeqCst) {
            return Ok(Page { events: vec![], reached: after });
        }
        let mut page = self.store.read_all(after, limit, filter).await?;
        tamper(self.unknown, &mut page.events);
        Ok(page)
    }

    async fn streams_of(&self, category: Category) -> Result<Vec<StreamId>, StoreError> {
        self.store.streams_of(category).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        self.store.event(id).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        if self.is_out_of_reach.load(Ordering::SeqCst) {
            let source = Arc::new(std::io::Error::other("out of reach"));
            return Err(StoreError { context: "asking for the head", source });
        }
        self.store.head().await
    }

    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        self.store.command(command_id).await
    }

    fn subscribe(&self, after: Position) -> Subscription {
        let mut items = self.store.subscribe(after);
        let (sender, receiver) = mpsc::channel(1);
        let unknown = self.unknown;
        tokio::spawn(async move {
            while let Some(mut item) = items.next().await {
                if let SubscriptionItem::Events(events) = &mut item {
                    tamper(unknown, events);
                }
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        Subscription::new(receiver)
    }
}

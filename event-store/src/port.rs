//! The port: what every event store does, whatever it is made of.

use std::sync::Arc;

use async_trait::async_trait;
use signalbeam_domain::{
    Actor, Aggregate, Category, CorrelationId, DecodeError, Digest, Envelope, Event, EventId, Position, StreamId,
    TenantId, Version,
};
use tokio::sync::mpsc;

/// An event that is to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Its id, drawn by the caller.
    pub event_id: EventId,
    /// Whose it is.
    pub tenant_id: Option<TenantId>,
    /// What happened.
    pub event: Event,
}

/// The version that a stream must have for an append to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Exactly this one; `Version(0)` where the stream must not exist.
    Exact(Version),
    /// Whatever it is.
    Any,
}

/// What a batch does to one stream. Without events it only asserts the version.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamWrite {
    /// The stream. A batch names each stream once.
    pub stream: StreamId,
    /// What its version must be.
    pub expected: ExpectedVersion,
    /// What is appended to it, in order.
    pub events: Vec<NewEvent>,
}

/// Names a command, so that its repetition returns the first outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// Derived from principal, route and idempotency key.
    pub command_id: Digest,
    /// The SHA-256 of the request's body: the same command with another body is an error.
    pub body_sha256: Digest,
}

/// Who and what caused a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandMetadata {
    /// Who.
    pub actor: Actor,
    /// The request.
    pub correlation_id: CorrelationId,
    /// The event that caused it, where one did.
    pub causation_id: Option<EventId>,
    /// The command's name, where the caller gave it one.
    pub idempotency: Option<Idempotency>,
}

/// Events for one or more streams, appended all or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Who and what caused it.
    pub metadata: CommandMetadata,
    /// What is done to each stream.
    pub writes: Vec<StreamWrite>,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The event.
    pub envelope: Envelope,
    /// The SHA-256 of [`Envelope::canonical_encoding`].
    pub hash: Digest,
}

impl Recorded {
    /// The event's payload, read.
    ///
    /// # Errors
    /// [`DecodeError`] where this program does not know the event, or its payload is damaged.
    pub fn event(&self) -> Result<Event, DecodeError<serde_json::Error>> {
        let mut payload = serde_json::Deserializer::from_slice(&self.envelope.data);
        let envelope = &self.envelope;
        Event::decode(envelope.stream.category(), &envelope.event_type, envelope.schema_version, &mut payload)
    }
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The position of the last event; of the log's head where nothing was appended.
    pub position: Position,
    /// What was recorded, in the order of the batch.
    pub events: Vec<Recorded>,
    /// Whether this is the outcome of an earlier append of the same command.
    pub is_repeat: bool,
}

/// A command that was recorded under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCommand {
    /// The SHA-256 of the body that it came with.
    pub body_sha256: Digest,
    /// The position that its append answered.
    pub position: Position,
    /// What it recorded.
    pub events: Vec<Recorded>,
}

/// Which events a reader wants. An empty list means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these streams.
    pub streams: Vec<StreamId>,
    /// Only these types, such as `device.approved`.
    pub event_types: Vec<String>,
    /// Only this tenant's.
    pub tenant_id: Option<TenantId>,
}

impl Filter {
    /// Whether the event is one that the reader wants.
    pub fn matches(&self, recorded: &Recorded) -> bool {
        let envelope = &recorded.envelope;
        (self.streams.is_empty() || self.streams.contains(&envelope.stream))
            && (self.event_types.is_empty() || self.event_types.contains(&envelope.event_type))
            && (self.tenant_id.is_none() || self.tenant_id == envelope.tenant_id)
    }
}

/// Some events in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events that passed the filter.
    pub events: Vec<Recorded>,
    /// How far the log was searched: where the next page continues. Equal to the question's `after` at the end of the log.
    pub reached: Position,
}

/// The store could not do its work; nothing can be said of what it holds.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the event store is unavailable: {context}")]
pub struct StoreError {
    /// What was tried.
    pub context: &'static str,
    /// Why it failed.
    #[source]
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// For `map_err`: what was tried, around why it failed.
    pub fn because<E>(context: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self { context, source: Arc::new(source) }
    }
}

/// Why an append was refused. Nothing was appended, except after [`AppendError::Store`], where that is unknown.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// A stream has another version than expected: somebody was faster. Read again, decide again.
    #[error("{stream} is at version {}, not as expected", actual.0)]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// Its version now.
        actual: Version,
    },
    /// The command's name was used with another body.
    #[error("the command was recorded before with another body")]
    CommandReused,
    /// The batch names a stream twice or has an event of another category than its stream's.
    #[error("the batch is malformed: {0}")]
    Malformed(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the log, never writes it.
#[async_trait]
pub trait EventReader: Send + Sync + 'static {
    /// A whole stream, oldest first; empty where it does not exist. Streams are short by design.
    async fn read_stream(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError>;

    /// At most `limit` events behind `after`, oldest first.
    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError>;

    /// The streams of a category, in the order of their names; for categories that have few, such as authorities.
    async fn streams_of(&self, category: Category) -> Result<Vec<StreamId>, StoreError>;

    /// One event.
    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError>;

    /// The position of the newest event; `Position(0)` in an empty log.
    async fn head(&self) -> Result<Position, StoreError>;

    /// What was recorded under a command's name.
    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError>;

    /// Everything behind `after`, then what is appended from now on, without a gap or a double.
    fn subscribe(&self, after: Position) -> Subscription;
}

/// An append-only log of events in streams.
#[async_trait]
pub trait EventStore: EventReader {
    /// Appends a batch, all or nothing. Answered only when it is durable.
    async fn append(&self, batch: Batch) -> Result<Appended, AppendError>;
}

/// What a subscription delivers.
#[derive(Debug, Clone)]
pub enum SubscriptionItem {
    /// Some events, in the order of the log.
    Events(Vec<Recorded>),
    /// Nothing stands behind this position right now. Comes at least every second while nothing happens, so that a
    /// reader knows how fresh it is: it was read after the reader had taken the item before, however long it waited since.
    CaughtUp(Position),
    /// Reading failed; the subscription goes on trying.
    Failed(StoreError),
}

/// A running subscription. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    items: mpsc::Receiver<SubscriptionItem>,
}

impl Subscription {
    /// Wraps the receiving end of what an adapter's reading task sends.
    pub fn new(items: mpsc::Receiver<SubscriptionItem>) -> Self {
        Self { items }
    }

    /// The next item; `None` once the store has been closed.
    pub async fn next(&mut self) -> Option<SubscriptionItem> {
        self.items.recv().await
    }
}

/// Why an aggregate could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event could not be read.
    #[error("{stream} holds an event that cannot be read")]
    Decode {
        /// The stream.
        stream: StreamId,
        /// Why.
        #[source]
        source: DecodeError<serde_json::Error>,
    },
    /// A stream holds another category's event.
    #[error("{stream} holds an event of another category")]
    OtherCategory {
        /// The stream.
        stream: StreamId,
    },
}

/// Reads a stream and folds it into its aggregate.
///
/// # Errors
/// [`LoadError`] where the store fails or the stream holds something unreadable.
pub async fn load<A>(store: &(impl EventReader + ?Sized), stream: &StreamId) -> Result<(A, Version), LoadError>
where
    A: Aggregate,
    A::Event: TryFrom<Event>,
{
    let mut aggregate = A::default();
    let mut version = Version::default();
    for recorded in store.read_stream(stream).await? {
        let event = recorded.event().map_err(|source| LoadError::Decode { stream: stream.clone(), source })?;
        let event = A::Event::try_from(event).map_err(|_| LoadError::OtherCategory { stream: stream.clone() })?;
        aggregate = aggregate.evolve(&event);
        version = recorded.envelope.version;
    }
    Ok((aggregate, version))
}

//! Judges batches in memory: versions, idempotency, event ids, and what time it is in the log. Every adapter uses it.

use std::collections::{HashMap, HashSet};

use ring::digest::{SHA256, digest};
use signalbeam_domain::{Category, Digest, Envelope, Event, EventId, Position, StreamId, TenantId, Timestamp, Version};

use crate::port::{AppendError, Batch, CommandMetadata, ExpectedVersion, NewEvent, Recorded};

/// The most events, and the most streams, that one batch may hold.
pub const BATCH_MAX: usize = 1_000;
/// The most octets that the payloads of one batch may have together.
pub const BATCH_MAX_BYTES: usize = 1 << 20;

/// A batch that is well-formed, with its payloads already in the form in which they will be kept.
pub(crate) struct PreparedBatch {
    pub(crate) metadata: CommandMetadata,
    pub(crate) writes: Vec<PreparedWrite>,
    pub(crate) payload_octets: usize,
}

pub(crate) struct PreparedWrite {
    pub(crate) stream: StreamId,
    expected: ExpectedVersion,
    pub(crate) events: Vec<PreparedEvent>,
}

pub(crate) struct PreparedEvent {
    pub(crate) event_id: EventId,
    tenant_id: Option<TenantId>,
    event_type: &'static str,
    schema_version: u16,
    data: Vec<u8>,
}

impl PreparedBatch {
    /// Checks the batch's shape and serialises its payloads.
    pub(crate) fn new(batch: Batch) -> Result<Self, AppendError> {
        let events: usize = batch.writes.iter().map(|write| write.events.len()).sum();
        if events > BATCH_MAX || batch.writes.len() > BATCH_MAX {
            return Err(AppendError::Malformed("it has more than 1000 events or streams"));
        }
        let mut streams = HashSet::with_capacity(batch.writes.len());
        if !batch.writes.iter().all(|write| streams.insert(&write.stream)) {
            return Err(AppendError::Malformed("it names a stream twice"));
        }
        let prepare = |write: crate::port::StreamWrite| {
            let category = write.stream.category();
            let events = write.events.iter().map(|event| PreparedEvent::new(event, category));
            let events = events.collect::<Result<_, _>>()?;
            Ok(PreparedWrite { stream: write.stream, expected: write.expected, events })
        };
        let writes = batch.writes.into_iter().map(prepare).collect::<Result<Vec<_>, AppendError>>()?;
        let payload_octets = writes.iter().flat_map(|write| &write.events).map(|event| event.data.len()).sum();
        if payload_octets > BATCH_MAX_BYTES {
            return Err(AppendError::Malformed("its payloads are larger than 1 MiB"));
        }
        Ok(Self { metadata: batch.metadata, writes, payload_octets })
    }

    /// All its events.
    pub(crate) fn events(&self) -> impl Iterator<Item = &PreparedEvent> {
        self.writes.iter().flat_map(|write| &write.events)
    }

    /// How many events it holds.
    pub(crate) fn len(&self) -> usize {
        self.writes.iter().map(|write| write.events.len()).sum()
    }
}

impl PreparedEvent {
    fn new(new: &NewEvent, category: Category) -> Result<Self, AppendError> {
        if category_of(&new.event) != category {
            return Err(AppendError::Malformed("an event belongs to another category than its stream"));
        }
        let data =
            serde_json::to_vec(&new.event).map_err(|_| AppendError::Malformed("a payload has no form in JSON"))?;
        Ok(Self {
            event_id: new.event_id,
            tenant_id: new.tenant_id,
            event_type: new.event.event_type(),
            schema_version: new.event.schema_version(),
            data,
        })
    }
}

const fn category_of(event: &Event) -> Category {
    match event {
        Event::DeviceEvent(_) => Category::Device,
        Event::RegistrationTokenEvent(_) => Category::RegistrationToken,
        Event::ApiKeyEvent(_) => Category::ApiKey,
        Event::CertificateEvent(_) => Category::Certificate,
        Event::AuthorityEvent(_) => Category::CertificateAuthority,
        Event::EventLogEvent(_) => Category::EventLog,
        Event::AdminTokenEvent(_) => Category::AdminToken,
        Event::AuditSegmentEvent(_) => Category::AuditSegment,
    }
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    pub(crate) position: Position,
    pub(crate) recorded_at: Timestamp,
}

/// What is kept of a named command. Its events stand in a row, since a batch is appended as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownCommand {
    pub(crate) body_sha256: Digest,
    /// The position that the command's append answered.
    pub(crate) position: Position,
    /// How many events it appended: those up to and including `position`.
    pub(crate) events: u64,
}

impl KnownCommand {
    /// The position before its first event.
    pub(crate) fn after(&self) -> Position {
        Position(self.position.0.saturating_sub(self.events))
    }
}

/// How an accepted batch ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// These events are to be appended, up to this position.
    Append { events: Vec<Recorded>, position: Position },
    /// The command was recorded before.
    Repeat(KnownCommand),
}

/// All that judging a batch takes. What it does not know does not exist, so whoever fills it from a database looks up
/// every stream, command and event id that the batches name.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) tail: Tail,
    pub(crate) versions: HashMap<StreamId, Version>,
    pub(crate) commands: HashMap<Digest, KnownCommand>,
    pub(crate) event_ids: HashSet<EventId>,
}

impl Ledger {
    /// Accepts or refuses a batch. What it accepts counts for the batches that follow.
    pub(crate) fn judge(&mut self, batch: PreparedBatch, now: Timestamp) -> Result<Verdict, AppendError> {
        if let Some(named) = batch.metadata.idempotency
            && let Some(known) = self.commands.get(&named.command_id)
        {
            return if known.body_sha256 == named.body_sha256 {
                Ok(Verdict::Repeat(*known))
            } else {
                Err(AppendError::CommandReused)
            };
        }
        self.check_versions(&batch)?;
        self.check_event_ids(&batch)?;
        self.tail.recorded_at = self.tail.recorded_at.max(now);
        let events = self.record(&batch.metadata, batch.writes);
        if let Some(named) = batch.metadata.idempotency {
            let known = KnownCommand {
                body_sha256: named.body_sha256,
                position: self.tail.position,
                events: events.len() as u64,
            };
            self.commands.insert(named.command_id, known);
        }
        Ok(Verdict::Append { events, position: self.tail.position })
    }

    fn version(&self, stream: &StreamId) -> Version {
        self.versions.get(stream).copied().unwrap_or_default()
    }

    fn check_versions(&self, batch: &PreparedBatch) -> Result<(), AppendError> {
        for write in &batch.writes {
            let actual = self.version(&write.stream);
            if let ExpectedVersion::Exact(expected) = write.expected
                && expected != actual
            {
                return Err(AppendError::Conflict { stream: write.stream.clone(), actual });
            }
        }
        Ok(())
    }

    fn check_event_ids(&self, batch: &PreparedBatch) -> Result<(), AppendError> {
        let mut own = HashSet::with_capacity(batch.len());
        let mut ids = batch.events().map(|event| event.event_id);
        if ids.all(|id| !self.event_ids.contains(&id) && own.insert(id)) {
            Ok(())
        } else {
            Err(AppendError::Malformed("an event's id is taken"))
        }
    }

    fn record(&mut self, metadata: &CommandMetadata, writes: Vec<PreparedWrite>) -> Vec<Recorded> {
        let mut recorded = Vec::with_capacity(writes.iter().map(|write| write.events.len()).sum());
        for write in writes {
            let mut version = self.version(&write.stream);
            for event in write.events {
                version.0 += 1;
                self.tail.position.0 += 1;
                self.event_ids.insert(event.event_id);
                let envelope = Envelope {
                    event_id: event.event_id,
                    stream: write.stream.clone(),
                    version,
                    position: self.tail.position,
                    event_type: event.event_type.to_owned(),
                    schema_version: event.schema_version,
                    recorded_at: self.tail.recorded_at,
                    tenant_id: event.tenant_id,
                    actor: metadata.actor.clone(),
                    command_id: metadata.idempotency.map(|named| named.command_id),
                    correlation_id: metadata.correlation_id.clone(),
                    causation_id: metadata.causation_id,
                    data: event.data,
                };
                recorded.push(seal(envelope));
            }
            self.versions.insert(write.stream, version);
        }
        recorded
    }
}

/// The event with its hash.
pub(crate) fn seal(envelope: Envelope) -> Recorded {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &envelope.canonical_encoding()).as_ref());
    Recorded { envelope, hash: Digest(hash) }
}

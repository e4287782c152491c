//! Events, batches and a clock for the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use signalbeam_domain::device::{DecisionReason, DeviceRegistered, DeviceReinstated, DeviceSuspended};
use signalbeam_domain::registration_token::TokenRevoked;
use signalbeam_domain::{
    Actor, CorrelationId, DeviceId, DeviceName, Digest, Event, EventId, Metadata, Prefix, Reason, StreamId, Tags,
    TenantId, Timestamp, Version,
};
use signalbeam_domain::{device::DeviceEvent, registration_token::RegistrationTokenEvent};
use signalbeam_event_store::{
    Batch, Clock, CommandMetadata, EventReader, ExpectedVersion, Filter, Idempotency, NewEvent, Recorded, StreamWrite,
};
use uuid::Uuid;

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) const START: Timestamp = Timestamp::from_unix_microseconds(1_800_000_000_123_456);

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Self::START.unix_microseconds())))
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.unix_microseconds(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_microseconds(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn device_id() -> DeviceId {
    DeviceId::from_uuid(Uuid::now_v7())
}

pub(crate) fn tenant_id() -> TenantId {
    TenantId::from_uuid(Uuid::now_v7())
}

pub(crate) fn new_stream() -> StreamId {
    StreamId::device(device_id())
}

pub(crate) fn new_event(event: impl Into<Event>) -> NewEvent {
    NewEvent { event_id: EventId::from_uuid(Uuid::now_v7()), tenant_id: None, event: event.into() }
}

pub(crate) fn suspended(reason: &str) -> NewEvent {
    let reason = Some(Reason::parse(reason).unwrap());
    new_event(DeviceEvent::from(DeviceSuspended(DecisionReason { reason })))
}

pub(crate) fn reinstated() -> NewEvent {
    new_event(DeviceEvent::from(DeviceReinstated(DecisionReason { reason: None })))
}

pub(crate) fn token_revoked() -> NewEvent {
    new_event(RegistrationTokenEvent::from(TokenRevoked { reason: None }))
}

/// A payload of the usual size.
pub(crate) fn registered(device_id: DeviceId, tenant_id: TenantId) -> NewEvent {
    let event = DeviceEvent::from(DeviceRegistered {
        device_id,
        tenant_id,
        device_name: DeviceName::parse("Pump 7, hall \"Süd\"").unwrap(),
        metadata: Metadata::default(),
        tags: Tags::default(),
        token_prefix: Prefix::parse("a1B2c3D4").unwrap(),
        claim_secret_sha256: Digest([7; 32]),
    });
    NewEvent { tenant_id: Some(tenant_id), ..new_event(event) }
}

pub(crate) fn metadata() -> CommandMetadata {
    CommandMetadata {
        actor: Actor { kind: signalbeam_domain::ActorKind::Admin, id: "admin@example.com".to_owned() },
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: Some(EventId::from_uuid(Uuid::now_v7())),
        idempotency: None,
    }
}

pub(crate) fn write(stream: &StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> StreamWrite {
    StreamWrite { stream: stream.clone(), expected, events }
}

pub(crate) fn exactly(version: u64) -> ExpectedVersion {
    ExpectedVersion::Exact(Version(version))
}

pub(crate) fn batch(writes: Vec<StreamWrite>) -> Batch {
    Batch { metadata: metadata(), writes }
}

/// One event for one stream, whatever its version.
pub(crate) fn single(stream: &StreamId) -> Batch {
    batch(vec![write(stream, ExpectedVersion::Any, vec![reinstated()])])
}

/// The same under a name: command and body are told apart by one octet.
pub(crate) fn named(mut batch: Batch, command: u8, body: u8) -> Batch {
    batch.metadata.idempotency =
        Some(Idempotency { command_id: Digest([command; 32]), body_sha256: Digest([body; 32]) });
    batch
}

/// Every event of the log, in small pages.
pub(crate) async fn everything(store: &(impl EventReader + ?Sized)) -> Vec<Recorded> {
    let mut events = vec![];
    let mut reached = signalbeam_domain::Position(0);
    loop {
        let page = store.read_all(reached, 7, &Filter::default()).await.unwrap();
        if page.reached == reached {
            return events;
        }
        reached = page.reached;
        events.extend(page.events);
    }
}

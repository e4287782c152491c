//! The canonical encoding of an envelope: pinned by a golden hash, and one-to-one with what it encodes.

use std::collections::HashSet;

use proptest::prelude::*;
use ring::digest::{SHA256, digest};
use signalbeam_domain::{
    Actor, ActorKind, CorrelationId, Digest, Envelope, EventId, Position, StreamId, TenantId, Timestamp, Version,
};
use uuid::Uuid;

use crate::fixtures::{device_id, other_device_id, tenant};

fn event_id(number: u8) -> EventId {
    EventId::from_uuid(Uuid::from_u128(0x018f_3c5e_7b1a_7cc2_9d3e_0000_0000_0600 | u128::from(number)))
}

fn correlation(text: &str) -> CorrelationId {
    CorrelationId::parse(text).unwrap()
}

/// Without any optional field.
fn bare() -> Envelope {
    Envelope {
        event_id: event_id(1),
        stream: StreamId::device(device_id()),
        version: Version(2),
        position: Position(17),
        event_type: "device.approved".into(),
        schema_version: 1,
        recorded_at: Timestamp::parse("2026-01-31T12:00:00.123456Z").unwrap(),
        tenant_id: None,
        actor: Actor { kind: ActorKind::Admin, id: "alice".into() },
        command_id: None,
        correlation_id: correlation("request-1.a_b"),
        causation_id: None,
        data: br#"{"apiKeyValidityDays":90}"#.to_vec(),
    }
}

/// With every optional field.
fn full() -> Envelope {
    Envelope {
        tenant_id: Some(tenant(1)),
        command_id: Some(Digest([7; 32])),
        causation_id: Some(event_id(2)),
        ..bare()
    }
}

fn sha256(envelope: &Envelope) -> Digest {
    Digest(digest(&SHA256, &envelope.canonical_encoding()).as_ref().try_into().unwrap())
}

#[test]
fn the_hash_is_what_it_always_was() {
    let golden = include_str!("../golden/envelope.hash");
    assert_eq!(golden, format!("full {}\nbare {}\n", sha256(&full()), sha256(&bare())));
}

#[test]
fn the_position_belongs_to_the_store_and_not_to_the_hash() {
    let elsewhere = Envelope { position: Position(u64::MAX), ..full() };
    assert_eq!(sha256(&elsewhere), sha256(&full()));
}

#[test]
fn every_other_field_changes_the_hash() {
    let actor = |kind, id: &str| Actor { kind, id: id.to_owned() };
    let changed = [
        ("event id", Envelope { event_id: event_id(9), ..full() }),
        ("stream", Envelope { stream: StreamId::device(other_device_id()), ..full() }),
        ("category", Envelope { stream: StreamId::certificates(device_id()), ..full() }),
        ("version", Envelope { version: Version(3), ..full() }),
        ("event type", Envelope { event_type: "device.rejected".into(), ..full() }),
        ("schema version", Envelope { schema_version: 2, ..full() }),
        ("recorded at", Envelope { recorded_at: Timestamp::from_unix_microseconds(0), ..full() }),
        ("tenant", Envelope { tenant_id: Some(tenant(2)), ..full() }),
        ("no tenant", Envelope { tenant_id: None, ..full() }),
        ("actor's kind", Envelope { actor: actor(ActorKind::System, "alice"), ..full() }),
        ("actor's id", Envelope { actor: actor(ActorKind::Admin, "alicf"), ..full() }),
        ("command", Envelope { command_id: Some(Digest([8; 32])), ..full() }),
        ("no command", Envelope { command_id: None, ..full() }),
        ("correlation", Envelope { correlation_id: correlation("request-1.a_c"), ..full() }),
        ("causation", Envelope { causation_id: Some(event_id(3)), ..full() }),
        ("no causation", Envelope { causation_id: None, ..full() }),
        ("data", Envelope { data: br#"{"apiKeyValidityDays":91}"#.to_vec(), ..full() }),
        ("a space in data", Envelope { data: br#"{"apiKeyValidityDays": 90}"#.to_vec(), ..full() }),
        ("no data", Envelope { data: vec![], ..full() }),
    ];
    for (field, envelope) in &changed {
        assert_ne!(sha256(envelope), sha256(&full()), "{field}");
    }
}

#[test]
fn an_absent_id_is_not_an_id_of_zeros() {
    let zeros = Envelope { tenant_id: Some(TenantId::from_uuid(Uuid::nil())), ..bare() };
    assert_ne!(sha256(&zeros), sha256(&bare()));
}

#[test]
fn octets_that_move_to_the_next_field_change_the_hash() {
    let stream = |end: &str| StreamId::parse(&format!("device-1{end}")).unwrap();
    let one = |stream, version, event_type: &str| Envelope {
        stream,
        version: Version(version),
        event_type: event_type.into(),
        ..full()
    };
    let marker = |then: &[u8; 12]| [&[0xff; 4], then.as_slice()].concat();
    let cause = EventId::from_uuid(Uuid::from_slice(&marker(b"twelve bytes")).unwrap());
    // Without their lengths the fields of each pair would be the same octets in the same order.
    let pairs = [
        (one(stream(""), 2, "device.approved"), one(stream("\0"), 0x0264, "evice.approved")),
        (
            Envelope { data: b"twelve bytes and more".to_vec(), ..bare() },
            Envelope { causation_id: Some(cause), data: b" and more".to_vec(), ..bare() },
        ),
    ];
    for (one, other) in &pairs {
        assert_ne!(sha256(one), sha256(other));
    }
    let text = "abcdef";
    let split = |first: usize, second: usize| Envelope {
        actor: Actor { kind: ActorKind::Admin, id: text[..first].into() },
        correlation_id: correlation(&text[first..second]),
        data: text[second..].into(),
        ..bare()
    };
    let splits: Vec<_> = (0..6).flat_map(|first| (first + 1..=6).map(move |second| (first, second))).collect();
    let hashes: HashSet<_> = splits.iter().map(|(a, b)| sha256(&split(*a, *b))).collect();
    assert_eq!(hashes.len(), splits.len());
}

/// The fields of an encoding, read by their lengths; `None` for an absent one.
fn fields(mut encoding: &[u8]) -> Vec<Option<&[u8]>> {
    let mut fields = vec![];
    while let Some((length, rest)) = encoding.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length);
        if length == u32::MAX {
            fields.push(None);
            encoding = rest;
        } else {
            let (field, rest) = rest.split_at(usize::try_from(length).unwrap());
            fields.push(Some(field));
            encoding = rest;
        }
    }
    assert!(encoding.is_empty(), "{} octets too many", encoding.len());
    fields
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let id = || any::<u128>().prop_map(Uuid::from_u128);
    let kind = prop::sample::select(vec![
        ActorKind::Admin,
        ActorKind::Device,
        ActorKind::RegistrationToken,
        ActorKind::System,
    ]);
    let numbers = (any::<u64>(), any::<u64>(), any::<u16>(), any::<i64>());
    let texts = ("[a-z.]{0,20}", "\\PC{0,20}", "[A-Za-z0-9._-]{1,128}", prop::collection::vec(any::<u8>(), 0..200));
    let optional = (prop::option::of(id()), prop::option::of(any::<[u8; 32]>()), prop::option::of(id()));
    (id(), id(), kind, numbers, texts, optional).prop_map(|(event, device, kind, numbers, texts, optional)| Envelope {
        event_id: EventId::from_uuid(event),
        stream: StreamId::api_keys(signalbeam_domain::DeviceId::from_uuid(device)),
        version: Version(numbers.0),
        position: Position(numbers.1),
        event_type: texts.0,
        schema_version: numbers.2,
        recorded_at: Timestamp::from_unix_microseconds(numbers.3),
        tenant_id: optional.0.map(TenantId::from_uuid),
        actor: Actor { kind, id: texts.1 },
        command_id: optional.1.map(Digest),
        correlation_id: correlation(&texts.2),
        causation_id: optional.2.map(EventId::from_uuid),
        data: texts.3,
    })
}

proptest! {
    #[test]
    fn every_field_can_be_read_back_from_the_encoding(envelope in envelope()) {
        let encoding = envelope.canonical_encoding();
        let fields = fields(&encoding);
        let number = |at: usize| i64::from_be_bytes(fields[at].unwrap().try_into().unwrap());
        prop_assert_eq!(fields.len(), 14);
        prop_assert_eq!(fields[0].unwrap(), b"signalbeam-event-1");
        prop_assert_eq!(fields[1].unwrap(), envelope.event_id.as_uuid().as_bytes());
        prop_assert_eq!(fields[2].unwrap(), envelope.stream.as_str().as_bytes());
        prop_assert_eq!(number(3).cast_unsigned(), envelope.version.0);
        prop_assert_eq!(fields[4].unwrap(), envelope.event_type.as_bytes());
        prop_assert_eq!(number(5), i64::from(envelope.schema_version));
        prop_assert_eq!(number(6), envelope.recorded_at.unix_microseconds());
        prop_assert_eq!(fields[7], envelope.tenant_id.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()));
        prop_assert_eq!(fields[8].unwrap(), envelope.actor.kind.as_str().as_bytes());
        prop_assert_eq!(fields[9].unwrap(), envelope.actor.id.as_bytes());
        prop_assert_eq!(fields[10], envelope.command_id.as_ref().map(|id| id.0.as_slice()));
        prop_assert_eq!(fields[11].unwrap(), envelope.correlation_id.as_str().as_bytes());
        prop_assert_eq!(fields[12], envelope.causation_id.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()));
        prop_assert_eq!(fields[13].unwrap(), envelope.data.as_slice());
    }
}

//! What is kept of a rollback, and who notices one.

use std::sync::Arc;

use signalbeam_domain::device::{DecisionReason, DeviceEvent, DeviceReinstated};
use signalbeam_domain::{Actor, CorrelationId, DeviceId, EventId, StreamId};
use signalbeam_event_store::execute::new_events;
use signalbeam_event_store::witness::newest;
use signalbeam_event_store::{
    Batch, CommandMetadata, EventStore, ExpectedVersion, MemoryEventStore, StreamWrite, SystemClock,
};

use super::acknowledgement::{ACKNOWLEDGEMENT_FILE, Acknowledgement, clear};
use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

async fn log_of(events: u128) -> MemoryEventStore {
    let log = MemoryEventStore::new(Arc::new(SystemClock));
    for number in 0..events {
        let event = DeviceEvent::from(DeviceReinstated(DecisionReason { reason: None }));
        let write = StreamWrite {
            stream: StreamId::device(DeviceId::from_uuid(Uuid::from_u128(number))),
            expected: ExpectedVersion::Any,
            events: new_events(None, vec![event]),
        };
        let metadata = CommandMetadata {
            actor: Actor::system("tests"),
            correlation_id: CorrelationId::from_uuid(Uuid::from_u128(number)),
            causation_id: None,
            idempotency: None,
        };
        log.append(Batch { metadata, writes: vec![write] }).await.unwrap();
    }
    log
}

fn seen(witness: &str, position: u64) -> Evidence {
    let event_id = EventId::from_uuid(Uuid::from_u128(u128::from(position)));
    Evidence { witness: witness.to_owned(), point: LogPoint { position: Position(position), event_id, hash: None } }
}

#[tokio::test]
async fn the_farthest_witness_tells_how_far_the_log_had_come() {
    let log = log_of(3).await;
    let evidence = [seen("near", 5), seen("far", 9), seen("other", 2)];
    let rollback = detect(&evidence, &log, NOW).await.unwrap().unwrap();
    assert_eq!((rollback.cause, rollback.witness.as_str()), (RollbackCause::Behind, "far"));
    assert_eq!((rollback.witnessed.unwrap().position, rollback.found_position), (Position(9), Position(3)));
    assert_eq!(rollback.describe(), "the log ends at position 3, and far has seen position 9");
    assert_eq!(rollback.command(Path::new("/d")), "signalbeam restore acknowledge --data-dir /d --position 3");
}

#[tokio::test]
async fn a_log_that_agrees_with_every_witness_is_in_order() {
    let log = log_of(3).await;
    let point = LogPoint::of(&newest(&log).await.unwrap().unwrap());
    let evidence = [Evidence { witness: "w".to_owned(), point }];
    assert_eq!(detect(&evidence, &log, NOW).await.unwrap(), None);
    assert_eq!(detect(&[], &log, NOW).await.unwrap(), None);
}

#[tokio::test]
async fn witness_files_are_read_back_and_a_damaged_one_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [own, other] = ["witness.json", "other.json"].map(|name| folder.path().join(name));
    let recorded = newest(&log_of(2).await).await.unwrap().unwrap();
    Witness::of(&recorded).write(&own).unwrap();
    std::fs::write(&other, "{").unwrap();
    assert!(matches!(Witness::read(&other), Err(RecordError::Damaged { .. })));
    let found = evidence(folder.path(), &[own.clone(), other, folder.path().join("none.json")]).await;
    assert_eq!(found, [Evidence { witness: own.display().to_string(), point: LogPoint::of(&recorded) }]);
}

#[test]
fn an_acknowledgement_counts_for_its_own_rollback_alone() {
    let folder = tempfile::tempdir().unwrap();
    let rollback = Rollback::new(RollbackCause::Restored, "a backup".into(), None, Position(7), NOW);
    let later = Rollback::new(RollbackCause::Restored, "a backup".into(), None, Position(7), NOW);
    rollback.write(folder.path()).unwrap();
    assert_eq!(Rollback::read(folder.path()).unwrap().as_ref(), Some(&rollback));
    let said =
        Acknowledgement { rollback_id: rollback.id, operator: "alice".into(), acknowledged_at: NOW, reason: None };
    said.write(folder.path()).unwrap();
    assert_eq!(Acknowledgement::read(folder.path(), &rollback).unwrap().as_ref(), Some(&said));
    assert_eq!(Acknowledgement::read(folder.path(), &later).unwrap(), None);
    assert_eq!(said.actor().id, "operator:alice");
    assert_eq!(said.event(&rollback).found_position, Position(7));
    clear(folder.path()).unwrap();
    clear(folder.path()).unwrap();
    assert_eq!(Rollback::read(folder.path()).unwrap(), None);
    assert!(!folder.path().join(ACKNOWLEDGEMENT_FILE).exists());
}

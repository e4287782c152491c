//! A point of the log that was seen once tells whether the log went back.

use signalbeam_domain::event_log::RollbackCause;
use signalbeam_domain::{Digest, EventId, Position};
use signalbeam_event_store::witness::{LogPoint, event_at, newest};
use signalbeam_event_store::{EventReader, EventStore, MemoryEventStore};
use uuid::Uuid;

use crate::fixture::{ManualClock, new_stream, single};

async fn log_of(events: u64) -> MemoryEventStore {
    let log = MemoryEventStore::new(ManualClock::new());
    for _ in 0..events {
        log.append(single(&new_stream())).await.unwrap();
    }
    log
}

#[tokio::test]
async fn a_log_that_went_on_bears_out_what_was_seen_of_it() {
    let log = log_of(3).await;
    let seen = LogPoint::of(&newest(&log).await.unwrap().unwrap());
    assert_eq!(seen.position, Position(3));
    log.append(single(&new_stream())).await.unwrap();
    assert_eq!(seen.contradicted_by(&log).await, None);
    assert_eq!(LogPoint { hash: None, ..seen }.contradicted_by(&log).await, None, "the id alone will do");
}

#[tokio::test]
async fn a_log_that_went_back_is_noticed_also_when_it_has_grown_again() {
    let seen = LogPoint::of(&newest(&log_of(3).await).await.unwrap().unwrap());
    assert_eq!(seen.contradicted_by(&log_of(0).await).await, Some(RollbackCause::Behind));
    assert_eq!(seen.contradicted_by(&log_of(2).await).await, Some(RollbackCause::Behind));
    assert_eq!(seen.contradicted_by(&log_of(3).await).await, Some(RollbackCause::OtherHistory));
    assert_eq!(seen.contradicted_by(&log_of(9).await).await, Some(RollbackCause::OtherHistory));
}

#[tokio::test]
async fn id_and_hash_both_count() {
    let log = log_of(2).await;
    let seen = LogPoint::of(&newest(&log).await.unwrap().unwrap());
    let other_hash = LogPoint { hash: Some(Digest([7; 32])), ..seen };
    assert_eq!(other_hash.contradicted_by(&log).await, Some(RollbackCause::OtherHistory));
    let other_id = LogPoint { event_id: EventId::from_uuid(Uuid::from_u128(7)), ..seen };
    assert_eq!(other_id.contradicted_by(&log).await, Some(RollbackCause::OtherHistory));
}

#[tokio::test]
async fn there_is_nothing_at_position_0_and_beyond_the_head() {
    let log = log_of(2).await;
    assert_eq!(event_at(&log, Position(0)).await.unwrap(), None);
    assert_eq!(event_at(&log, Position(3)).await.unwrap(), None);
    assert_eq!(event_at(&log, Position(1)).await.unwrap().unwrap().envelope.position, Position(1));
    assert_eq!(newest(&log_of(0).await).await.unwrap(), None);
    assert_eq!(log.head().await.unwrap(), Position(2));
}

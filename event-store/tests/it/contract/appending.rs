//! Versions, atomicity, and what is kept of an event.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use signalbeam_domain::{Position, StreamId, Version};
use signalbeam_event_store::{AppendError, BATCH_MAX, ExpectedVersion};
use tokio::task::JoinSet;

use super::Subject;
use crate::fixture::{
    ManualClock, batch, device_id, everything, exactly, metadata, new_stream, registered, reinstated, single,
    suspended, tenant_id, token_revoked, write,
};

pub(super) async fn of_racing_exact_appends_one_wins(Subject { store, .. }: Subject) {
    let stream = new_stream();
    for round in 0..5 {
        let mut racers = JoinSet::new();
        for _ in 0..32 {
            let (store, stream) = (Arc::clone(&store), stream.clone());
            racers.spawn(
                async move { store.append(batch(vec![write(&stream, exactly(round), vec![reinstated()])])).await },
            );
        }
        let (won, lost): (Vec<_>, Vec<_>) = racers.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 31));
        for error in lost {
            assert!(
                matches!(&error, Err(AppendError::Conflict { stream: s, actual }) if *s == stream && actual.0 == round + 1),
                "{error:?}"
            );
        }
    }
    assert_eq!(store.read_stream(&stream).await.unwrap().len(), 5);
}

pub(super) async fn several_streams_are_appended_all_or_none(Subject { store, .. }: Subject) {
    let (first, second, third) = (new_stream(), new_stream(), new_stream());
    let writes = vec![
        write(&first, exactly(0), vec![suspended("a"), reinstated()]),
        write(&second, ExpectedVersion::Any, vec![reinstated()]),
    ];
    let appended = store.append(batch(writes)).await.unwrap();
    let placed: Vec<_> = appended.events.iter().map(|r| (&r.envelope.stream, r.envelope.version.0)).collect();
    assert_eq!(placed, [(&first, 1), (&first, 2), (&second, 1)]);
    assert_eq!(appended.position, Position(3));

    let writes = vec![
        write(&third, exactly(0), vec![reinstated()]),
        write(&second, exactly(1), vec![reinstated()]),
        write(&first, exactly(1), vec![reinstated()]),
    ];
    let refused = store.append(batch(writes)).await;
    assert!(
        matches!(&refused, Err(AppendError::Conflict { stream, actual: Version(2) }) if *stream == first),
        "{refused:?}"
    );
    assert_eq!(everything(&*store).await, appended.events);
    assert!(store.read_stream(&third).await.unwrap().is_empty());
}

pub(super) async fn a_write_without_events_asserts_a_version(Subject { store, .. }: Subject) {
    let (device, keys) = (new_stream(), StreamId::api_keys(device_id()));
    store.append(single(&device)).await.unwrap();
    let only_assert = |version| batch(vec![write(&device, exactly(version), vec![])]);
    let outcome = store.append(only_assert(1)).await.unwrap();
    assert_eq!((outcome.position, outcome.events.len()), (Position(1), 0), "the head, where nothing is appended");
    assert!(matches!(store.append(only_assert(0)).await, Err(AppendError::Conflict { actual: Version(1), .. })));
    assert!(matches!(store.append(only_assert(2)).await, Err(AppendError::Conflict { actual: Version(1), .. })));

    let other = new_stream();
    let guarded =
        |version| batch(vec![write(&device, exactly(version), vec![]), write(&other, exactly(0), vec![reinstated()])]);
    assert!(matches!(store.append(guarded(7)).await, Err(AppendError::Conflict { .. })));
    assert!(store.read_stream(&other).await.unwrap().is_empty());
    store.append(guarded(1)).await.unwrap();
    assert_eq!(store.read_stream(&device).await.unwrap().len(), 1, "an assertion adds nothing");
    let absent = batch(vec![write(&keys, exactly(0), vec![])]);
    store.append(absent).await.unwrap();
}

pub(super) async fn an_event_is_kept_as_it_was_appended(Subject { store, .. }: Subject) {
    let (device, tenant) = (device_id(), tenant_id());
    let stream = StreamId::device(device);
    let new = registered(device, tenant);
    let metadata = metadata();
    let appended = store
        .append(signalbeam_event_store::Batch {
            metadata: metadata.clone(),
            writes: vec![write(&stream, exactly(0), vec![new.clone()])],
        })
        .await
        .unwrap();
    let read = store.read_stream(&stream).await.unwrap();
    assert_eq!(read, appended.events);

    let recorded = &read[0];
    let envelope = &recorded.envelope;
    assert_eq!((envelope.event_id, &envelope.stream, envelope.version), (new.event_id, &stream, Version(1)));
    assert_eq!((envelope.position, envelope.recorded_at), (Position(1), ManualClock::START));
    assert_eq!((envelope.event_type.as_str(), envelope.schema_version), ("device.registered", 1));
    assert_eq!((envelope.tenant_id, &envelope.actor), (Some(tenant), &metadata.actor));
    assert_eq!((&envelope.correlation_id, envelope.causation_id), (&metadata.correlation_id, metadata.causation_id));
    assert_eq!(envelope.data, serde_json::to_vec(&new.event).unwrap());
    assert_eq!(recorded.event().unwrap(), new.event);
    assert_eq!(recorded.hash.0, digest(&SHA256, &envelope.canonical_encoding()).as_ref());
}

pub(super) async fn the_recorded_time_never_runs_backwards(Subject { store, clock, .. }: Subject) {
    let stream = new_stream();
    let start = ManualClock::START;
    for now in [start, start.plus_seconds(-3_600), start.plus_seconds(1), start.plus_days(-1)] {
        clock.set(now);
        store.append(single(&stream)).await.unwrap();
    }
    let times: Vec<_> = everything(&*store).await.iter().map(|r| r.envelope.recorded_at).collect();
    assert_eq!(times, [start, start, start.plus_seconds(1), start.plus_seconds(1)]);
}

pub(super) async fn a_malformed_batch_is_refused(Subject { store, .. }: Subject) {
    let stream = new_stream();
    let twice = vec![write(&stream, exactly(0), vec![reinstated()]), write(&stream, exactly(1), vec![reinstated()])];
    let other_category = vec![write(&stream, exactly(0), vec![token_revoked()])];
    let too_many = vec![write(&stream, exactly(0), std::iter::repeat_with(reinstated).take(BATCH_MAX + 1).collect())];
    let same_id = vec![write(&stream, exactly(0), vec![reinstated(); 2])];
    let same_id = same_id
        .into_iter()
        .map(|mut write| {
            write.events[1].event_id = write.events[0].event_id;
            write
        })
        .collect();
    for writes in [twice, other_category, too_many, same_id] {
        let refused = store.append(batch(writes)).await;
        assert!(matches!(refused, Err(AppendError::Malformed(_))), "{refused:?}");
    }
    assert_eq!(store.head().await.unwrap(), Position(0));
    let most = vec![write(&stream, exactly(0), std::iter::repeat_with(reinstated).take(BATCH_MAX).collect())];
    assert_eq!(store.append(batch(most)).await.unwrap().events.len(), BATCH_MAX);
}

pub(super) async fn a_taken_event_id_is_refused_alone(Subject { store, .. }: Subject) {
    let taken = reinstated();
    store.append(batch(vec![write(&new_stream(), exactly(0), vec![taken.clone()])])).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..32 {
        let event = if n == 7 { taken.clone() } else { reinstated() };
        let store = Arc::clone(&store);
        tasks.spawn(async move { (n, store.append(batch(vec![write(&new_stream(), exactly(0), vec![event])])).await) });
    }
    for (n, outcome) in tasks.join_all().await {
        if n == 7 {
            assert!(matches!(outcome, Err(AppendError::Malformed(_))), "{outcome:?}");
        } else {
            outcome.unwrap();
        }
    }
    assert_eq!(store.head().await.unwrap(), Position(32));
}

pub(super) async fn positions_and_versions_are_dense_under_racing_writers(Subject { store, .. }: Subject) {
    let streams: Arc<Vec<_>> = Arc::new(std::iter::repeat_with(new_stream).take(5).collect());
    let mut tasks = JoinSet::new();
    for writer in 0..16 {
        let (store, streams) = (Arc::clone(&store), Arc::clone(&streams));
        tasks.spawn(async move {
            for n in 0..20 {
                let (one, other) = (&streams[(writer + n) % 5], &streams[(writer + n + 1) % 5]);
                let writes = vec![
                    write(one, ExpectedVersion::Any, vec![reinstated(), reinstated()]),
                    write(other, ExpectedVersion::Any, vec![reinstated()]),
                ];
                let appended = store.append(batch(writes)).await.unwrap();
                let last = appended.events.last().unwrap().envelope.position;
                assert_eq!(appended.position, last);
                assert_eq!(last.0 - appended.events[0].envelope.position.0, 2, "a batch stands in a row");
            }
        });
    }
    tasks.join_all().await;
    let events = everything(&*store).await;
    assert!((1..=960).eq(events.iter().map(|r| r.envelope.position.0)));
    for stream in &*streams {
        let versions = events.iter().filter(|r| r.envelope.stream == *stream).map(|r| r.envelope.version.0);
        assert!(versions.eq(1..=192), "{stream}");
    }
}

//! Commands under a name: the same again gets the first outcome.

use std::sync::Arc;

use signalbeam_domain::{Digest, Position};
use signalbeam_event_store::AppendError;
use tokio::task::JoinSet;

use super::Subject;
use crate::fixture::{batch, everything, exactly, named, new_stream, reinstated, single, suspended, write};

pub(super) async fn a_repeated_command_gets_the_first_outcome(Subject { store, .. }: Subject) {
    let (stream, other) = (new_stream(), new_stream());
    let create = || {
        let writes =
            vec![write(&stream, exactly(0), vec![suspended("x")]), write(&other, exactly(0), vec![reinstated()])];
        named(batch(writes), 1, 1)
    };
    let first = store.append(create()).await.unwrap();
    assert!(!first.is_repeat);
    store.append(single(&stream)).await.unwrap();

    let again = store.append(create()).await.unwrap();
    assert!(again.is_repeat);
    assert_eq!((again.position, &again.events), (first.position, &first.events), "although the versions have moved on");
    assert_eq!(store.head().await.unwrap(), Position(3));
    assert!(first.events.iter().all(|r| r.envelope.command_id == Some(Digest([1; 32]))));

    let recorded = store.command(&Digest([1; 32])).await.unwrap().unwrap();
    assert_eq!((recorded.body_sha256, recorded.events), (Digest([1; 32]), first.events));
    assert_eq!(store.command(&Digest([2; 32])).await.unwrap(), None);
}

pub(super) async fn racing_repeats_append_once(Subject { store, .. }: Subject) {
    let stream = new_stream();
    let mut racers = JoinSet::new();
    for _ in 0..32 {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        racers.spawn(async move {
            store.append(named(batch(vec![write(&stream, exactly(0), vec![reinstated()])]), 3, 3)).await.unwrap()
        });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| !outcome.is_repeat).count(), 1);
    assert!(outcomes.iter().all(|outcome| outcome.events == outcomes[0].events && outcome.position == Position(1)));
    assert_eq!(everything(&*store).await, outcomes[0].events);
}

pub(super) async fn a_command_with_another_body_is_refused(Subject { store, .. }: Subject) {
    let stream = new_stream();
    store.append(named(single(&stream), 4, 1)).await.unwrap();
    assert!(matches!(store.append(named(single(&stream), 4, 2)).await, Err(AppendError::CommandReused)));
    assert_eq!(store.read_stream(&stream).await.unwrap().len(), 1);
    assert!(!store.append(named(single(&stream), 5, 2)).await.unwrap().is_repeat, "another name is another command");
}

pub(super) async fn a_refused_command_may_be_tried_again(Subject { store, .. }: Subject) {
    let stream = new_stream();
    let attempt = |version| named(batch(vec![write(&stream, exactly(version), vec![reinstated()])]), 6, 6);
    assert!(matches!(store.append(attempt(1)).await, Err(AppendError::Conflict { .. })));
    assert!(!store.append(attempt(0)).await.unwrap().is_repeat, "only what was recorded is remembered");
}

pub(super) async fn a_command_without_events_is_remembered(Subject { store, .. }: Subject) {
    let stream = new_stream();
    store.append(single(&stream)).await.unwrap();
    let nothing = || named(batch(vec![write(&stream, exactly(1), vec![])]), 8, 8);
    let first = store.append(nothing()).await.unwrap();
    store.append(single(&stream)).await.unwrap();
    let again = store.append(nothing()).await.unwrap();
    assert_eq!((again.position, again.events, again.is_repeat), (first.position, vec![], true));
    assert!(matches!(store.append(named(single(&stream), 8, 9)).await, Err(AppendError::CommandReused)));
}

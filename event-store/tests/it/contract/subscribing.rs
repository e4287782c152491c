//! Catching up, following, and hearing that there is nothing new.

use std::sync::Arc;
use std::time::{Duration, Instant};

use signalbeam_domain::Position;
use signalbeam_event_store::{ExpectedVersion, Subscription, SubscriptionItem};
use tokio::task::JoinSet;

use super::Subject;
use crate::fixture::{batch, new_stream, reinstated, single, write};

/// Long enough for a busy machine, short enough to fail a test.
const PATIENCE: Duration = Duration::from_secs(20);

async fn next(subscription: &mut Subscription) -> Option<SubscriptionItem> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("a subscription speaks at least every second")
}

/// Receives until this position, and proves that nothing is left out or comes twice.
async fn follow(subscription: &mut Subscription, mut after: Position, until: Position) {
    while after < until {
        match next(subscription).await {
            Some(SubscriptionItem::Events(events)) => {
                for event in events {
                    assert_eq!(event.envelope.position.0, after.0 + 1);
                    after = event.envelope.position;
                }
            }
            Some(SubscriptionItem::CaughtUp(position)) => assert_eq!(position, after),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(after, until);
}

pub(super) async fn a_subscription_catches_up_then_follows_without_gap_or_double(Subject { store, .. }: Subject) {
    let stream = new_stream();
    let events = || std::iter::repeat_with(reinstated).take(700).collect();
    store.append(batch(vec![write(&stream, ExpectedVersion::Any, events())])).await.unwrap();
    store.append(batch(vec![write(&stream, ExpectedVersion::Any, events())])).await.unwrap();

    let mut subscribers = JoinSet::new();
    for after in [0, 1, 650, 1_400] {
        let mut subscription = store.subscribe(Position(after));
        subscribers.spawn(async move { follow(&mut subscription, Position(after), Position(1_800)).await });
    }
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let stream = new_stream();
            for _ in 0..50 {
                store.append(single(&stream)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    subscribers.join_all().await;
}

pub(super) async fn a_subscriber_hears_at_least_every_second_that_it_has_caught_up(Subject { store, .. }: Subject) {
    store.append(single(&new_stream())).await.unwrap();
    let mut subscription = store.subscribe(Position(0));
    assert!(matches!(next(&mut subscription).await, Some(SubscriptionItem::Events(events)) if events.len() == 1));
    let started = Instant::now();
    for _ in 0..3 {
        let item = next(&mut subscription).await;
        assert!(matches!(item, Some(SubscriptionItem::CaughtUp(Position(1)))), "{item:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(3), "at once, then within a second each");
}

pub(super) async fn a_slow_subscriber_loses_nothing(Subject { store, .. }: Subject) {
    let mut slow = store.subscribe(Position(0));
    let stream = new_stream();
    for _ in 0..10 {
        let events = std::iter::repeat_with(reinstated).take(500).collect();
        store.append(batch(vec![write(&stream, ExpectedVersion::Any, events)])).await.unwrap();
    }
    // Nothing was received while all of that was appended; a subscription that buffers would hold it, ours reads it now.
    let mut received = Position(0);
    let mut largest = 0;
    while received < Position(5_000) {
        match next(&mut slow).await {
            Some(SubscriptionItem::Events(events)) => {
                assert_eq!(events[0].envelope.position.0, received.0 + 1);
                largest = largest.max(events.len());
                received = events.last().unwrap().envelope.position;
            }
            Some(SubscriptionItem::CaughtUp(position)) => assert_eq!(position, received),
            other => panic!("{other:?}"),
        }
    }
    assert!(largest <= 512, "in pages");
}

pub(super) async fn a_subscription_ends_with_its_store(Subject { store, .. }: Subject) {
    store.append(single(&new_stream())).await.unwrap();
    let mut subscription = store.subscribe(Position(0));
    drop(store);
    let mut received = 0;
    while let Some(item) = next(&mut subscription).await {
        if let SubscriptionItem::Events(events) = item {
            received += events.len();
        }
    }
    assert_eq!(received, 1);
}

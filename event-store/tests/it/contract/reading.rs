//! Streams, pages, filters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signalbeam_domain::{Category, EventId, Position, StreamId};
use signalbeam_event_store::{EventStore, ExpectedVersion, Filter, Recorded};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Subject;
use crate::fixture::{
    batch, device_id, everything, new_stream, registered, reinstated, single, suspended, tenant_id, write,
};

pub(super) async fn an_unknown_stream_is_empty(Subject { store, .. }: Subject) {
    assert!(store.read_stream(&new_stream()).await.unwrap().is_empty());
    assert_eq!(store.head().await.unwrap(), Position(0));
    let page = store.read_all(Position(0), 10, &Filter::default()).await.unwrap();
    assert_eq!((page.events, page.reached), (vec![], Position(0)));
}

pub(super) async fn a_stream_is_read_in_the_order_of_its_versions(Subject { store, .. }: Subject) {
    let (stream, other) = (new_stream(), new_stream());
    for n in 0..12 {
        store.append(single(if n % 3 == 0 { &other } else { &stream })).await.unwrap();
    }
    let versions: Vec<_> = store
        .read_stream(&stream)
        .await
        .unwrap()
        .iter()
        .map(|r| (r.envelope.version.0, r.envelope.position.0))
        .collect();
    assert_eq!(versions, [(1, 2), (2, 3), (3, 5), (4, 6), (5, 8), (6, 9), (7, 11), (8, 12)]);
}

pub(super) async fn the_streams_of_a_category_are_told(Subject { store, .. }: Subject) {
    let mut streams = [new_stream(), new_stream()];
    streams.sort_unstable();
    for _ in 0..3 {
        for stream in &streams {
            store.append(single(stream)).await.unwrap();
        }
    }
    assert_eq!(store.streams_of(Category::Device).await.unwrap(), streams);
    for other in Category::ALL.into_iter().filter(|category| *category != Category::Device) {
        assert_eq!(store.streams_of(other).await.unwrap(), []);
    }
}

pub(super) async fn every_filter_holds(Subject { store, .. }: Subject) {
    let tenants = [tenant_id(), tenant_id()];
    let streams: Vec<_> = std::iter::repeat_with(new_stream).take(4).collect();
    for (n, stream) in streams.iter().enumerate() {
        let events = vec![registered(device_id(), tenants[n % 2]), suspended("x"), reinstated()];
        store.append(batch(vec![write(stream, ExpectedVersion::Any, events)])).await.unwrap();
    }
    let all = everything(&*store).await;
    let text = |text: &str| text.to_owned();
    let filters = [
        Filter::default(),
        Filter { streams: vec![streams[1].clone(), streams[3].clone()], ..Filter::default() },
        Filter { event_types: vec![text("device.suspended"), text("device.reinstated")], ..Filter::default() },
        Filter { tenant_id: Some(tenants[1]), ..Filter::default() },
        Filter {
            streams: streams[..2].to_vec(),
            event_types: vec![text("device.registered"), text("device.suspended")],
            tenant_id: Some(tenants[0]),
        },
        Filter { event_types: vec![text("no.such")], ..Filter::default() },
    ];
    let expected_counts = [12, 6, 8, 2, 1, 0];
    for (filter, count) in filters.iter().zip(expected_counts) {
        let expected: Vec<_> = all.iter().filter(|recorded| filter.matches(recorded)).cloned().collect();
        assert_eq!(expected.len(), count);
        for limit in [1, 2, 5, 100] {
            assert_eq!(in_pages(&*store, limit, filter).await, expected, "{filter:?} in pages of {limit}");
        }
    }
}

/// All that passes, and the proof that every page gets further until the end.
async fn in_pages(store: &dyn EventStore, limit: usize, filter: &Filter) -> Vec<Recorded> {
    let mut events = vec![];
    let mut after = Position(0);
    loop {
        let page = store.read_all(after, limit, filter).await.unwrap();
        assert!(page.events.len() <= limit);
        assert!(page.events.iter().all(|r| r.envelope.position > after && r.envelope.position <= page.reached));
        if page.reached == after {
            assert_eq!((page.events.len(), after), (0, store.head().await.unwrap()));
            return events;
        }
        after = page.reached;
        events.extend(page.events);
    }
}

pub(super) async fn pages_of_a_filtered_read_reach_the_end(Subject { store, .. }: Subject) {
    let rare = new_stream();
    let common = new_stream();
    for _ in 0..20 {
        let events = std::iter::repeat_with(reinstated).take(1_000).collect();
        store.append(batch(vec![write(&common, ExpectedVersion::Any, events)])).await.unwrap();
    }
    let events = vec![suspended("at the far end")];
    let last = store.append(batch(vec![write(&rare, ExpectedVersion::Any, events)])).await.unwrap();
    let by_type = Filter { event_types: vec!["device.suspended".to_owned()], ..Filter::default() };
    let by_stream = Filter { streams: vec![rare], ..Filter::default() };
    for filter in [by_type, by_stream] {
        assert_eq!(in_pages(&*store, 50, &filter).await, last.events, "{filter:?}");
    }
}

pub(super) async fn one_event_is_found_by_its_id(Subject { store, .. }: Subject) {
    let appended = store.append(single(&new_stream())).await.unwrap();
    let id = appended.events[0].envelope.event_id;
    assert_eq!(store.event(id).await.unwrap().as_ref(), Some(&appended.events[0]));
    assert_eq!(store.event(EventId::from_uuid(Uuid::now_v7())).await.unwrap(), None);
}

pub(super) async fn names_that_look_like_sql_or_json_are_just_names(Subject { store, .. }: Subject) {
    let names = ["device-\"]'; DROP TABLE events; --", "device-\\", "device-\u{1}é%_"];
    for name in names {
        let stream = StreamId::parse(name).unwrap();
        store.append(single(&stream)).await.unwrap();
        store.append(single(&stream)).await.unwrap();
        assert_eq!(store.read_stream(&stream).await.unwrap().len(), 2, "{name}");
        let filter = Filter {
            streams: vec![stream],
            event_types: vec!["device.reinstated".to_owned(), name.to_owned()],
            ..Filter::default()
        };
        assert_eq!(in_pages(&*store, 10, &filter).await.len(), 2, "{name}");
    }
}

pub(super) async fn no_reader_misses_a_position_while_writers_race(Subject { store, .. }: Subject) {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for limit in [3, 50, 500] {
        let (store, is_over) = (Arc::clone(&store), Arc::clone(&is_over));
        readers.spawn(async move {
            let mut after = Position(0);
            loop {
                let was_over = is_over.load(Ordering::SeqCst);
                let page = store.read_all(after, limit, &Filter::default()).await.unwrap();
                for (event, expected) in page.events.iter().zip(after.0 + 1..) {
                    assert_eq!(event.envelope.position.0, expected, "what stood before was there before");
                }
                if was_over && page.reached == after {
                    return after;
                }
                after = page.reached;
                // The log in memory answers without ever pausing; the writers need their turns.
                tokio::task::yield_now().await;
            }
        });
    }
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let stream = new_stream();
            for n in 0..40 {
                let events = std::iter::repeat_with(reinstated).take(1 + n % 4).collect();
                store.append(batch(vec![write(&stream, ExpectedVersion::Any, events)])).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    is_over.store(true, Ordering::SeqCst);
    assert_eq!(readers.join_all().await, [Position(800); 3]);
}

pub(super) async fn positions_beyond_the_end_are_the_end(Subject { store, .. }: Subject) {
    let stream = new_stream();
    store.append(single(&stream)).await.unwrap();
    let filter = Filter { streams: vec![stream], ..Filter::default() };
    for filter in [Filter::default(), filter] {
        for after in [1, 2, i64::MAX as u64, u64::MAX] {
            let page = store.read_all(Position(after), usize::MAX, &filter).await.unwrap();
            assert_eq!((page.events, page.reached), (vec![], Position(after)));
        }
        assert_eq!(store.read_all(Position(0), usize::MAX, &filter).await.unwrap().events.len(), 1);
        let none = store.read_all(Position(0), 0, &filter).await.unwrap();
        assert_eq!((none.events, none.reached), (vec![], Position(0)));
    }
}

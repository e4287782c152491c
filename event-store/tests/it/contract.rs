//! What every event store does: each test of these modules runs on each adapter.

use std::sync::Arc;

use signalbeam_event_store::{EventStore, MemoryEventStore, SqliteEventStore};
use tempfile::TempDir;

use crate::fixture::ManualClock;

mod appending;
mod reading;
mod repeating;
mod subscribing;

/// A fresh, empty store and the clock that it stamps by.
pub(crate) struct Subject {
    store: Arc<dyn EventStore>,
    clock: Arc<ManualClock>,
    _folder: Option<TempDir>,
}

impl Subject {
    #[expect(clippy::unused_async, reason = "made like the others")]
    async fn memory() -> Self {
        let clock = ManualClock::new();
        Self { store: Arc::new(MemoryEventStore::new(clock.clone())), clock, _folder: None }
    }

    async fn sqlite() -> Self {
        let clock = ManualClock::new();
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteEventStore::open(folder.path().join("events.db"), clock.clone()).await.unwrap();
        Self { store: Arc::new(store), clock, _folder: Some(folder) }
    }
}

macro_rules! on {
    ($adapter:ident: $($module:ident { $($test:ident),+ $(,)? })+) => {
        mod $adapter {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    crate::contract::$module::$test(crate::contract::Subject::$adapter().await).await;
                })+
            })+
        }
    };
}

macro_rules! on_every_adapter {
    ($($tests:tt)+) => {
        on!(memory: $($tests)+);
        on!(sqlite: $($tests)+);
    };
}

on_every_adapter! {
    appending {
        of_racing_exact_appends_one_wins,
        several_streams_are_appended_all_or_none,
        a_write_without_events_asserts_a_version,
        an_event_is_kept_as_it_was_appended,
        the_recorded_time_never_runs_backwards,
        a_malformed_batch_is_refused,
        a_taken_event_id_is_refused_alone,
        positions_and_versions_are_dense_under_racing_writers,
    }
    repeating {
        a_repeated_command_gets_the_first_outcome,
        racing_repeats_append_once,
        a_command_with_another_body_is_refused,
        a_refused_command_may_be_tried_again,
        a_command_without_events_is_remembered,
    }
    reading {
        an_unknown_stream_is_empty,
        a_stream_is_read_in_the_order_of_its_versions,
        the_streams_of_a_category_are_told,
        every_filter_holds,
        pages_of_a_filtered_read_reach_the_end,
        one_event_is_found_by_its_id,
        names_that_look_like_sql_or_json_are_just_names,
        no_reader_misses_a_position_while_writers_race,
        positions_beyond_the_end_are_the_end,
    }
    subscribing {
        a_subscription_catches_up_then_follows_without_gap_or_double,
        a_subscriber_hears_at_least_every_second_that_it_has_caught_up,
        a_slow_subscriber_loses_nothing,
        a_subscription_ends_with_its_store,
    }
}

//! The authentication log's segments: sealed after their day, verified, dropped by age.

use std::sync::Arc;

use signalbeam_domain::audit_segment::SegmentSealed;
use signalbeam_domain::{StreamId, Timestamp};
use signalbeam_event_store::audit::segments::{SegmentError, Verdict, drop_old_segments, seal_finished_days, verify};
use signalbeam_event_store::{
    AttemptFilter, AuditArchive, AuditDurability, AuthenticationAttempt, EventReader, MemoryAuditLog, MemoryEventStore,
    SqliteAuditLog, SqliteAuditReader, SystemClock,
};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::audit::{all, failure, success};
use crate::fixture::{device_id, tenant_id};

const GRACE: i64 = 600;

fn day(number: i64) -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap().plus_days(number)
}

struct World {
    store: MemoryEventStore,
    audit: Arc<dyn AuditArchive>,
    folder: TempDir,
}

impl World {
    async fn on_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit = SqliteAuditLog::open(folder.path().join("audit.db"), AuditDurability::Strict).await.unwrap();
        Self { store: MemoryEventStore::new(Arc::new(SystemClock)), audit: Arc::new(audit), folder }
    }

    fn in_memory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit = Arc::new(MemoryAuditLog::new());
        Self { store: MemoryEventStore::new(Arc::new(SystemClock)), audit, folder }
    }

    /// Records successes at these moments, and a failure after each.
    async fn attempts(&self, moments: impl IntoIterator<Item = Timestamp>) {
        let (device, tenant) = (device_id(), tenant_id());
        let made = |moment| [success(device, tenant, moment), failure(moment, "INVALID_API_KEY")];
        let attempts: Vec<AuthenticationAttempt> = moments.into_iter().flat_map(made).collect();
        self.audit.record(attempts).await.unwrap();
    }

    async fn seal(&self, now: Timestamp) -> Vec<(String, u64, u64)> {
        let sealed = seal_finished_days(&self.store, &*self.audit, now, GRACE).await.unwrap();
        assert!(sealed.iter().all(|segment| segment.count == segment.last_row + 1 - segment.first_row));
        sealed.into_iter().map(|segment| (segment.day.to_string(), segment.first_row, segment.last_row)).collect()
    }

    async fn verdicts(&self) -> Vec<(SegmentSealed, Verdict)> {
        verify(&self.store, &*self.audit).await.unwrap()
    }

    async fn sql(&self, sql: &'static str) {
        let path = format!("sqlite://{}", self.folder.path().join("audit.db").display());
        let mut connection = SqliteConnection::connect(&path).await.unwrap();
        assert!(sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected() > 0, "{sql}");
        connection.close().await.unwrap();
    }
}

fn segment(day: &str, first: u64, last: u64) -> (String, u64, u64) {
    (day.to_owned(), first, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_day_that_has_ended_is_sealed_once_on_every_adapter() {
    for world in [World::in_memory(), World::on_disk().await] {
        assert_eq!(world.seal(day(0)).await, []);
        world.attempts([day(0), day(0).plus_seconds(86_399), day(1), day(4)]).await;
        assert_eq!(world.seal(day(1).plus_seconds(GRACE - 1)).await, [], "late rows may still come");
        assert_eq!(world.seal(day(1).plus_seconds(GRACE)).await, [segment("2026-01-01", 1, 4)]);
        let missed = [segment("2026-01-02", 5, 6), segment("2026-01-05", 7, 8)];
        assert_eq!(world.seal(day(9)).await, missed, "days without rows have no seal");
        assert_eq!(world.seal(day(9)).await, []);
        let verdicts = world.verdicts().await;
        assert_eq!(verdicts.len(), 3);
        assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::Intact)), "{verdicts:?}");
        let previous: Vec<_> = verdicts.iter().map(|(segment, _)| segment.previous).collect();
        let roots: Vec<_> = verdicts.iter().map(|(segment, _)| Some(segment.root_hash)).collect();
        assert_eq!(previous, [None, roots[0], roots[1]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_breaks_no_sealed_day() {
    for world in [World::in_memory(), World::on_disk().await] {
        world.attempts([day(0), day(1)]).await;
        assert_eq!(world.seal(day(1).plus_seconds(GRACE)).await, [segment("2026-01-01", 1, 2)]);
        world.attempts([day(0).plus_seconds(9), day(1).plus_seconds(9)]).await;
        assert_eq!(world.seal(day(0).plus_seconds(9)).await, []);
        assert_eq!(world.seal(day(1).plus_seconds(GRACE)).await, [], "the first day is sealed");
        assert_eq!(world.seal(day(2).plus_seconds(GRACE)).await, [segment("2026-01-02", 3, 8)]);
        assert!(world.verdicts().await.iter().all(|(_, verdict)| verdict.is_good()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_years_ahead_holds_nothing_up_for_long() {
    let world = World::on_disk().await;
    world.attempts([day(3_000)]).await;
    assert_eq!(world.seal(day(3_001).plus_seconds(GRACE)).await.len(), 1);
    world.attempts([day(1), day(2)]).await;
    let then = [segment("2026-01-02", 3, 4), segment("2026-01-03", 5, 6)];
    assert_eq!(world.seal(day(4)).await, then);
    assert!(world.verdicts().await.iter().all(|(_, verdict)| verdict.is_good()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_hash_is_what_it_always_was() {
    let world = World::in_memory();
    let mut success = success(device_id(), tenant_id(), day(0));
    let id = |n: u128| uuid::Uuid::from_u128(0x018f_3c5e_7b1a_7cc2_9d3e_0123_4567_8900 + n);
    success.id = id(1);
    success.device_id = Some(signalbeam_domain::DeviceId::from_uuid(id(2)));
    success.tenant_id = Some(signalbeam_domain::TenantId::from_uuid(id(3)));
    success.correlation_id = signalbeam_domain::CorrelationId::parse("first").unwrap();
    let failure = AuthenticationAttempt { id: id(4), attempts: 7, ..failure(day(0), "INVALID_API_KEY") };
    world.audit.record(vec![success, failure]).await.unwrap();
    let sealed = seal_finished_days(&world.store, &*world.audit, day(2), GRACE).await.unwrap();
    assert_eq!(sealed[0].root_hash.to_string(), "973a659b277c3cb94008196ad8172310f800572524e6fb5341b132ba8cf9a329");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_added_or_removed_is_found_with_its_day() {
    for change in [
        "UPDATE device_authentication_logs SET ip_address = '192.0.2.99' WHERE row = 4",
        "UPDATE device_authentication_logs SET success = 1 WHERE row = 4",
        "UPDATE device_authentication_logs SET attempts = 2 WHERE row = 4",
        "UPDATE device_authentication_logs SET device_id = 'nonsense' WHERE row = 3",
        "UPDATE device_authentication_logs SET row = 1000 WHERE row = 4",
        "DELETE FROM device_authentication_logs WHERE row = 3",
        "DELETE FROM device_authentication_logs",
    ] {
        let world = World::on_disk().await;
        world.attempts([day(0), day(1), day(2)]).await;
        assert_eq!(world.seal(day(4)).await.len(), 3);
        world.sql(change).await;
        let reader = SqliteAuditReader::open(world.folder.path().join("audit.db")).await.unwrap();
        let verdicts = verify(&world.store, &reader).await.unwrap();
        let bad: Vec<_> = verdicts.iter().filter(|(_, verdict)| !verdict.is_good()).collect();
        let expected = if change.contains("WHERE") { 1 } else { 3 };
        assert_eq!(bad.len(), expected, "{change}: {verdicts:?}");
        assert!(bad.iter().any(|(segment, _)| segment.day.to_string() == "2026-01-02"), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_is_not_sealed_on() {
    let world = World::on_disk().await;
    world.attempts([day(0)]).await;
    world.seal(day(2)).await;
    let other = MemoryAuditLog::new();
    let refused = seal_finished_days(&world.store, &other, day(3), GRACE).await;
    assert!(matches!(refused, Err(SegmentError::Missing { head: 0, sealed: 2 })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_days_are_dropped_after_the_event_log_has_said_so() {
    for world in [World::in_memory(), World::on_disk().await] {
        // More than a block, so that a whole one goes with all that is known of it.
        let moments = |number: i64| (0..9_000).map(move |n| day(number).plus_seconds(n));
        for number in 0..4 {
            world.attempts(moments(number)).await;
        }
        assert_eq!(drop_old_segments(&world.store, &*world.audit, day(90), 30).await.unwrap(), None, "none is sealed");
        assert_eq!(world.seal(day(5)).await.len(), 4);
        let dropped = drop_old_segments(&world.store, &*world.audit, day(32), 30).await.unwrap().unwrap();
        assert_eq!((dropped.day.to_string().as_str(), dropped.last_row), ("2026-01-02", 36_000));
        let left = world.audit.scan(&AttemptFilter::default(), 0, i64::MAX, 100_000).await.unwrap().attempts;
        assert_eq!((left.len(), left[0].row), (36_000, 36_001));
        let failures = AttemptFilter { failure_code: Some("INVALID_API_KEY".to_owned()), ..AttemptFilter::default() };
        assert_eq!(all(&*world.audit, &failures, 500).await.len(), 18_000);
        let words: Vec<_> = world.verdicts().await.iter().map(|(_, verdict)| format!("{verdict:?}")).collect();
        assert_eq!(words, ["Dropped", "Dropped", "Intact", "Intact"]);
        assert_eq!(drop_old_segments(&world.store, &*world.audit, day(32), 30).await.unwrap(), None);
        world.attempts([day(40)]).await;
        assert_eq!(world.audit.head().await.unwrap(), 72_002, "no number comes back");
        world.audit.drop_through(72_002).await.unwrap();
        assert_eq!(world.audit.usage_after(72_000, 9).await.unwrap().head, 72_002, "nor is the end forgotten");
        let events = world.store.read_stream(&StreamId::audit_segments("embedded")).await.unwrap();
        assert_eq!(events.last().unwrap().envelope.event_type, "audit_segment.dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_leaves_nothing_behind_and_its_pages_are_used_again() {
    let world = World::on_disk().await;
    let path = world.folder.path().join("audit.db");
    let rounds = 4_i64;
    let mut sizes = vec![];
    for round in 0..rounds {
        for part in 0..10 {
            world.attempts((0..2_000).map(|n| day(round * 10).plus_seconds(part * 2_000 + n))).await;
        }
        world.seal(day(round * 10 + 2)).await;
        drop_old_segments(&world.store, &*world.audit, day(round * 10 + 3), 1).await.unwrap();
        assert_eq!(all(&*world.audit, &AttemptFilter::default(), 500).await.len(), 0);
        sizes.push(std::fs::metadata(&path).unwrap().len() + wal(&path));
    }
    assert!(sizes[3] < sizes[0] + sizes[0] / 2, "{sizes:?}");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=ro", path.display())).await.unwrap();
    let left: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM device_authentication_logs),
                (SELECT count(*) FROM device_authentication_log_devices) +
                (SELECT count(*) FROM device_authentication_log_tenants) +
                (SELECT count(*) FROM device_authentication_log_failures)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(left.0, 0);
    assert!(left.1 <= 16_384 * 3, "at most the entries of one block stay until it ends: {left:?}");
}

fn wal(path: &std::path::Path) -> u64 {
    std::fs::metadata(path.with_extension("db-wal")).map_or(0, |wal| wal.len())
}

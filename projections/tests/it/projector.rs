//! The runner: two at once, events that cannot be read, a database that fails, files that are of no use.

use std::sync::Arc;
use std::time::Duration;

use signalbeam_domain::Position;
use signalbeam_domain::api_key::KeyOrigin;
use signalbeam_projections::{Behind, Freshness, OpenError, ProjectionFailure, Projector, Tables};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::fleet::{Fleet, Step};
use crate::rows::{LONG, Projected, dump, query};
use crate::tampered::TamperedLog;

async fn fleet() -> Fleet {
    Fleet::of(&[
        Step::IssueToken,
        Step::Register(0),
        Step::Approve(0),
        Step::IssueKey(0, KeyOrigin::Claim),
        Step::IssueCertificate(0),
        Step::IssueCertificate(0),
    ])
    .await
}

async fn execute(tables: &Tables, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(tables.path());
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_runners_only_one_applies_each_event() {
    let mut fleet = fleet().await;
    let first = Projected::of(&fleet).await;
    let tables = Tables::attach(first.projector.tables().path()).await.unwrap();
    let second = Projector::start(fleet.store.clone(), tables);
    for _ in 0..30 {
        fleet.perform(Step::IssueCertificate(0)).await;
        fleet.perform(Step::IssueKey(0, KeyOrigin::AdminRotation)).await;
    }
    first.catch_up(&fleet).await;
    second.wait_for(fleet.head().await, LONG).await.unwrap();
    assert!(first.projector.failure().is_none() && second.failure().is_none());
    let alone = Projected::of(&fleet).await;
    assert_eq!(first.dump().await, alone.dump().await);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_stops_the_projector_for_good() {
    let fleet = fleet().await;
    let log = Arc::new(TamperedLog::new(fleet.store.clone(), Position(5)));
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::open(&folder.path().join("projections.db"), &*log).await.unwrap();
    let projector = Projector::start(log, tables);
    let behind = projector.wait_for(Position(5), LONG).await;
    assert!(matches!(behind, Err(Behind { wanted: Position(5), .. })), "{behind:?}");
    let failure = projector.failure();
    assert!(matches!(failure, Some(ProjectionFailure::Unreadable { position: Position(5), .. })), "{failure:?}");
    assert!(projector.tables().checkpoint().await.unwrap().position < Position(5));
}

#[tokio::test]
async fn an_event_that_contradicts_the_rows_stops_the_projector_for_good() {
    let mut fleet = fleet().await;
    let projected = Projected::of(&fleet).await;
    execute(
        projected.projector.tables(),
        "CREATE TRIGGER refuse BEFORE INSERT ON devices BEGIN SELECT raise(ABORT, 'no'); END",
    )
    .await;
    fleet.perform(Step::IssueToken).await;
    fleet.perform(Step::Register(1)).await;
    assert!(projected.projector.wait_for(fleet.head().await, LONG).await.is_err());
    assert!(matches!(projected.projector.failure(), Some(ProjectionFailure::Contradiction { .. })));
}

#[tokio::test]
async fn a_database_that_fails_for_a_while_is_tried_again() {
    let mut fleet = fleet().await;
    let projected = Projected::of(&fleet).await;
    execute(projected.projector.tables(), "ALTER TABLE devices RENAME TO hidden").await;
    fleet.perform(Step::Suspend(0)).await;
    let not_yet = projected.projector.wait_for(fleet.head().await, Duration::from_millis(50)).await;
    assert!(not_yet.is_err(), "it could not be written");
    execute(projected.projector.tables(), "ALTER TABLE hidden RENAME TO devices").await;
    projected.catch_up(&fleet).await;
    let path = projected.projector.tables().path();
    let rows = query(path, "SELECT status FROM devices".into()).await;
    assert_eq!(rows[0][0].1.as_deref(), Some("Suspended"));
    assert!(projected.projector.failure().is_none());
}

/// What a start makes of the file after `spoil` had its way with it is what the log says.
async fn assert_rebuilt_after(spoil: impl AsyncFnOnce(&Tables)) -> tempfile::TempDir {
    let fleet = fleet().await;
    let projected = Projected::of(&fleet).await;
    let before = projected.dump().await;
    let Projected { folder, projector } = projected;
    let tables = projector.tables().clone();
    drop(projector);
    spoil(&tables).await;
    tables.close().await;
    let path = folder.path().join("projections.db");
    let tables = Tables::open(&path, &*fleet.store).await.unwrap();
    let projector = Projector::start(fleet.store.clone(), tables);
    projector.wait_for(fleet.head().await, LONG).await.unwrap();
    assert_eq!(dump(&path).await, before);
    folder
}

#[tokio::test]
async fn deleted_tables_are_rebuilt() {
    let folder = assert_rebuilt_after(async |tables| {
        tables.close().await;
        std::fs::remove_file(tables.path()).unwrap();
    })
    .await;
    assert!(!folder.path().join("projections.db.damaged").exists());
}

#[tokio::test]
async fn damaged_tables_are_moved_aside_and_rebuilt() {
    for damage in [b"not a database at all".repeat(400), b"SQLite format 3\0".repeat(300)] {
        let folder = assert_rebuilt_after(async |tables| {
            tables.close().await;
            std::fs::write(tables.path(), &damage).unwrap();
        })
        .await;
        assert_eq!(std::fs::read(folder.path().join("projections.db.damaged")).unwrap(), damage);
    }
}

#[tokio::test]
async fn a_page_that_is_overwritten_is_damage() {
    let folder = assert_rebuilt_after(async |tables| {
        tables.close().await;
        let mut bytes = std::fs::read(tables.path()).unwrap();
        bytes[8192..12288].fill(0x5a);
        std::fs::write(tables.path(), &bytes).unwrap();
    })
    .await;
    assert!(folder.path().join("projections.db.damaged").exists());
}

#[tokio::test]
async fn tables_of_another_version_are_rebuilt() {
    let folder = assert_rebuilt_after(async |tables| {
        execute(tables, "DROP VIEW active_certificates; PRAGMA user_version = 1").await;
    })
    .await;
    let path = folder.path().join("projections.db");
    assert!(query(&path, "SELECT * FROM active_certificates".into()).await.is_empty(), "the view is back");
}

#[tokio::test]
async fn tables_of_another_log_are_rebuilt() {
    let mut longer = fleet().await;
    longer.perform(Step::Suspend(0)).await;
    let projected = Projected::of(&longer).await;
    projected.projector.tables().close().await;
    let shorter = fleet().await;
    let path = projected.folder.path().join("projections.db");
    let tables = Tables::open(&path, &*shorter.store).await.unwrap();
    let projector = Projector::start(shorter.store.clone(), tables);
    projector.wait_for(shorter.head().await, LONG).await.unwrap();
    assert_eq!(dump(&path).await, Projected::of(&shorter).await.dump().await);
}

#[tokio::test]
async fn attaching_repairs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections.db");
    assert!(matches!(Tables::attach(&path).await, Err(OpenError::Unfit { .. })));
    assert!(!path.exists());
    std::fs::write(&path, "not a database").unwrap();
    assert!(matches!(Tables::attach(&path).await, Err(OpenError::Unfit { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"not a database");
}

#[tokio::test]
async fn a_query_waits_for_what_its_node_has_written() {
    let mut fleet = fleet().await;
    let Projected { folder: _folder, projector } = Projected::of(&fleet).await;
    let freshness = Freshness::new(Arc::new(projector));
    freshness.wait_for_own_writes(Duration::ZERO).await.unwrap();
    fleet.perform(Step::Suspend(0)).await;
    let head = fleet.head().await;
    freshness.note_appended(head);
    freshness.note_appended(Position(1));
    assert_eq!(freshness.last_appended(), head, "an older position changes nothing");
    freshness.wait_for_own_writes(LONG).await.unwrap();
    let beyond = Position(head.0 + 1);
    let behind = freshness.wait_for(beyond, Duration::from_millis(1)).await;
    assert_eq!(behind, Err(Behind { reached: head, wanted: beyond }));
}

#[tokio::test]
async fn the_lag_tells_how_many_events_are_missing_and_since_when() {
    let mut fleet = fleet().await;
    let projected = Projected::of(&fleet).await;
    let lag = projected.projector.lag(&*fleet.store, &*fleet.clock).await.unwrap();
    assert_eq!((lag.events, lag.seconds), (0, 0.0));
    execute(projected.projector.tables(), "ALTER TABLE devices RENAME TO hidden").await;
    fleet.perform(Step::Suspend(0)).await;
    fleet.perform(Step::Reinstate(0)).await;
    fleet.perform(Step::Wait { days: 1 }).await;
    let lag = projected.projector.lag(&*fleet.store, &*fleet.clock).await.unwrap();
    assert_eq!(lag.events, 2);
    assert!((lag.seconds - 86_402.0).abs() < 0.01, "since the oldest of them: {lag:?}");
}

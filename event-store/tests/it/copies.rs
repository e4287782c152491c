//! Copies of the log that are made while it is written, and looking into a file without leaving a trace.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use signalbeam_domain::Position;
use signalbeam_event_store::sqlite::copy::{LogCheckError, audit_tail, check_events, copy_database};
use signalbeam_event_store::{
    AuditDurability, EventReader, EventStore, SqliteAuditLog, SqliteEventReader, SqliteEventStore,
};

use crate::fixture::{ManualClock, everything, new_stream, single};

fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn check(log: &SqliteEventReader) -> Result<Position, LogCheckError> {
    let head = log.head().await?;
    let last = check_events(log, Position(0), head, |_| {}).await?;
    Ok(last.map_or(Position(0), |last| last.envelope.position))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_a_consistent_beginning_of_the_log_while_appends_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = Arc::new(SqliteEventStore::open(&path, ManualClock::new()).await.unwrap());
    for _ in 0..500 {
        store.append(single(&new_stream())).await.unwrap();
    }
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for _ in 0..300 {
                store.append(single(&new_stream())).await.unwrap();
            }
        }
    });
    let copy = folder.path().join("copy.db");
    copy_database(&path, &copy).await.unwrap();
    writing.await.unwrap();
    let reader = SqliteEventReader::open_at_rest(&copy).await.unwrap();
    let copied = everything(&reader).await;
    assert!((500..=800).contains(&copied.len()), "{}", copied.len());
    assert_eq!(copied[..], everything(&*store).await[..copied.len()]);
    assert_eq!(check(&reader).await.unwrap().0, copied.len() as u64);
    reader.close().await;
    assert!(!names(folder.path()).iter().any(|name| name.starts_with("copy.db-")), "reading leaves nothing");
    store.close().await;

    let store = SqliteEventStore::open(&copy, ManualClock::new()).await.unwrap();
    store.append(single(&new_stream())).await.expect("a copy is a log like any other");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_closed_is_read_without_a_new_file_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = SqliteEventStore::open(&path, ManualClock::new()).await.unwrap();
    store.append(single(&new_stream())).await.unwrap();
    store.close().await;
    drop(store);
    let before = names(folder.path());
    let reader = SqliteEventReader::open_at_rest(&path).await.unwrap();
    assert_eq!(reader.head().await.unwrap(), Position(1));
    reader.close().await;
    assert_eq!(names(folder.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_a_missing_and_a_changed_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = SqliteEventStore::open(&path, ManualClock::new()).await.unwrap();
    for _ in 0..5 {
        store.append(single(&new_stream())).await.unwrap();
    }
    store.close().await;
    change(&path, "DELETE FROM events WHERE position = 3").await;
    let reader = SqliteEventReader::open(&path).await.unwrap();
    assert!(matches!(check(&reader).await, Err(LogCheckError::Gap(Position(3)))));
    change(&path, "UPDATE events SET actor_id = 'x' WHERE position = 2").await;
    assert!(matches!(check(&reader).await, Err(LogCheckError::Store(_))));
}

/// Changes the file as somebody would who wants to hide something.
async fn change(path: &Path, sql: &'static str) {
    use sqlx::Connection as _;
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    for trigger in ["events_are_never_changed", "events_are_never_deleted"] {
        let drop = format!("DROP TRIGGER IF EXISTS {trigger}");
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
    }
    assert_eq!(sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected(), 1);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_authentication_log_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let log = SqliteAuditLog::open(&path, AuditDurability::Strict).await.unwrap();
    assert_eq!(audit_tail(&path, true).await.unwrap(), None);
    log.close().await;
    assert!(audit_tail(&folder.path().join("none.db"), false).await.is_err());
}

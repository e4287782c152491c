//! What only the log in a file can show: reopening, foreign files, a second opener, modes, hashes on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use signalbeam_domain::{Digest, Position};
use signalbeam_event_store::{
    AppendError, AuditDurability, EventReader, EventStore, Filter, OpenError, SqliteAuditLog, SqliteEventReader,
    SqliteEventStore, SubscriptionItem,
};
use sqlx::{Connection, Row, SqliteConnection};
use tempfile::TempDir;

use crate::fixture::{ManualClock, everything, named, new_stream, single};

fn new_path() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    (folder, path)
}

async fn open(path: &Path, clock: &Arc<ManualClock>) -> SqliteEventStore {
    SqliteEventStore::open(path, clock.clone()).await.unwrap()
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reopening_keeps_everything() {
    let (_folder, path) = new_path();
    let clock = ManualClock::new();
    let stream = new_stream();
    let store = open(&path, &clock).await;
    let first = store.append(named(single(&stream), 1, 1)).await.unwrap();
    store.append(single(&stream)).await.unwrap();
    let before = everything(&store).await;
    store.close().await;

    clock.set(ManualClock::START.plus_days(-1));
    let store = open(&path, &clock).await;
    assert_eq!(everything(&store).await, before);
    let again = store.append(named(single(&stream), 1, 1)).await.unwrap();
    assert_eq!((again.events, again.is_repeat), (first.events, true));
    assert!(matches!(store.append(named(single(&stream), 1, 2)).await, Err(AppendError::CommandReused)));
    let next = store.append(single(&stream)).await.unwrap();
    let envelope = &next.events[0].envelope;
    assert_eq!((envelope.position, envelope.version.0), (Position(3), 3));
    assert_eq!(envelope.recorded_at, ManualClock::START, "the time does not run backwards across a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_refuses_and_a_dropped_one_finishes() {
    let (_folder, path) = new_path();
    let clock = ManualClock::new();
    let store = open(&path, &clock).await;
    store.append(single(&new_stream())).await.unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(store.append(single(&new_stream())).await, Err(AppendError::Store(_))));

    let store = Arc::new(open(&path, &clock).await);
    let subscription = store.subscribe(Position(0));
    let appending: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append(single(&new_stream())).await })
        })
        .collect();
    drop(store);
    for append in appending {
        append.await.unwrap().unwrap();
    }
    let mut subscription = subscription;
    while subscription.next().await.is_some() {}
    // The end of the subscription says that the writer has ended: the file is free.
    let store = open(&path, &clock).await;
    assert_eq!(store.head().await.unwrap(), Position(21));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_refused_and_a_reader_is_let_in() {
    let (_folder, path) = new_path();
    let clock = ManualClock::new();
    let store = open(&path, &clock).await;
    let second = SqliteEventStore::open(&path, clock.clone()).await.err();
    assert!(matches!(&second, Some(OpenError::InUse { path: p }) if *p == path), "{second:?}");

    let reader = SqliteEventReader::open(&path).await.unwrap();
    let mut subscription = reader.subscribe(Position(0));
    assert!(matches!(subscription.next().await, Some(SubscriptionItem::CaughtUp(Position(0)))));
    store.append(single(&new_stream())).await.unwrap();
    assert_eq!(everything(&reader).await, everything(&store).await);
    loop {
        match subscription.next().await {
            Some(SubscriptionItem::CaughtUp(Position(0))) => {}
            Some(SubscriptionItem::Events(events)) => break assert_eq!(events.len(), 1),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_is_refused_and_left_untouched() {
    let (folder, path) = new_path();
    let clock = ManualClock::new();
    let refused = async |path: &Path| {
        let error = SqliteEventStore::open(path, clock.clone()).await.err();
        assert!(matches!(error, Some(OpenError::Foreign { .. })), "{error:?}");
    };

    let text = b"not a database at all, but longer than its header".repeat(30);
    std::fs::write(&path, &text).unwrap();
    refused(&path).await;
    assert_eq!(std::fs::read(&path).unwrap(), text);

    let other = folder.path().join("other.db");
    let mut connection = connect(&other).await;
    sqlx::query("CREATE TABLE theirs (a)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(&other).unwrap();
    refused(&other).await;
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let audit = folder.path().join("audit.db");
    SqliteAuditLog::open(&audit, AuditDurability::Strict).await.unwrap().close().await;
    refused(&audit).await;
    assert!(matches!(SqliteEventReader::open(folder.path().join("absent.db")).await, Err(OpenError::Database { .. })));
    let no_folder = SqliteEventStore::open(folder.path().join("no/folder.db"), clock.clone()).await;
    assert!(matches!(no_folder.err(), Some(OpenError::Io { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_half_done_is_taken_back() {
    let (folder, path) = new_path();
    let clock = ManualClock::new();
    let store = open(&path, &clock).await;
    store.append(single(&new_stream())).await.unwrap();
    store.close().await;
    drop(store);
    // As while the file is created, before it is in write-ahead mode: changes in the file, the way back in a journal.
    let mut writer = connect(&path).await;
    sqlx::raw_sql(
        "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 5; BEGIN; CREATE TABLE scratch (x);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO scratch SELECT randomblob(1000) FROM n;",
    )
    .execute(&mut writer)
    .await
    .unwrap();
    let killed = folder.path().join("killed.db");
    std::fs::copy(&path, &killed).unwrap();
    std::fs::copy(path.with_extension("db-journal"), killed.with_extension("db-journal")).unwrap();
    drop(writer);

    let store = open(&killed, &clock).await;
    assert_eq!(everything(&store).await.len(), 1);
    store.append(single(&new_stream())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let (_folder, path) = new_path();
    let clock = ManualClock::new();
    open(&path, &clock).await.close().await;
    let mut connection = connect(&path).await;
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9000, 'from the future', '2030-01-01', TRUE, x'00', 1)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let error = SqliteEventStore::open(&path, clock).await.err();
    assert!(matches!(error, Some(OpenError::Newer { schema: 9000, .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hash_on_disk_is_the_sha256_of_the_canonical_encoding() {
    let (_folder, path) = new_path();
    let store = open(&path, &ManualClock::new()).await;
    for n in 0..3 {
        store.append(named(single(&new_stream()), n, n)).await.unwrap();
    }
    let rows = sqlx::query("SELECT hash, data, command_id FROM events ORDER BY position")
        .fetch_all(&mut connect(&path).await)
        .await
        .unwrap();
    let events = store.read_all(Position(0), 10, &Filter::default()).await.unwrap().events;
    assert_eq!(rows.len(), events.len());
    for (row, recorded) in rows.iter().zip(&events) {
        assert_eq!(row.get::<&[u8], _>(0), digest(&SHA256, &recorded.envelope.canonical_encoding()).as_ref());
        assert_eq!(row.get::<&[u8], _>(1), recorded.envelope.data);
        assert_eq!(recorded.envelope.command_id, row.get::<&[u8], _>(2).try_into().ok().map(Digest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_or_deletes_an_event() {
    let (_folder, path) = new_path();
    let store = open(&path, &ManualClock::new()).await;
    store.append(single(&new_stream())).await.unwrap();
    let mut connection = connect(&path).await;
    for tampering in ["UPDATE events SET data = x'7b7d'", "DELETE FROM events"] {
        let error = sqlx::query(tampering).execute(&mut connection).await.unwrap_err().to_string();
        assert!(error.contains("events are never"), "{error}");
    }
}

/// Another program that writes into the file cannot make the writer hand out a position twice: the append fails, the
/// writer looks anew, the next one succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_is_an_error_and_the_next_append_succeeds() {
    let (_folder, path) = new_path();
    let store = open(&path, &ManualClock::new()).await;
    let stream = new_stream();
    store.append(single(&stream)).await.unwrap();
    sqlx::query(
        "INSERT INTO events SELECT 2, randomblob(16), 'device-x', 1, event_type, schema_version, recorded_at, tenant_id,
         actor_kind, actor_id, command_id, correlation_id, causation_id, data, hash FROM events",
    )
    .execute(&mut connect(&path).await)
    .await
    .unwrap();
    let (one, other) = tokio::join!(store.append(single(&stream)), store.append(single(&new_stream())));
    assert!(one.as_ref().is_err() || other.as_ref().is_err(), "{one:?} {other:?}");
    for outcome in [one, other] {
        assert!(matches!(outcome, Ok(_) | Err(AppendError::Store(_))), "{outcome:?}");
    }
    let next = store.append(single(&stream)).await.unwrap();
    assert!(next.position >= Position(3));
    let positions: Vec<(u64,)> = sqlx::query_as("SELECT position FROM events ORDER BY position")
        .fetch_all(&mut connect(&path).await)
        .await
        .unwrap();
    assert!(positions.iter().map(|(position,)| *position).eq(1..=next.position.0), "{positions:?}");
    // The stranger's row has the hash of another.
    let refused = store.read_all(Position(1), 1, &Filter::default()).await.unwrap_err();
    assert!(format!("{refused:?}").contains("position: 2"), "{refused:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = new_path();
    let store = open(&path, &ManualClock::new()).await;
    store.append(single(&new_stream())).await.unwrap();
    let mut names = vec![];
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, ["events.db", "events.db-shm", "events.db-wal", "events.db.lock"]);
}

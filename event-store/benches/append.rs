//! What durable appends and audit rows cost, beside a bare loop that commits the same rows: `cargo bench -p signalbeam-event-store`.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss)]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use signalbeam_domain::device::{DeviceEvent, DeviceRegistered};
use signalbeam_domain::{
    Actor, CorrelationId, DeviceId, DeviceName, Digest, EventId, Metadata, Position, Prefix, SerialNumber, StreamId,
    Tags, TenantId, Version,
};
use signalbeam_event_store::{
    AuditDurability, AuditLog, AuthenticationAttempt, AuthenticationMethod, Batch, Clock, CommandMetadata, EventReader,
    EventStore, ExpectedVersion, Filter, NewEvent, Recorded, SqliteAuditLog, SqliteEventStore, StreamWrite,
    SubscriptionItem, SystemClock,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

const CALLERS: usize = 64;
const TURNS: usize = 60;
const EVENTS_PER_TURN: usize = CALLERS * 30;
const LONE: usize = 500;
const ATTEMPTS: usize = 64 * 1_500;
const SCHEMA: &str = include_str!("../../migrations/sqlite/events/0001_events.sql");

#[tokio::main]
async fn main() {
    // `cargo bench -p signalbeam-event-store -- audit` runs one part alone.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |part: &str| chosen.is_empty() || chosen.iter().any(|name| name == part);
    if is_chosen("events") {
        events().await;
    }
    if is_chosen("audit") {
        for durability in [AuditDurability::Strict, AuditDurability::Relaxed] {
            audit(durability).await;
        }
    }
}

/// In many short turns, each beside its bare twin: what else the machine does then weighs on both.
async fn events() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteEventStore::open(folder.path().join("events.db"), Arc::new(SystemClock)).await.unwrap());
    let mut bare = bare_connection(&folder.path().join("bare.db")).await;
    let (mut appended, mut committed, mut cpu) = (vec![], vec![], 0.0);
    for turn in 0..TURNS {
        let before = cpu_time();
        appended.push(concurrent(&store).await);
        cpu += cpu_time() - before;
        let after = Position((turn * EVENTS_PER_TURN) as u64);
        let events = store.read_all(after, EVENTS_PER_TURN, &Filter::default()).await.unwrap().events;
        committed.push(bare_groups(&mut bare, &events).await);
    }
    let ratio = median(committed.iter().zip(&appended).map(|(bare, ours)| bare / ours).collect());
    let per_second = |seconds: &[f64]| (TURNS * EVENTS_PER_TURN) as f64 / seconds.iter().sum::<f64>();
    println!("durable appends from {CALLERS} callers (target >= 10000): {:.0} a second", per_second(&appended));
    println!("bare loop, the same rows in groups of 64: {:.0} a second", per_second(&committed));
    println!("appends relative to the bare loop, median of {TURNS} turns (target >= 0.7): {ratio:.2}");
    println!("CPU: {:.1} us an append, callers included", cpu * 1e6 / (TURNS * EVENTS_PER_TURN) as f64);
    catch_up(&store).await;
    store.close().await;
    lone(folder.path()).await;
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Seconds of CPU that this process has spent.
fn cpu_time() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

fn registration() -> Batch {
    let (device_id, tenant_id) = (DeviceId::from_uuid(Uuid::now_v7()), TenantId::from_uuid(Uuid::now_v7()));
    let event = DeviceEvent::from(DeviceRegistered {
        device_id,
        tenant_id,
        device_name: DeviceName::parse("Pump 7 in hall 3").unwrap(),
        metadata: Metadata::default(),
        tags: Tags::default(),
        token_prefix: Prefix::parse("a1B2c3D4").unwrap(),
        claim_secret_sha256: Digest([7; 32]),
    });
    let event =
        NewEvent { event_id: EventId::from_uuid(Uuid::now_v7()), tenant_id: Some(tenant_id), event: event.into() };
    let write = StreamWrite {
        stream: StreamId::device(device_id),
        expected: ExpectedVersion::Exact(Version(0)),
        events: vec![event],
    };
    let metadata = CommandMetadata {
        actor: Actor::device(device_id),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    Batch { metadata, writes: vec![write] }
}

/// Seconds for one turn.
async fn concurrent(store: &Arc<SqliteEventStore>) -> f64 {
    // Dealt out in turn: ids that carry the time come in its order, as they do where they are drawn for each append.
    let mut batches = vec![vec![]; CALLERS];
    (0..EVENTS_PER_TURN).for_each(|n| batches[n % CALLERS].push(registration()));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for batches in batches {
        let store = Arc::clone(store);
        callers.spawn(async move {
            for batch in batches {
                store.append(batch).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    started.elapsed().as_secs_f64()
}

async fn catch_up(store: &SqliteEventStore) {
    let mut subscription = store.subscribe(Position(0));
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut events = 0;
    while let Some(SubscriptionItem::Events(page)) = subscription.next().await {
        events += page.len();
    }
    let per_second = events as f64 / started.elapsed().as_secs_f64();
    let cpu = (cpu_time() - cpu) * 1e6 / events as f64;
    println!("catching up: {per_second:.0} events a second, {cpu:.1} us of CPU an event");
}

async fn bare_connection(path: &Path) -> SqliteConnection {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.unwrap();
    connection
}

async fn bare_insert(connection: &mut SqliteConnection, sql: &str, events: &[Recorded]) {
    let mut insert = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for Recorded { envelope, hash } in events {
        insert = insert
            .bind(envelope.position.0.cast_signed())
            .bind(envelope.event_id.as_uuid())
            .bind(envelope.stream.as_str())
            .bind(envelope.version.0.cast_signed())
            .bind(&envelope.event_type)
            .bind(envelope.schema_version)
            .bind(envelope.recorded_at.unix_microseconds())
            .bind(envelope.tenant_id.as_ref().map(TenantId::as_uuid))
            .bind(envelope.actor.kind.as_str())
            .bind(&envelope.actor.id)
            .bind(None::<&[u8]>)
            .bind(envelope.correlation_id.as_str())
            .bind(None::<&[u8]>)
            .bind(&envelope.data)
            .bind(hash.0.as_slice());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    insert.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

fn bare_sql(rows: usize) -> String {
    let row = format!("({}?)", "?,".repeat(14));
    format!("INSERT OR ROLLBACK INTO events VALUES {}", vec![row; rows].join(","))
}

/// Seconds of a loop that does nothing but commit these rows in groups.
async fn bare_groups(connection: &mut SqliteConnection, events: &[Recorded]) -> f64 {
    let sql = bare_sql(CALLERS);
    let started = Instant::now();
    for group in events.chunks_exact(CALLERS) {
        bare_insert(connection, &sql, group).await;
    }
    started.elapsed().as_secs_f64()
}

/// One append with nobody beside it, and one bare commit, in turns.
async fn lone(folder: &Path) {
    let store = SqliteEventStore::open(folder.join("lone.db"), Arc::new(SystemClock)).await.unwrap();
    let mut connection = bare_connection(&folder.join("lone-bare.db")).await;
    let sql = bare_sql(1);
    let mut subscription = store.subscribe(Position(0));
    let (mut appends, mut commits, mut deliveries) = (vec![], vec![], vec![]);
    for _ in 0..LONE {
        let started = Instant::now();
        let appended = store.append(registration()).await.unwrap();
        appends.push(started.elapsed().as_secs_f64());
        while !matches!(subscription.next().await, Some(SubscriptionItem::Events(_))) {}
        deliveries.push(started.elapsed().as_secs_f64() - appends[appends.len() - 1]);
        let started = Instant::now();
        bare_insert(&mut connection, &sql, &appended.events).await;
        commits.push(started.elapsed().as_secs_f64());
    }
    store.close().await;
    let ratio = median(appends.iter().zip(&commits).map(|(append, commit)| append / commit).collect());
    println!("lone append: {:.0} us, bare commit: {:.0} us (medians)", median(appends) * 1e6, median(commits) * 1e6);
    println!("lone append relative to a bare commit, median of {LONE} (target <= 1.5): {ratio:.2}");
    println!("a subscriber has the event {:.0} us after the append was answered", median(deliveries) * 1e6);
}

fn attempt(devices: &[(DeviceId, TenantId)], n: usize) -> AuthenticationAttempt {
    let (device_id, tenant_id) = devices[n * 7_919 % devices.len()];
    AuthenticationAttempt {
        id: Uuid::now_v7(),
        device_id: Some(device_id),
        tenant_id: Some(tenant_id),
        ip_address: IpAddr::from([10, 0, 0, (n % 250).try_into().unwrap()]),
        user_agent: Some("signalbeam-agent/0.1.0 (linux; x86_64)".to_owned()),
        timestamp: SystemClock.now(),
        success: true,
        method: AuthenticationMethod::Certificate,
        failure_reason: None,
        failure_code: None,
        api_key_prefix: None,
        certificate_serial_number: Some(SerialNumber::from_random([9; 20])),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        attempts: 1,
    }
}

async fn audit(durability: AuditDurability) {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(SqliteAuditLog::open(folder.path().join("audit.db"), durability).await.unwrap());
    let tenants: Vec<_> = (0..50).map(|_| TenantId::from_uuid(Uuid::now_v7())).collect();
    let devices: Vec<_> = (0..10_000).map(|n| (DeviceId::from_uuid(Uuid::now_v7()), tenants[n % 50])).collect();
    let made = |caller| (0..ATTEMPTS / CALLERS).map(|n| vec![attempt(&devices, n * CALLERS + caller)]).collect();
    let attempts: Vec<Vec<_>> = (0..CALLERS).map(made).collect();
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut callers = JoinSet::new();
    for attempts in attempts {
        let log = Arc::clone(&log);
        callers.spawn(async move {
            for attempt in attempts {
                log.record(attempt).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    log.close().await;
    let (elapsed, cpu) = (started.elapsed(), cpu_time() - cpu);
    let bytes = std::fs::metadata(folder.path().join("audit.db")).unwrap().len();
    println!(
        "audit rows, {durability:?}: {:.0} rows/s, {:.1} us of CPU a row (target <= 7), {} octets a row on disk",
        ATTEMPTS as f64 / elapsed.as_secs_f64(),
        cpu * 1e6 / ATTEMPTS as f64,
        bytes / ATTEMPTS as u64
    );
}

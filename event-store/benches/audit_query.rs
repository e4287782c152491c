//! How long a page of the audit log takes in a log of ten million rows: `cargo bench -p signalbeam-event-store --bench audit_query`.
//!
//! An argument that is a number sets another number of rows; one that is a folder keeps the log there for the next run.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use signalbeam_domain::{CorrelationId, DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use signalbeam_event_store::{
    AttemptFilter, AuditDurability, AuditLog, AuditReader, AuthenticationAttempt, AuthenticationMethod, SqliteAuditLog,
};
use uuid::Uuid;

const ROWS: usize = 10_000_000;
const DEVICES: usize = 20_000;
const TENANTS: usize = 50;
/// Rows of one call, and of one transaction.
const BATCH: usize = 2_000;
const PAGE: usize = 50;
const PAGES: usize = 200;
/// One in so many rows is a failure; every 200,000th has the rare code.
const FAILURE_EVERY: usize = 100;
const RARE_EVERY: usize = 200_000;

#[tokio::main]
async fn main() {
    let rows: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::args().skip(1).map(PathBuf::from).find(|argument| argument.is_dir());
    let path = kept.unwrap_or_else(|| temporary.path().to_owned()).join("audit.db");
    let log = SqliteAuditLog::open(&path, AuditDurability::Strict).await.unwrap();
    fill(&log, rows).await;
    println!("{rows} rows, {} MiB", std::fs::metadata(&path).unwrap().len() >> 20);
    let sample = log.scan(&AttemptFilter::default(), 0, i64::MAX, DEVICES).await.unwrap().attempts.into_iter();
    let devices: Vec<_> = sample.filter_map(|row| row.attempt.device_id.zip(row.attempt.tenant_id)).collect();
    let none = AttemptFilter::default();
    let code = |code: &str| Some(code.to_owned());
    let middle = |n: usize| World::moment(n * rows / PAGES);
    let of = |n: usize| devices[n * 7_919 % devices.len()];
    measure(&log, "first page", |_| (none.clone(), None)).await;
    measure(&log, "deep page", |n| (none.clone(), Some(row(rows * (n + 1) / PAGES)))).await;
    measure(&log, "a device, first page", |n| (AttemptFilter { device_id: Some(of(n).0), ..none.clone() }, None)).await;
    measure(&log, "a device, deep page", |n| {
        (AttemptFilter { device_id: Some(of(n).0), ..none.clone() }, Some(row(rows * (n + 1) / PAGES)))
    })
    .await;
    measure(&log, "an unknown device", |_| (AttemptFilter { device_id: Some(device()), ..none.clone() }, None)).await;
    measure(&log, "a tenant, first page", |n| (AttemptFilter { tenant_id: Some(of(n).1), ..none.clone() }, None)).await;
    measure(&log, "a tenant, deep page", |n| {
        (AttemptFilter { tenant_id: Some(of(n).1), ..none.clone() }, Some(row(rows * (n + 1) / PAGES)))
    })
    .await;
    measure(&log, "an hour", |n| {
        let end = middle(n).plus_seconds(3_600);
        (AttemptFilter { start: Some(middle(n)), end: Some(end), ..none.clone() }, None)
    })
    .await;
    measure(&log, "a tenant's hour", |n| {
        let (start, tenant_id) = (Some(middle(n)), Some(of(n).1));
        (AttemptFilter { start, end: Some(middle(n).plus_seconds(3_600)), tenant_id, ..none.clone() }, None)
    })
    .await;
    measure(&log, "a common code", |_| (AttemptFilter { failure_code: code("INVALID_API_KEY"), ..none.clone() }, None))
        .await;
    measure(&log, "a rare code", |_| (AttemptFilter { failure_code: code("API_KEY_REVOKED"), ..none.clone() }, None))
        .await;
    measure(&log, "a code that never came", |_| (AttemptFilter { failure_code: code("NEVER"), ..none.clone() }, None))
        .await;
    measure(&log, "a tenant's rare code", |n| {
        (AttemptFilter { failure_code: code("API_KEY_REVOKED"), tenant_id: Some(of(n).1), ..none.clone() }, None)
    })
    .await;
    measure(&log, "an address (a bounded scan)", |_| {
        (AttemptFilter { ip_address: Some(IpAddr::from([192, 0, 2, 77])), ..none.clone() }, None)
    })
    .await;
    let started = Instant::now();
    let (mut after, mut read) = (0, 0);
    while read < 500_000.min(rows) {
        let attempts = log.scan(&AttemptFilter::default(), after, i64::MAX, 500).await.unwrap().attempts;
        read += attempts.len();
        after = attempts.last().unwrap().row;
    }
    println!("read in order: {:.0} rows/s", read as f64 / started.elapsed().as_secs_f64());
    log.close().await;
}

/// Milliseconds of CPU that this process has spent: what other processes do weighs on the time, not on this.
fn cpu_ms() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 * 1e3 + spent.tv_nsec as f64 / 1e6
}

async fn fill(log: &SqliteAuditLog, rows: usize) {
    let world = World::new();
    let present = usize::try_from(log.head().await.unwrap()).unwrap();
    for first in (present..rows).step_by(BATCH) {
        log.record((first..first + BATCH).map(|n| world.attempt(n)).collect()).await.unwrap();
    }
}

async fn measure(log: &SqliteAuditLog, what: &str, asked: impl Fn(usize) -> (AttemptFilter, Option<i64>)) {
    let (mut took, mut cpu, mut found, mut complete) = (vec![], vec![], 0, 0);
    for n in 0..PAGES {
        let (filter, after) = asked(n);
        let (started, spent) = (Instant::now(), cpu_ms());
        let page = log.query(&filter, after, PAGE).await.unwrap();
        took.push(started.elapsed().as_secs_f64() * 1e3);
        cpu.push(cpu_ms() - spent);
        found += page.attempts.len();
        complete += usize::from(page.attempts.len() == PAGE || page.next.is_none());
    }
    let mut at = |share: usize| {
        let place = (PAGES * share / 100).min(PAGES - 1);
        [&mut took, &mut cpu].map(|numbers| *numbers.select_nth_unstable_by(place, f64::total_cmp).1)
    };
    let ([p50, cpu_p50], [p99, cpu_p99]) = (at(50), at(99));
    println!(
        "{what:<28} p50 {p50:6.2} ms  p99 {p99:6.2} ms  CPU p50 {cpu_p50:6.2} ms  p99 {cpu_p99:6.2} ms  \
         {:4.1} rows a page, {complete} of {PAGES} pages full or last",
        found as f64 / PAGES as f64
    );
}

fn row(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

fn device() -> DeviceId {
    DeviceId::from_uuid(Uuid::now_v7())
}

struct World {
    devices: Vec<(DeviceId, TenantId, SerialNumber)>,
}

impl World {
    fn new() -> Self {
        let tenants: Vec<_> = (0..TENANTS).map(|_| TenantId::from_uuid(Uuid::now_v7())).collect();
        let serial = |n: usize| {
            let mut octets = [9; 20];
            octets[1..9].copy_from_slice(&n.to_be_bytes());
            SerialNumber::from_random(octets)
        };
        Self { devices: (0..DEVICES).map(|n| (device(), tenants[n % TENANTS], serial(n))).collect() }
    }

    /// A hundred a second.
    fn moment(n: usize) -> Timestamp {
        Timestamp::from_unix_microseconds(1_800_000_000_000_000 + row(n) * 10_000)
    }

    fn attempt(&self, n: usize) -> AuthenticationAttempt {
        let (device_id, tenant_id, serial_number) = self.devices[n * 7_919 % DEVICES];
        let is_failure = n.is_multiple_of(FAILURE_EVERY);
        let is_known = !is_failure || n.is_multiple_of(RARE_EVERY);
        let code = if n.is_multiple_of(RARE_EVERY) { "API_KEY_REVOKED" } else { "INVALID_API_KEY" };
        AuthenticationAttempt {
            id: Uuid::now_v7(),
            device_id: is_known.then_some(device_id),
            tenant_id: is_known.then_some(tenant_id),
            ip_address: IpAddr::from([10, 0, u8::try_from(n % 200).unwrap(), u8::try_from(n % 251).unwrap()]),
            user_agent: Some("signalbeam-agent/0.1.0 (linux; x86_64)".to_owned()),
            timestamp: Self::moment(n),
            success: !is_failure,
            method: if is_failure { AuthenticationMethod::ApiKey } else { AuthenticationMethod::Certificate },
            failure_reason: is_failure.then(|| "The API key is not valid".to_owned()),
            failure_code: is_failure.then(|| code.to_owned()),
            api_key_prefix: is_failure.then(|| Prefix::parse("a1B2c3D4").unwrap()),
            certificate_serial_number: (!is_failure).then_some(serial_number),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            attempts: 1,
        }
    }
}

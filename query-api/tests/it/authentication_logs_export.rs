//! The export of the authentication log: all of it, in constant memory, or an abnormal end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use serde_json::Value;
use signalbeam_authn::Role;
use signalbeam_domain::Timestamp;
use signalbeam_event_store::audit::{
    AttemptFilter, AttemptPage, AttemptScan, AuditError, AuthenticationMethod, UsageSummary,
};
use signalbeam_event_store::{AuditLog, AuditReader, AuthenticationAttempt, MemoryAuditLog};
use uuid::Uuid;

use crate::world::{As, World, correlation_id, day, tenant};

const EXPORT: &str = "/api/authentication-logs/export";

fn failure(number: u32, timestamp: Timestamp) -> AuthenticationAttempt {
    AuthenticationAttempt {
        id: Uuid::from_u128(u128::from(number)),
        device_id: None,
        tenant_id: None,
        ip_address: IpAddr::from([192, 0, 2, 1]),
        user_agent: Some("=HYPERLINK(\"http://example.test\")".to_owned()),
        timestamp,
        success: false,
        method: AuthenticationMethod::ApiKey,
        failure_reason: Some("no such key, sorry".to_owned()),
        failure_code: Some("INVALID_API_KEY".to_owned()),
        api_key_prefix: None,
        certificate_serial_number: None,
        correlation_id: correlation_id(),
        attempts: 1,
    }
}

fn lines(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn all_that_is_wanted_comes_oldest_first_with_the_fields_of_the_list() {
    let world = World::new().await;
    let recorded = (0..1_203).map(|n| failure(n, day(i64::from(n % 3)))).collect();
    world.audit.record(recorded).await.unwrap();
    let counted = AuthenticationAttempt { attempts: 40, user_agent: None, ..failure(9_000, day(5)) };
    world.audit.record(vec![counted]).await.unwrap();
    let export = async |query: &str| world.get(&format!("{EXPORT}?format=ndjson{query}"), &world.admin()).await;

    let answer = export("").await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let name = "attachment; filename=\"authentication-logs-20260101T000000Z.ndjson\"";
    assert_eq!(answer.headers["content-disposition"], name);
    let mut exported = lines(&answer.body);
    assert_eq!(exported.len(), 1_204);
    assert_eq!((&exported[1_203]["attempts"], exported[0].get("attempts")), (&Value::from(40), None));
    let listed = world.get("/api/authentication-logs?limit=500", &world.admin()).await.items();
    exported.reverse();
    assert_eq!(exported[..500], listed);

    assert_eq!(lines(&export("&startDate=2026-01-02&endDate=2026-01-03").await.body).len(), 401);
    assert_eq!(lines(&export("&failureCode=API_KEY_EXPIRED").await.body).len(), 0);
    assert_eq!(lines(&export("&successOnly=true").await.body).len(), 0);
}

#[tokio::test]
async fn a_spreadsheet_gets_a_table_and_no_formula() {
    let world = World::new().await;
    world.audit.record(vec![failure(1, day(0))]).await.unwrap();
    let answer = world.get(EXPORT, &world.admin()).await;
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert!(answer.headers["content-disposition"].to_str().unwrap().ends_with(".csv\""));
    let expected = "id,deviceId,tenantId,ipAddress,userAgent,timestamp,success,authenticationMethod,failureReason,\
                    failureCode,apiKeyPrefix,certificateSerialNumber,correlationId,attempts\r\n\
                    00000000-0000-0000-0000-000000000001,,,192.0.2.1,\"'=HYPERLINK(\"\"http://example.test\"\")\",\
                    2026-01-01T00:00:00.000000Z,false,ApiKey,\"no such key, sorry\",INVALID_API_KEY,,,test,1\r\n";
    assert_eq!(String::from_utf8(answer.body.to_vec()).unwrap(), expected);
    let empty = world.get(&format!("{EXPORT}?successOnly=true"), &world.admin()).await;
    assert_eq!(empty.body.split(|octet| *octet == b'\n').count(), 2, "the names alone");
}

#[tokio::test]
async fn only_admins_export_and_only_their_own_tenants() {
    let world = World::new().await;
    let mut recorded = vec![];
    for number in 1..=4_u32 {
        let tenant_id = (number > 1).then(|| tenant(u128::from(number % 2 + 1)));
        recorded.push(AuthenticationAttempt { tenant_id, ..failure(number, day(0)) });
    }
    world.audit.record(recorded).await.unwrap();
    let path = format!("{EXPORT}?format=ndjson");
    for (confined_to, count) in [(None, 4), (Some(tenant(1)), 2), (Some(tenant(2)), 1), (Some(tenant(3)), 0)] {
        let auditor = world.admin_of(Role::Auditor, confined_to);
        assert_eq!(lines(&world.get(&path, &auditor).await.body).len(), count, "{confined_to:?}");
    }
    let confined = world.admin_of(Role::Admin, Some(tenant(1)));
    let other = format!("{path}&tenantId={}", tenant(2));
    assert_eq!(world.get(&other, &confined).await.refusal(), (403, "FORBIDDEN".to_owned()));
    assert_eq!(lines(&world.get(&other, &world.admin()).await.body).len(), 1);
    let (_, key) = world.enrol(tenant(1), "one").await;
    for stranger in [As::Nobody, key] {
        assert_eq!(world.get(&path, &stranger).await.refusal().0, 401);
    }
    for bad in ["format=xml", "limit=5", "cursor=x"] {
        assert_eq!(world.get(&format!("{EXPORT}?{bad}"), &world.admin()).await.refusal().0, 400, "{bad}");
    }
}

/// A log that counts what is read of it, and can end in a failure.
#[derive(Default)]
struct Watched {
    log: MemoryAuditLog,
    scans: AtomicUsize,
    largest: AtomicUsize,
    /// From this row on reading fails; 0: never.
    fails_from: AtomicI64,
}

#[async_trait]
impl AuditReader for Watched {
    async fn head(&self) -> Result<i64, AuditError> {
        self.log.head().await
    }

    async fn scan(
        &self,
        filter: &AttemptFilter,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Result<AttemptScan, AuditError> {
        let fails_from = self.fails_from.load(Ordering::SeqCst);
        if fails_from > 0 && after >= fails_from {
            return Err(AuditError { context: "test", source: Arc::new(std::io::Error::other("the disk is gone")) });
        }
        let scan = self.log.scan(filter, after, through, limit).await?;
        self.scans.fetch_add(1, Ordering::SeqCst);
        self.largest.fetch_max(scan.attempts.len(), Ordering::SeqCst);
        Ok(scan)
    }
}

#[async_trait]
impl AuditLog for Watched {
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        self.log.record(attempts).await
    }

    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError> {
        self.log.query(filter, after, limit).await
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        self.log.usage_after(row, limit).await
    }
}

async fn watched(rows: u32) -> (Arc<Watched>, World) {
    let log = Arc::new(Watched::default());
    for first in (0..rows).step_by(10_000) {
        log.record((first..rows.min(first + 10_000)).map(|n| failure(n, day(0))).collect()).await.unwrap();
    }
    (Arc::clone(&log), World::with_audit(log).await)
}

async fn stream(world: &World) -> BodyDataStream {
    let answer = world.begin(&format!("{EXPORT}?format=ndjson"), &world.admin(), &[]).await;
    assert_eq!(answer.status(), 200);
    Body::new(answer.into_body()).into_data_stream()
}

#[tokio::test]
async fn however_long_the_log_is_one_chunk_of_it_is_in_memory() {
    let (log, world) = watched(300_000).await;
    let mut body = stream(&world).await;
    let (mut chunks, mut rows) = (0, 0);
    while let Some(chunk) = body.next().await {
        chunks += 1;
        rows += lines(&chunk.unwrap()).len();
        let ahead = log.scans.load(Ordering::SeqCst) - chunks;
        assert!(ahead <= 1, "{ahead} chunks were read before the client took them");
        if chunks == 300 {
            log.record(vec![failure(1, day(9))]).await.unwrap();
        }
    }
    assert_eq!(rows, 300_000, "what is recorded meanwhile is not in it");
    assert!(log.largest.load(Ordering::SeqCst) <= 500);
}

#[tokio::test]
async fn whoever_goes_away_leaves_nothing_running() {
    let (log, world) = watched(5_000).await;
    let mut body = stream(&world).await;
    body.next().await.unwrap().unwrap();
    let held = Arc::strong_count(&log);
    let scans = log.scans.load(Ordering::SeqCst);
    drop(body);
    assert!(Arc::strong_count(&log) < held);
    tokio::task::yield_now().await;
    assert_eq!(log.scans.load(Ordering::SeqCst), scans);
}

#[tokio::test]
async fn a_failure_in_the_middle_is_no_end() {
    let (log, world) = watched(5_000).await;
    log.fails_from.store(1_000, Ordering::SeqCst);
    let mut body = stream(&world).await;
    for _ in 0..2 {
        body.next().await.unwrap().unwrap();
    }
    assert!(body.next().await.unwrap().is_err());
}

//! What is counted from the authentication log.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signalbeam_domain::api_key::KeyOrigin;
use signalbeam_domain::{CorrelationId, DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use signalbeam_event_store::MemoryAuditLog;
use signalbeam_projections::usage::keep_counting;
use signalbeam_projections::{
    AuditLog, AuthenticationAttempt, AuthenticationMethod, DIRECTORY, DaySpan, ReadModel, Tables, rebuild,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fleet::{Fleet, Step};
use crate::rows::{LONG, Projected, TextRow, query};

const ROUND: Duration = Duration::from_millis(5);

fn at(text: &str) -> Timestamp {
    Timestamp::parse(&format!("2026-02-{text}Z")).unwrap()
}

fn certificate(device_id: DeviceId, tenant_id: TenantId, timestamp: Timestamp) -> AuthenticationAttempt {
    AuthenticationAttempt {
        id: Uuid::now_v7(),
        device_id: Some(device_id),
        tenant_id: Some(tenant_id),
        ip_address: IpAddr::from([192, 0, 2, 1]),
        user_agent: None,
        timestamp,
        success: true,
        method: AuthenticationMethod::Certificate,
        failure_reason: None,
        failure_code: None,
        api_key_prefix: None,
        certificate_serial_number: Some(SerialNumber::from_random([7; 20])),
        correlation_id: CorrelationId::parse("test").unwrap(),
        attempts: 1,
    }
}

fn api_key(prefix: Prefix, attempt: AuthenticationAttempt) -> AuthenticationAttempt {
    AuthenticationAttempt {
        method: AuthenticationMethod::ApiKey,
        certificate_serial_number: None,
        api_key_prefix: Some(prefix),
        ..attempt
    }
}

fn stranger(timestamp: Timestamp) -> AuthenticationAttempt {
    let prefix = Prefix::parse("Strange1").unwrap();
    let attempt =
        api_key(prefix, certificate(DeviceId::from_uuid(Uuid::nil()), TenantId::from_uuid(Uuid::nil()), timestamp));
    AuthenticationAttempt { device_id: None, tenant_id: None, success: false, ..attempt }
}

/// Counts until it is dropped.
fn counting(audit: Arc<MemoryAuditLog>, tables: Tables, round: Duration) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async move { keep_counting(&*audit, &tables, round).await });
    task
}

/// Waits until everything in the log is counted.
async fn counted(path: &Path, rows: usize) {
    let sql = "SELECT position FROM checkpoints WHERE projection = 'usage'";
    let mut again = tokio::time::interval(ROUND);
    let waiting = async {
        while query(path, sql.into()).await[0][0].1 != Some(rows.to_string()) {
            again.tick().await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap();
}

async fn usage_rows(path: &Path) -> Vec<TextRow> {
    let mut rows = vec![];
    for table in ["device_usage", "credential_usage", "device_usage_by_day", "tenant_usage_by_day"] {
        rows.extend(query(path, format!("SELECT * FROM {table} ORDER BY 1, 2, 3")).await);
    }
    rows
}

fn february() -> DaySpan {
    DaySpan { first: "2026-02-01".into(), last: "2026-02-28".into() }
}

#[tokio::test]
async fn uses_are_counted_by_device_credential_tenant_and_day() {
    let mut fleet = Fleet::with_device().await.0;
    for step in [Step::IssueKey(0, KeyOrigin::Claim), Step::IssueToken, Step::Register(1)] {
        fleet.perform(step).await;
    }
    let projected = Projected::of(&fleet).await;
    let tables = projected.projector.tables();
    let (one, other) = (fleet.devices[0], fleet.devices[1]);
    let keys =
        query(tables.path(), format!("SELECT tenant_id, key_prefix FROM device_api_keys WHERE device_id = '{one}'"));
    let key = keys.await.remove(0);
    let tenant = TenantId::parse(key[0].1.as_ref().unwrap()).unwrap();
    let prefix = Prefix::parse(key[1].1.as_ref().unwrap()).unwrap();
    let audit = Arc::new(MemoryAuditLog::new());
    let _usage = counting(audit.clone(), tables.clone(), ROUND);
    let first = vec![
        certificate(one, tenant, at("03T10:00:00")),
        certificate(one, tenant, at("03T11:00:00")),
        AuthenticationAttempt { success: false, ..certificate(one, tenant, at("03T12:00:00")) },
        api_key(prefix, certificate(one, tenant, at("03T13:00:00"))),
        certificate(other, tenant, at("03T09:00:00")),
        stranger(at("03T09:30:00")),
    ];
    audit.record(first).await.unwrap();
    counted(tables.path(), 6).await;
    audit.record(vec![certificate(one, tenant, at("04T08:00:00")), stranger(at("04T09:00:00"))]).await.unwrap();
    counted(tables.path(), 8).await;

    let model = ReadModel::new(tables.clone());
    let usage = model.device_usage(one, &february()).await.unwrap();
    let seen = usage.last_seen.unwrap();
    assert_eq!((seen.at, seen.method), (at("04T08:00:00"), AuthenticationMethod::Certificate));
    let credentials: Vec<_> = usage
        .credentials
        .iter()
        .map(|used| (used.credential.as_str(), used.last_used_at, used.successes, used.failures))
        .collect();
    let serial = SerialNumber::from_random([7; 20]).to_string();
    let expected = [(serial.as_str(), Some(at("04T08:00:00")), 3, 1), (prefix.as_str(), Some(at("03T13:00:00")), 1, 0)];
    assert_eq!(credentials, expected);
    let days: Vec<_> =
        usage.days.iter().map(|day| (day.day.as_str(), day.method.as_str(), day.successes, day.failures)).collect();
    assert_eq!(
        days,
        [("2026-02-04", "Certificate", 1, 0), ("2026-02-03", "ApiKey", 1, 0), ("2026-02-03", "Certificate", 2, 1)]
    );

    let of = |usage: Vec<signalbeam_projections::DayUsage>| {
        usage
            .into_iter()
            .map(|day| (day.day, day.method.as_str(), day.devices, day.successes, day.failures))
            .collect::<Vec<_>>()
    };
    let day = |day: &str, method, devices, successes, failures| {
        (format!("2026-02-{day}"), method, devices, successes, failures)
    };
    let tenants = of(model.usage_by_day(Some(tenant), &february()).await.unwrap());
    assert_eq!(
        tenants,
        [day("04", "Certificate", 1, 1, 0), day("03", "ApiKey", 1, 1, 0), day("03", "Certificate", 2, 3, 1)]
    );
    let all = of(model.usage_by_day(None, &february()).await.unwrap());
    assert_eq!(all[..2], [day("04", "ApiKey", 0, 0, 1), day("04", "Certificate", 1, 1, 0)], "with the stranger's");
    let column =
        query(tables.path(), format!("SELECT last_used_at FROM device_api_keys WHERE key_prefix = '{prefix}'")).await;
    assert_eq!(column[0][0].1, Some(at("03T13:00:00").to_string()));

    let before = usage_rows(tables.path()).await;
    rebuild(DIRECTORY, tables, &*fleet.store, |_| {}).await.unwrap();
    assert_eq!(usage_rows(tables.path()).await, before, "rebuilding the directory forgets no count");
    let kept =
        query(tables.path(), format!("SELECT last_used_at FROM device_api_keys WHERE key_prefix = '{prefix}'")).await;
    assert_eq!(kept, column);
}

#[tokio::test]
async fn counting_goes_on_where_it_ended_and_begins_anew_for_an_older_log() {
    let (fleet, _) = Fleet::with_device().await;
    let projected = Projected::of(&fleet).await;
    let tables = projected.projector.tables();
    let (device, tenant) = (fleet.devices[0], TenantId::from_uuid(Uuid::nil()));
    let (audit, older) = (Arc::new(MemoryAuditLog::new()), Arc::new(MemoryAuditLog::new()));
    for log in [&audit, &older] {
        log.record(vec![certificate(device, tenant, at("03T10:00:00"))]).await.unwrap();
    }
    let usage = counting(audit.clone(), tables.clone(), ROUND);
    counted(tables.path(), 1).await;
    let after_one = usage_rows(tables.path()).await;
    drop(usage);
    audit.record(vec![certificate(device, tenant, at("03T11:00:00"))]).await.unwrap();
    let again = counting(audit.clone(), tables.clone(), ROUND);
    counted(tables.path(), 2).await;
    let successes = "SELECT sum(successes) FROM device_usage_by_day";
    assert_eq!(query(tables.path(), successes.into()).await[0][0].1, Some("2".into()), "each row once");
    drop(again);
    let _put_back = counting(older, tables.clone(), ROUND);
    counted(tables.path(), 1).await;
    assert_eq!(usage_rows(tables.path()).await, after_one);
}

#[tokio::test]
async fn tables_of_another_version_are_counted_anew() {
    let (fleet, _) = Fleet::with_device().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections.db");
    let audit = Arc::new(MemoryAuditLog::new());
    audit
        .record(vec![certificate(fleet.devices[0], TenantId::from_uuid(Uuid::nil()), at("03T10:00:00"))])
        .await
        .unwrap();
    for _ in 0..2 {
        let tables = Tables::open(&path, &*fleet.store).await.unwrap();
        let usage = counting(audit.clone(), tables.clone(), ROUND);
        counted(&path, 1).await;
        assert_eq!(usage_rows(&path).await.len(), 4);
        drop(usage);
        query(&path, "PRAGMA user_version = 1".into()).await;
        tables.close().await;
    }
}

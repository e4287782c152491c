//! The authentication log over the real binary: floods, seals, retention, exports.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use signalbeam_domain::{CorrelationId, DeviceId, TenantId, Timestamp};
use signalbeam_event_store::{
    AuditDurability, AuditLog as _, AuthenticationAttempt, AuthenticationMethod, SqliteAuditLog,
};
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use crate::device::TENANT;
use crate::server::{Server, Site};
use crate::waiting::eventually;

const LOGS: &str = "/api/authentication-logs";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn days_ago(days: i64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_unix_seconds(i64::try_from(now).unwrap()).plus_days(-days)
}

pub(crate) fn success(timestamp: Timestamp) -> AuthenticationAttempt {
    AuthenticationAttempt {
        id: Uuid::now_v7(),
        device_id: Some(DeviceId::from_uuid(Uuid::now_v7())),
        tenant_id: Some(TenantId::parse(TENANT).unwrap()),
        ip_address: "192.0.2.1".parse().unwrap(),
        user_agent: Some("agent/1".to_owned()),
        timestamp,
        success: true,
        method: AuthenticationMethod::Certificate,
        failure_reason: None,
        failure_code: None,
        api_key_prefix: None,
        certificate_serial_number: None,
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        attempts: 1,
    }
}

/// Writes into the log of a server that does not run.
pub(crate) fn record(site: &Site, attempts: Vec<AuthenticationAttempt>) {
    runtime().block_on(async {
        let path = site.data_dir().join("audit.db");
        let log = SqliteAuditLog::open(path, AuditDurability::Strict).await.unwrap();
        log.record(attempts).await.unwrap();
        log.close().await;
    });
}

fn strangers(server: &Server<'_>, count: usize) {
    let client = server.anonymous().api_key("sb_device_nobody");
    for _ in 0..count {
        client
            .post(&format!("/api/devices/{}/heartbeat", Uuid::now_v7()), &Value::Null)
            .refused(401, "INVALID_API_KEY");
    }
}

fn failures(server: &Server<'_>) -> (usize, u64) {
    let answer = server.admin().get(&format!("{LOGS}?failureCode=INVALID_API_KEY&limit=500")).expect(200);
    let items = answer["items"].as_array().unwrap();
    (items.len(), items.iter().map(|item| item["attempts"].as_u64().unwrap_or(1)).sum())
}

#[test]
fn a_flood_of_failures_is_counted_and_the_counts_survive_an_orderly_end() {
    let site = Site::new().with("audit.max_failures_per_address_per_minute", "3").with("rate_limit.enabled", "false");
    let server = site.start();
    strangers(&server, 40);
    let (rows, _) = failures(&server);
    // A minute may have ended in between.
    assert!((3..=7).contains(&rows), "{rows}");
    server.stop();
    let server = site.start();
    let (rows, attempts) = failures(&server);
    assert!((4..=8).contains(&rows), "{rows}");
    assert_eq!(attempts, 40, "none is forgotten");
}

#[test]
fn on_a_disk_that_is_nearly_full_failures_are_only_counted() {
    let site = Site::new().with("audit.disk_reserve_mib", "16777216").with("rate_limit.enabled", "false");
    let server = site.start();
    eventually("it has noticed", || site.said().contains("nearly full").then_some(()));
    strangers(&server, 5);
    assert_eq!(failures(&server), (0, 0));
    server.stop();
    let server = site.start();
    assert_eq!(failures(&server), (1, 5), "they are written at the end");
}

fn verified(site: &Site) -> String {
    String::from_utf8(site.run(&["audit", "verify"]).stdout).unwrap()
}

#[test]
fn days_are_sealed_verified_and_dropped_and_a_change_is_found() {
    let mut site = Site::new();
    site.start().stop();
    let attempts = [40, 40, 3, 2, 2, 2].map(|days| success(days_ago(days)));
    record(&site, attempts.to_vec());
    let server = site.start();
    let told = eventually("the days are sealed", || Some(verified(&site)).filter(|told| told.contains("3 sealed")));
    assert_eq!(told.matches(" intact\n").count(), 3, "{told}");
    let sealed: Vec<_> = site.export().into_iter().filter(|event| event["type"] == "audit_segment.sealed").collect();
    assert_eq!(sealed[0]["stream"], "audit_segment-embedded");
    assert_eq!((&sealed[1]["data"]["firstRow"], &sealed[1]["data"]["lastRow"]), (&3.into(), &3.into()));
    assert_eq!(sealed[1]["data"]["previous"], sealed[0]["data"]["rootHash"]);
    server.stop();

    site.set("audit.retention_days", "30");
    let server = site.start();
    let told = eventually("old days are dropped", || {
        Some(verified(&site)).filter(|told| told.contains("dropped by retention"))
    });
    assert_eq!(told.matches(" intact\n").count(), 2, "{told}");
    let admin = server.admin();
    let gone = format!("{LOGS}?endDate={}", &days_ago(20).to_string()[..10]);
    eventually("their rows are gone", || {
        admin.get(&gone).expect(200)["items"].as_array().unwrap().is_empty().then_some(())
    });
    assert_eq!(admin.get(&format!("{LOGS}?successOnly=true")).expect(200)["items"].as_array().unwrap().len(), 4);

    runtime().block_on(async {
        let path = format!("sqlite://{}", site.data_dir().join("audit.db").display());
        let mut connection = SqliteConnection::connect(&path).await.unwrap();
        let change = "UPDATE device_authentication_logs SET ip_address = '192.0.2.99' WHERE row = 5";
        sqlx::query(change).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    let output = site.run(&["audit", "verify"]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(&days_ago(2).to_string()[..10]), "{complaint}");
    assert!(!complaint.contains(&days_ago(3).to_string()[..10]), "{complaint}");
}

#[test]
fn an_export_is_complete_and_confined() {
    let site = Site::new();
    site.start().stop();
    record(&site, (0..5_000).map(|_| success(days_ago(0))).collect());
    let server = site.start();
    let admin = server.admin();
    let answer = admin.get(&format!("{LOGS}/export?format=ndjson&successOnly=true"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let text = answer.text();
    assert_eq!(text.lines().count(), 5_000);
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["success"], &first["authenticationMethod"]), (&true.into(), &"Certificate".into()));
    let csv = admin.get(&format!("{LOGS}/export")).text();
    assert!(csv.starts_with("id,deviceId,tenantId,") && csv.ends_with("\r\n"));
    assert!(csv.lines().count() > 5_000);
    let confined = server.admin_with(&["--role", "auditor", "--tenant-id", crate::device::OTHER_TENANT]);
    assert_eq!(confined.get(&format!("{LOGS}/export?format=ndjson")).text(), "");
}

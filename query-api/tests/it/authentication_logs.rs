//! The authentication log: who tried, when, by what means.

use std::sync::Arc;

use async_trait::async_trait;
use signalbeam_authn::Role;
use signalbeam_event_store::audit::{AttemptFilter, AttemptPage, AttemptScan, AuditError, UsageSummary};
use signalbeam_event_store::{AuditLog, AuditReader, AuthenticationAttempt};

use crate::world::{As, World, day, tenant};

#[tokio::test]
async fn attempts_are_narrowed() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "one").await;
    let path = format!("/api/devices/{}", device.id);
    world.set_time(day(1));
    world.get_with(&path, &key, &[("user-agent", "agent/1"), ("x-correlation-id", "first")]).await.ok();
    world.set_time(day(2));
    world.get(&path, &As::ApiKey("sb_device_nonsense".to_owned())).await;
    world.get(&path, &As::Bearer("not.a.token".to_owned())).await;
    let found = |query: String| {
        let world = &world;
        async move { world.get(&format!("/api/authentication-logs{query}"), &world.admin()).await.items() }
    };
    for (query, count) in [
        ("", 3),
        ("?successOnly=true", 1),
        ("?successOnly=false", 3),
        ("?method=ApiKey", 2),
        ("?method=AdminToken", 1),
        ("?failureCode=INVALID_API_KEY", 1),
        ("?failureCode=INVALID_API_KEY&successOnly=true", 0),
        ("?startDate=2026-01-03", 2),
        ("?endDate=2026-01-03", 1),
        ("?startDate=2026-01-02T00:00:00Z&endDate=2026-01-02T00:00:00.000001Z", 1),
        ("?startDate=2026-01-02T01:00:00%2B01:00&endDate=2026-01-02T01:00:00+00:00", 1),
        ("?startDate=2026-01-03&endDate=2026-01-01", 0),
        ("?ipAddress=127.0.0.1", 3),
        ("?ipAddress=::ffff:127.0.0.1", 3),
        ("?ipAddress=127.0.0.2", 0),
        ("?correlationId=first", 1),
        ("?certificateSerialNumber=4909090909090909090909090909090909090909", 0),
    ] {
        assert_eq!(found(query.to_owned()).await.len(), count, "{query}");
    }
    let success = found(format!("?deviceId={}", device.id)).await.remove(0);
    assert_eq!(success["timestamp"], day(1).to_string());
    assert_eq!(success["success"], true);
    assert_eq!(success["authenticationMethod"], "ApiKey");
    assert_eq!(success["tenantId"], tenant(1).to_string());
    assert_eq!(success["ipAddress"], "127.0.0.1");
    assert_eq!(success["userAgent"], "agent/1");
    assert_eq!(success["correlationId"], "first");
    assert_eq!(success["apiKeyPrefix"].as_str().unwrap().len(), 8);
    assert!(success.get("failureCode").is_none());
    assert!(success.get("attempts").is_none());
    let prefix = success["apiKeyPrefix"].as_str().unwrap();
    assert_eq!(found(format!("?apiKeyPrefix={prefix}")).await, std::slice::from_ref(&success));
    assert_eq!(found(format!("?tenantId={}", tenant(1))).await, [success]);
    assert_eq!(found(format!("?tenantId={}", tenant(2))).await.len(), 0);
    let confined = world.admin_of(Role::Auditor, Some(tenant(2)));
    let other = format!("/api/authentication-logs?tenantId={}", tenant(1));
    assert_eq!(world.get(&other, &confined).await.refusal(), (403, "FORBIDDEN".to_owned()));
    for bad in ["ipAddress=here", "apiKeyPrefix=short", "certificateSerialNumber=zz", "correlationId=a%20b"] {
        let answer = world.get(&format!("/api/authentication-logs?{bad}"), &world.admin()).await;
        assert_eq!(answer.refusal(), (400, "INVALID_REQUEST".to_owned()), "{bad}");
    }
}

/// An authentication log whose disk is gone.
struct LostAuditLog;

impl LostAuditLog {
    fn error() -> AuditError {
        AuditError { context: "test", source: Arc::new(std::io::Error::other("the disk is gone")) }
    }
}

#[async_trait]
impl AuditReader for LostAuditLog {
    async fn head(&self) -> Result<i64, AuditError> {
        Err(Self::error())
    }

    async fn scan(&self, _: &AttemptFilter, _: i64, _: i64, _: usize) -> Result<AttemptScan, AuditError> {
        Err(Self::error())
    }
}

#[async_trait]
impl AuditLog for LostAuditLog {
    async fn record(&self, _: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        Err(Self::error())
    }

    async fn query(&self, _: &AttemptFilter, _: Option<i64>, _: usize) -> Result<AttemptPage, AuditError> {
        Err(Self::error())
    }

    async fn usage_after(&self, _: i64, _: usize) -> Result<UsageSummary, AuditError> {
        Err(Self::error())
    }
}

#[tokio::test]
async fn without_its_log_devices_are_refused_and_admins_see_everything_else() {
    let world = World::with_audit(Arc::new(LostAuditLog)).await;
    let (device, key) = world.enrol(tenant(1), "one").await;
    let unavailable = (503, "AUDIT_UNAVAILABLE".to_owned());
    let status = format!("/api/devices/{}/registration-status", device.id);
    assert_eq!(world.get(&status, &key).await.refusal(), unavailable);
    let admin = world.admin();
    assert_eq!(world.get("/api/authentication-logs", &admin).await.refusal(), unavailable);
    assert_eq!(world.get("/api/authentication-logs/export", &admin).await.refusal(), unavailable);
    let shown = world.get(&format!("/api/devices/{}", device.id), &admin).await.ok();
    assert!(shown.get("lastSeenAt").is_none());
    for path in ["/api/devices", "/api/events", "/api/certificates", &status] {
        world.get(path, &admin).await.ok();
    }
}

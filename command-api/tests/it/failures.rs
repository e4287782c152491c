//! What fails around us: nobody is let in on a guess, nothing is acknowledged that was not done, nothing is a 500.

use std::time::Duration;

use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::device::{DecisionReason, DeviceEvent, DeviceSuspended};
use signalbeam_domain::{Actor, CorrelationId, Version};
use signalbeam_event_store::{Batch, CommandMetadata, EventStore as _, ExpectedVersion, StreamWrite, new_events};

use crate::world::fleet::{TestDevice, csr, new_claim_secret};
use crate::world::{PATIENCE, TENANT_A, World, tenant};

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn an_audit_log_that_cannot_be_written_denies_devices_while_admins_work_on() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.audit.writes_fail.set(true);
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::AuditUnavailable);
    world.heartbeat_by_key(&device).await.problem(ErrorCode::AuditUnavailable);
    let wrong = world.post(device.route("heartbeat")).api_key("nonsense").send().await;
    wrong.problem(ErrorCode::AuditUnavailable);
    let stranger = world.post("/api/registration-tokens").bearer("nonsense").send().await;
    stranger.problem(ErrorCode::InvalidToken);
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    let token = world.token(TENANT_A).await;
    world.register_with(&token, &new_claim_secret()).await.expect(201);
    world.audit.writes_fail.set(false);
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_key(&device).await.expect(200);
}

#[tokio::test]
async fn under_a_clock_far_behind_the_log_nothing_is_issued_and_no_good_certificate_superseded() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_seconds(-7_200);
    let issue = || world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()}));
    let refused = issue().send().await.problem(ErrorCode::SigningUnavailable);
    assert!(refused["detail"].as_str().unwrap().contains("clock"), "{refused}");
    assert_eq!(world.types(&device.certificates()).await.last(), Some(&"certificate.abandoned"));
    world.clock.advance_seconds(7_200);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    issue().send().await.expect(201);
}

#[tokio::test]
async fn a_store_that_fails_is_told_as_such_and_recovers() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let pending = world.pending_device(TENANT_A).await;
    let unclaimed = world.pending_device(TENANT_A).await;
    world.decide(&unclaimed, "approve").await.expect(200);
    world.clock.advance_days(70);
    let token = world.token(TENANT_A).await;
    // Tables that are behind when the log fails would be told as such.
    world.assert_projections_follow().await;
    for is_reading in [true, false] {
        let switch = if is_reading { &world.store.reads_fail } else { &world.store.appends_fail };
        switch.set(true);
        let token_id = token["id"].as_str().unwrap();
        let calls = [
            world.post("/api/registration-tokens").admin(Role::Admin).json(&json!({"tenantId": TENANT_A})),
            world.delete(format!("/api/registration-tokens/{token_id}")).admin(Role::Admin),
            world.post("/api/devices").json(&json!({
                "tenantId": TENANT_A, "token": token["token"], "deviceName": "x",
            })),
            world.post(pending.route("approve")).admin(Role::Admin),
            world.post(pending.route("decommission")).admin(Role::Admin),
            world.patch(format!("/api/devices/{}", pending.id)).admin(Role::Admin).json(&json!({"deviceName": "y"})),
            world.post(unclaimed.route("api-key/claim")).bearer(&unclaimed.claim_secret),
            world.post(device.route("rotate-api-key")).admin(Role::Admin),
            world.post(device.route("revoke-api-key")).admin(Role::Admin),
            world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()})),
            world.post(certificate.renew_route()).certificate(&certificate).json(&json!({"csrPem": csr()})),
            world.delete(certificate.route()).admin(Role::Admin),
        ];
        for call in calls {
            let answer = call.send().await;
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
            let code = if answer.body["code"] == "AUTH_STATE_STALE" {
                ErrorCode::AuthStateStale
            } else {
                ErrorCode::StoreUnavailable
            };
            let problem = answer.problem(code);
            assert!(!problem["detail"].as_str().unwrap().contains("disk"), "no insides are shown");
        }
        switch.set(false);
    }
    assert_eq!(world.types(&pending.stream()).await, ["device.registered"]);
    world.decide(&pending, "approve").await.expect(200);
    world.index.wait_until_ready(PATIENCE).await.unwrap();
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
}

/// What happens to an approved device behind this node's back, as on another node.
pub(crate) async fn happens_elsewhere(world: &World, device: &TestDevice, event: impl Into<DeviceEvent>) {
    let batch = Batch {
        metadata: CommandMetadata {
            actor: Actor::system("another-node"),
            correlation_id: CorrelationId::parse("c").unwrap(),
            causation_id: None,
            idempotency: None,
        },
        writes: vec![StreamWrite {
            stream: device.stream(),
            expected: ExpectedVersion::Exact(Version(2)),
            events: new_events(Some(tenant(TENANT_A)), [event.into()]),
        }],
    };
    world.store.append(batch).await.unwrap();
}

#[tokio::test]
async fn nobody_is_let_in_on_a_state_that_may_be_out_of_date() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.heartbeat_by_key(&device).await.expect(200);
    world.assert_projections_follow().await;
    world.store.is_frozen.send_replace(true);
    happens_elsewhere(&world, &device, DeviceSuspended(DecisionReason { reason: None })).await;
    until("the index ages", || world.index.age() > Duration::from_secs(2)).await;
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::AuthStateStale);
    world.heartbeat_by_key(&device).await.problem(ErrorCode::AuthStateStale);
    world.store.is_frozen.send_replace(false);
    world.assert_projections_follow().await;
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::DeviceNotApproved);
}

#[tokio::test]
async fn a_store_that_is_gone_closes_the_door_when_the_state_has_aged() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.store.reads_fail.set(true);
    until("the index ages", || world.index.age() > Duration::from_secs(2)).await;
    let (answer, attempts) = world.attempts_during(world.heartbeat_by_certificate(&device, &certificate)).await;
    answer.problem(ErrorCode::AuthStateStale);
    assert!(attempts.is_empty(), "it was not judged");
    world.store.reads_fail.set(false);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
}

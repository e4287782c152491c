//! What admins decide on devices: which transitions there are, who may, and who wins where several decide at once.

use std::sync::Arc;

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use tokio::task::JoinSet;

use crate::world::fleet::TestDevice;
use crate::world::{TENANT_A, World};

const ACTIONS: [&str; 5] = ["approve", "reject", "suspend", "reinstate", "decommission"];

/// A device that was led to a status.
async fn device_in(world: &World, status: &str) -> TestDevice {
    let device = world.pending_device(TENANT_A).await;
    let path: &[&str] = match status {
        "Pending" => &[],
        "Approved" => &["approve"],
        "Rejected" => &["reject"],
        "Suspended" => &["approve", "suspend"],
        "Decommissioned" => &["decommission"],
        other => panic!("{other}"),
    };
    for action in path {
        world.decide(&device, action).await.expect(200);
    }
    device
}

#[tokio::test]
async fn every_transition_is_allowed_or_refused_by_the_device_s_status() {
    let world = World::new().await;
    for (status, allowed) in [
        ("Pending", &[("approve", "Approved"), ("reject", "Rejected"), ("decommission", "Decommissioned")][..]),
        ("Approved", &[("suspend", "Suspended"), ("decommission", "Decommissioned")]),
        ("Rejected", &[("decommission", "Decommissioned")]),
        ("Suspended", &[("reinstate", "Approved"), ("decommission", "Decommissioned")]),
        ("Decommissioned", &[]),
    ] {
        for action in ACTIONS {
            let device = device_in(&world, status).await;
            let answer = world.decide(&device, action).await;
            if let Some((_, to)) = allowed.iter().find(|(name, _)| *name == action) {
                assert!(answer.position().is_some());
                assert_eq!(answer.expect(200), json!({"deviceId": device.id, "status": to}), "{status} {action}");
            } else {
                let problem = answer.problem(ErrorCode::InvalidState);
                assert_eq!(problem["deviceStatus"], status, "{status} {action}");
            }
        }
    }
}

#[tokio::test]
async fn each_role_decides_what_it_may() {
    let world = World::new().await;
    for action in ACTIONS {
        let device = device_in(&world, "Pending").await;
        let decide = || world.post(device.route(action));
        decide().send().await.problem(ErrorCode::AuthenticationRequired);
        decide().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
        let by_operator = decide().admin(Role::Operator).send().await;
        match action {
            "decommission" => drop(by_operator.problem(ErrorCode::Forbidden)),
            "approve" | "reject" => drop(by_operator.expect(200)),
            _ => drop(by_operator.problem(ErrorCode::InvalidState)),
        }
    }
    let device = device_in(&world, "Pending").await;
    let rename = || world.patch(format!("/api/devices/{}", device.id)).json(&json!({"deviceName": "new"}));
    rename().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
    rename().admin(Role::Operator).send().await.problem(ErrorCode::Forbidden);
    rename().admin(Role::Admin).send().await.expect(200);
}

#[tokio::test]
async fn a_device_decides_nothing_not_even_on_itself() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    for action in ACTIONS {
        let call = world.post(device.route(action)).device(&device).certificate(&certificate);
        call.send().await.problem(ErrorCode::AuthenticationRequired);
        let call = world.post(device.route(action)).bearer(&device.claim_secret);
        call.send().await.problem(ErrorCode::InvalidToken);
    }
}

#[tokio::test]
async fn the_key_s_validity_is_bounded_at_the_approval() {
    let world = World::new().await;
    let mut device = world.pending_device(TENANT_A).await;
    let approve = |days: Value| {
        world.post(device.route("approve")).admin(Role::Admin).json(&json!({"apiKeyExpirationDays": days}))
    };
    for days in [json!(0), json!(731), json!(-1), json!("90")] {
        assert_eq!(approve(days).send().await.pointers(), ["/apiKeyExpirationDays"]);
    }
    approve(json!(730)).send().await.expect(200);
    world.clock.advance_days(1);
    let claimed = world.claim(&device).await.expect(200);
    assert_eq!(claimed["expiresAt"], world.now().plus_days(730).to_string(), "counted from the claim on");
    device.api_key = claimed["apiKey"].as_str().unwrap().to_owned();
    world.clock.advance_seconds(730 * 86_400 - 1);
    world.heartbeat_by_key(&device).await.expect(200);
    world.clock.advance_seconds(1);
    let (answer, attempts) = world.attempts_during(world.heartbeat_by_key(&device)).await;
    answer.problem(ErrorCode::ApiKeyExpired);
    assert_eq!(attempts, [("ApiKey".into(), "API_KEY_EXPIRED".into())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_who_approve_and_reject_at_once_one_wins() {
    let world = Arc::new(World::new().await);
    for _ in 0..5 {
        let device = world.pending_device(TENANT_A).await;
        let mut tasks = JoinSet::new();
        for action in ["approve", "reject"].repeat(8) {
            let (world, device) = (Arc::clone(&world), device.clone());
            tasks.spawn(async move {
                let answer = world.decide(&device, action).await;
                if answer.status == 200 {
                    Some(answer.expect(200)["status"].clone())
                } else {
                    answer.problem(ErrorCode::InvalidState);
                    None
                }
            });
        }
        let winners: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        let types = world.types(&device.stream()).await;
        let decided = if winners[0] == "Approved" { "device.approved" } else { "device.rejected" };
        assert_eq!(types, ["device.registered", decided]);
    }
}

#[tokio::test]
async fn a_suspension_holds_from_its_answer_to_the_reinstatement() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.decide(&device, "suspend").await.expect(200);
    let (answer, attempts) = world.attempts_during(world.heartbeat_by_certificate(&device, &certificate)).await;
    answer.problem(ErrorCode::DeviceNotApproved);
    assert_eq!(attempts, [("Certificate".into(), "DEVICE_NOT_APPROVED".into())]);
    world.heartbeat_by_key(&device).await.problem(ErrorCode::DeviceNotApproved);
    world.decide(&device, "reinstate").await.expect(200);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.heartbeat_by_key(&device).await.expect(200);
}

#[tokio::test]
async fn decommissioning_ends_every_credential_in_its_own_append() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let call = world.post(device.route("decommission")).admin(Role::Admin).json(&json!({"reason": "scrapped"}));
    let position = call.send().await.position().unwrap();
    assert_eq!(*world.types(&device.keys()).await.last().unwrap(), "api_key.revoked");
    assert_eq!(*world.types(&device.certificates()).await.last().unwrap(), "certificate.revoked");
    let log = world.log().await;
    let last: Vec<&str> = log.iter().rev().take(3).map(|r| r.envelope.event_type.as_str()).collect();
    assert_eq!(last, ["certificate.revoked", "api_key.revoked", "device.decommissioned"]);
    assert_eq!(log.last().unwrap().envelope.position, position);
    let data: Value = serde_json::from_slice(&log.last().unwrap().envelope.data).unwrap();
    assert_eq!((&data["reason"], &data["reasonCode"]), (&json!("scrapped"), &json!("cessationOfOperation")));
    let answer = world.heartbeat_by_certificate(&device, &certificate).await;
    answer.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_key(&device).await.problem(ErrorCode::ApiKeyRevoked);
    world.claim(&device).await.problem(ErrorCode::DeviceNotApproved);
}

#[tokio::test]
async fn a_device_gets_another_name_and_other_metadata() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let change = |body: Value| world.patch(format!("/api/devices/{}", device.id)).admin(Role::Admin).json(&body);
    let body = json!({"deviceName": "Lager Süd", "metadata": {"floor": 3}});
    let expected = json!({
        "deviceId": device.id, "deviceName": "Lager Süd", "metadata": {"floor": 3}, "tags": [], "status": "Pending",
        "certificateProfile": "device",
    });
    assert_eq!(change(body.clone()).send().await.expect(200), expected);
    let again = change(body).send().await;
    assert!(again.position().is_some(), "nothing changed, and a reader can wait for it");
    assert_eq!(again.expect(200), expected);
    let only_metadata = change(json!({"metadata": {}})).send().await.expect(200);
    assert_eq!((&only_metadata["deviceName"], &only_metadata["metadata"]), (&json!("Lager Süd"), &json!({})));
    for (body, pointer) in [
        (json!({"deviceName": " "}), "/deviceName"),
        (json!({"status": "Approved"}), "/status"),
        (json!({"metadata": {"k": "x".repeat(9_000)}}), "/metadata"),
    ] {
        assert_eq!(change(body).send().await.pointers(), [pointer]);
    }
    world.decide(&device, "reject").await.expect(200);
    change(json!({"deviceName": "x"})).send().await.problem(ErrorCode::InvalidState);
}

#[tokio::test]
async fn a_reason_is_kept_and_stays_on_one_line() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let reject = |reason: &str| world.post(device.route("reject")).admin(Role::Admin).json(&json!({"reason": reason}));
    for hostile in ["a\nb", "", "\u{1b}[2J", &"x".repeat(513)] {
        assert_eq!(reject(hostile).send().await.pointers(), ["/reason"]);
    }
    reject("not one of ours").send().await.expect(200);
    let log = world.log().await;
    let rejected = log.last().unwrap();
    let data: Value = serde_json::from_slice(&rejected.envelope.data).unwrap();
    assert_eq!(data, json!({"reason": "not one of ours"}));
    assert_eq!(rejected.envelope.actor.id, "admin@example");
    assert_eq!(rejected.envelope.actor.kind.as_str(), "admin");
}

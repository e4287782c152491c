//! While the event log is not to be relied on: nobody is let in, nothing is granted, and taking away goes on.

use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};

use crate::world::fleet::{csr, new_claim_secret};
use crate::world::{TENANT_A, World};

#[tokio::test]
async fn no_device_is_let_in_by_any_credential() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let waiting = world.pending_device(TENANT_A).await;
    world.log_lock.engage();
    let ((), attempts) = world
        .attempts_during(async {
            world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::LogRolledBack);
            world.heartbeat_by_key(&device).await.problem(ErrorCode::LogRolledBack);
            world.claim(&waiting).await.problem(ErrorCode::LogRolledBack);
            let renewal = world.post(certificate.renew_route()).certificate(&certificate);
            renewal.json(&json!({"csrPem": csr()})).send().await.problem(ErrorCode::LogRolledBack);
        })
        .await;
    assert!(attempts.is_empty(), "nothing was judged: {attempts:?}");
    world.log_lock.release();
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
}

#[tokio::test]
async fn nothing_is_granted_to_anybody() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let waiting = world.pending_device(TENANT_A).await;
    let token = world.token(TENANT_A).await;
    let before = world.log().await.len();
    world.log_lock.engage();
    world.register_with(&token, &new_claim_secret()).await.problem(ErrorCode::LogRolledBack);
    world.decide(&waiting, "approve").await.problem(ErrorCode::LogRolledBack);
    let admin = |route: String| world.post(route).admin(Role::Admin);
    let tokens = admin("/api/registration-tokens".into()).json(&json!({"tenantId": TENANT_A}));
    tokens.send().await.problem(ErrorCode::LogRolledBack);
    let issue = admin(device.issue_route()).json(&json!({"csrPem": csr()}));
    issue.send().await.problem(ErrorCode::LogRolledBack);
    let rotate = admin(device.route("rotate-api-key")).json(&json!({}));
    rotate.send().await.problem(ErrorCode::LogRolledBack);
    assert_eq!(world.log().await.len(), before, "nothing was recorded");
}

#[tokio::test]
async fn admins_take_away_what_they_want() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let (waiting, other) = (world.pending_device(TENANT_A).await, world.approved_device(TENANT_A).await);
    let token = world.token(TENANT_A).await;
    world.log_lock.engage();
    let stolen = json!({"jti": "stolen"});
    world.post("/api/admin-tokens/revoke").admin(Role::Admin).json(&stolen).send().await.expect(204);
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    world.post(device.route("revoke-api-key")).admin(Role::Admin).send().await.expect(204);
    world.decide(&device, "suspend").await.expect(200);
    world.decide(&device, "reinstate").await.problem(ErrorCode::LogRolledBack);
    world.decide(&waiting, "reject").await.expect(200);
    world.decide(&other, "decommission").await.expect(200);
    let id = token["id"].as_str().unwrap();
    world.delete(format!("/api/registration-tokens/{id}")).admin(Role::Admin).send().await.expect(204);
    world.log_lock.release();
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::CertificateRevoked);
}

//! Revoking: at once, on open connections too, and again without effect.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde_json::json;
use signalbeam_authn::{Connection, ErrorCode, Role};

use crate::world::{TENANT_A, TENANT_B, World};

#[tokio::test]
async fn a_revocation_reaches_a_connection_that_is_open() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let chain = vec![CertificateDer::from(certificate.der.clone())];
    let open = Arc::new(Connection::with_certificates("198.51.100.7:1".parse().unwrap(), chain));
    let heartbeat = || world.post(device.route("heartbeat")).on(&open);
    heartbeat().send().await.expect(200);
    heartbeat().send().await.expect(200);
    let revoke = || world.delete(certificate.route()).admin(Role::Admin);
    let first = revoke().json(&json!({"reason": "stolen"})).send().await;
    assert!(first.position().is_some());
    first.expect(204);
    heartbeat().send().await.problem(ErrorCode::CertificateRevoked);
    let again = revoke().send().await;
    assert!(again.position().is_some(), "whoever lost the first answer can wait for it");
    again.expect(204);
    assert_eq!(*world.types(&device.certificates()).await.last().unwrap(), "certificate.revoked");
    world.certificate_of(&device).await;
}

#[tokio::test]
async fn only_an_admin_of_the_tenant_revokes() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let revoke = || world.delete(certificate.route());
    revoke().send().await.problem(ErrorCode::AuthenticationRequired);
    revoke().device(&device).certificate(&certificate).send().await.problem(ErrorCode::AuthenticationRequired);
    revoke().admin(Role::Operator).send().await.problem(ErrorCode::Forbidden);
    revoke().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
    revoke().admin_of(Role::Admin, TENANT_B).send().await.problem(ErrorCode::NotFound);
    let unknown = world.delete(format!("/api/certificates/{}", "4a".repeat(20))).admin(Role::Admin);
    unknown.send().await.problem(ErrorCode::NotFound);
    let odd = world.delete("/api/certificates/zz").admin(Role::Admin).send().await;
    assert_eq!(odd.pointers(), ["/path/serialNumber"]);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    revoke().admin_of(Role::Admin, TENANT_A).send().await.expect(204);
}

#[tokio::test]
async fn a_superseded_certificate_can_be_revoked_for_the_record() {
    let world = World::new().await;
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    let new = world.certificate_of(&device).await;
    world.delete(old.route()).admin(Role::Admin).send().await.expect(204);
    world.heartbeat_by_certificate(&device, &old).await.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
}

#[tokio::test]
async fn a_certificate_that_ended_long_ago_is_still_revoked_without_effect() {
    let world = World::new().await;
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let revoke = || world.delete(certificate.route()).admin(Role::Admin);
    revoke().send().await.expect(204);
    world.clock.advance_days(90 + 31);
    world.token(TENANT_A).await;
    revoke().send().await.expect(204);
}

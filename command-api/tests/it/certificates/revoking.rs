//! Revoking: at once, on open connections too, and again without effect.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use signalbeam_authn::{Connection, ErrorCode, Role};
use signalbeam_domain::RevocationReason;

use crate::world::fleet::TestDevice;
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

/// What the last event of the device's certificates says.
async fn last_event(world: &World, device: &TestDevice) -> Value {
    serde_json::to_value(world.events(&device.certificates()).await.last().unwrap()).unwrap()
}

#[tokio::test]
async fn a_revocation_keeps_the_reason_that_was_given_first() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let serial = certificate.serial_number();
    let revoke = |body| world.delete(certificate.route()).admin(Role::Admin).json(&body).send();
    for unknown in ["certificateHold", "removeFromCRL", "keycompromise", "1"] {
        let refused = revoke(json!({"reasonCode": unknown})).await.problem(ErrorCode::InvalidRequest);
        assert_eq!(refused["errors"][0]["pointer"], "/reasonCode");
        let detail = refused["errors"][0]["detail"].as_str().unwrap();
        for reason in RevocationReason::ALL {
            assert!(detail.contains(reason.as_str()), "{detail}");
        }
    }
    revoke(json!({"reason": "opened", "reasonCode": "keyCompromise"})).await.expect(204);
    let recorded = json!({"serialNumber": serial, "reason": "opened", "reasonCode": "keyCompromise"});
    assert_eq!(last_event(&world, &device).await, recorded);
    revoke(json!({"reasonCode": "cessationOfOperation"})).await.expect(204);
    assert_eq!(last_event(&world, &device).await, recorded);
}

#[tokio::test]
async fn a_superseded_certificate_becomes_revoked_for_the_reason_given() {
    let world = World::new().await;
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    world.certificate_of(&device).await;
    let revoke = world.delete(old.route()).admin(Role::Admin).json(&json!({"reasonCode": "keyCompromise"}));
    revoke.send().await.expect(204);
    let recorded = json!({"serialNumber": old.serial_number(), "reasonCode": "keyCompromise"});
    assert_eq!(last_event(&world, &device).await, recorded);
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

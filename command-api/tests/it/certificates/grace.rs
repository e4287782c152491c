//! An expired certificate may renew itself for as long as an operator grants, and do nothing else.

use rcgen::KeyPair;
use serde_json::json;
use signalbeam_authn::{AuthenticationPolicy, ErrorCode, Role};

use super::renewing::renew;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr, csr_over};
use crate::world::{TENANT_A, World};

const GRACE_DAYS: i64 = 7;
const DAY_SECONDS: i64 = 86_400;

async fn world() -> World {
    let renewal_grace_days = u16::try_from(GRACE_DAYS).unwrap();
    World::with(AuthenticationPolicy { renewal_grace_days, ..AuthenticationPolicy::default() }).await
}

/// A device whose certificate expired so many seconds ago.
async fn expired(world: &World, seconds_ago: i64) -> (TestDevice, DeviceCertificate) {
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_seconds(90 * DAY_SECONDS + seconds_ago);
    (device, certificate)
}

#[tokio::test]
async fn an_expired_certificate_renews_itself_up_to_the_last_second_of_the_grace() {
    let world = world().await;
    let (device, old) = expired(&world, GRACE_DAYS * DAY_SECONDS).await;
    let renewing = renew(&world, &old, &csr()).certificate(&old).send();
    let (answer, attempts) = world.attempts_during(renewing).await;
    let new = DeviceCertificate::shown(answer.expect(201));
    let expected = [("Certificate", "CERTIFICATE_EXPIRED"), ("Certificate", "ok")].map(|(m, c)| (m.into(), c.into()));
    assert_eq!(attempts, expected, "recorded as what it is");
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    world.heartbeat_by_certificate(&device, &old).await.problem(ErrorCode::CertificateExpired);

    let (_, old) = expired(&world, GRACE_DAYS * DAY_SECONDS + 1).await;
    renew(&world, &old, &csr()).certificate(&old).send().await.problem(ErrorCode::CertificateExpired);
}

#[tokio::test]
async fn without_a_grace_it_does_not() {
    let world = World::new().await;
    let (_, old) = expired(&world, 1).await;
    renew(&world, &old, &csr()).certificate(&old).send().await.problem(ErrorCode::CertificateExpired);
}

#[tokio::test]
async fn it_does_nothing_else() {
    let world = world().await;
    let (device, old) = expired(&world, 1).await;
    world.heartbeat_by_certificate(&device, &old).await.problem(ErrorCode::CertificateExpired);
    let rotation = world.post(device.route("rotate-api-key")).certificate(&old).send().await;
    rotation.problem(ErrorCode::CertificateExpired);
    let issue = world.post(device.issue_route()).certificate(&old).json(&json!({"csrPem": csr()})).send().await;
    assert!(issue.status.is_client_error());
    let bare = world.post(old.renew_route()).certificate(&old).send().await;
    bare.problem(ErrorCode::CertificateExpired);
    let (other, others) = world.device_with_certificate(TENANT_A).await;
    let foreign = renew(&world, &others, &csr()).certificate(&old).send().await;
    foreign.problem(ErrorCode::CertificateExpired);
    world.heartbeat_by_certificate(&other, &others).await.expect(200);
    let by_key = world.post(device.route("rotate-api-key")).admin(Role::Admin).send().await.expect(200);
    let by_key = renew(&world, &old, &csr()).api_key(by_key["apiKey"].as_str().unwrap()).send().await;
    by_key.problem(ErrorCode::CertificateNotRenewable);
}

#[tokio::test]
async fn a_revoked_or_superseded_one_and_a_device_out_of_service_get_nothing() {
    let world = world().await;
    let (_, revoked) = expired(&world, 1).await;
    world.delete(revoked.route()).admin(Role::Admin).send().await.expect(204);
    renew(&world, &revoked, &csr()).certificate(&revoked).send().await.problem(ErrorCode::CertificateExpired);

    let (device, old) = expired(&world, 1).await;
    world.decide(&device, "suspend").await.expect(200);
    renew(&world, &old, &csr()).certificate(&old).send().await.problem(ErrorCode::CertificateExpired);
    world.decide(&device, "reinstate").await.expect(200);
    let issue = world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()}));
    issue.send().await.expect(201);
    renew(&world, &old, &csr()).certificate(&old).send().await.problem(ErrorCode::CertificateExpired);
}

#[tokio::test]
async fn a_renewal_within_the_grace_may_be_repeated_within_it() {
    let world = world().await;
    let (device, old) = expired(&world, 1).await;
    let key = KeyPair::generate().unwrap();
    let again = || renew(&world, &old, &csr_over(&key)).certificate(&old);
    let first = again().send().await.expect(201);
    assert_eq!(again().send().await.expect(200), first);
    let new = DeviceCertificate::shown(first);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    again().send().await.problem(ErrorCode::CertificateExpired);

    let (_, old) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(89);
    let again = || renew(&world, &old, &csr_over(&key)).certificate(&old);
    let first = again().send().await.expect(201);
    world.clock.advance_days(3);
    assert_eq!(again().send().await.expect(200), first, "renewed in time, and the answer was lost");
}

#[tokio::test]
async fn the_authoritys_own_end_still_counts() {
    let world = world().await;
    // A certificate never outlives its authority: this one ends with it.
    world.clock.advance_days(3_652 - 30);
    let (_, old) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(31);
    renew(&world, &old, &csr()).certificate(&old).send().await.problem(ErrorCode::CertificateExpired);
}

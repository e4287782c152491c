//! By the certificate itself, or by the device's id and API key: the rules of a renewal.

use signalbeam_authn::{ErrorCode, Role};

use super::*;
use crate::world::{TENANT_A, World};

/// A device whose certificate may be renewed.
async fn renewable(world: &World) -> (TestDevice, DeviceCertificate) {
    let found = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(61);
    found
}

#[tokio::test]
async fn a_certificate_renews_itself_in_its_window() {
    let world = World::new().await;
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    let by_old = || world.post(REENROL).certificate(&old);
    let early = by_old().asking(&request()).send().await.problem(ErrorCode::CertificateNotRenewable);
    assert!(early["renewableFrom"].is_string());
    world.clock.advance_days(61);
    let (answer, attempts) = world.attempts_during(by_old().asking(&request()).send()).await;
    assert_eq!(attempts, [("Certificate".to_owned(), "ok".to_owned())]);
    let new = world.shown(&device, answer.issued()).await;
    world.heartbeat_by_certificate(&device, &old).await.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
}

#[tokio::test]
async fn a_lost_answer_is_given_again_to_the_same_key_until_the_successor_is_used() {
    let world = World::new().await;
    let (device, old) = renewable(&world).await;
    let request = request();
    let by_old = || world.post(REENROL).certificate(&old);
    let der = by_old().asking(&request).send().await.issued();
    let events = world.log().await.len();
    assert_eq!(by_old().asking(&request).send().await.issued(), der);
    by_old().asking(&super::request()).send().await.challenged(ErrorCode::CertificateRevoked);
    by_old().asking("nonsense").send().await.challenged(ErrorCode::CertificateRevoked);
    assert_eq!(world.log().await.len(), events);
    let new = world.shown(&device, der).await;
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    by_old().asking(&request).send().await.challenged(ErrorCode::CertificateRevoked);
}

#[tokio::test]
async fn what_was_renewed_by_the_other_route_is_given_again_here() {
    let world = World::new().await;
    let (_, old) = renewable(&world).await;
    let key = KeyPair::generate().unwrap();
    let body = serde_json::json!({"csrPem": crate::world::fleet::csr_over(&key)});
    let renewed = world.post(old.renew_route()).certificate(&old).json(&body).send().await.expect(201);
    let again = world.post(REENROL).certificate(&old).asking(&request_over(&key)).send().await.issued();
    assert_eq!(again, DeviceCertificate::shown(renewed).der);
}

#[tokio::test]
async fn without_a_certificate_the_api_key_renews_the_active_one() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let by_key = || world.post(REENROL).basic_device(&device);
    by_key().asking(&request()).send().await.problem(ErrorCode::CertificateNotRenewable);
    let first = world.enrolled(&device, &request()).await;
    by_key().asking(&request()).send().await.problem(ErrorCode::CertificateNotRenewable);
    world.clock.advance_days(61);
    let request = request();
    let der = by_key().asking(&request).send().await.issued();
    assert_eq!(by_key().asking(&request).send().await.issued(), der, "its answer may have been lost");
    let new = world.shown(&device, der).await;
    world.heartbeat_by_certificate(&device, &first).await.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    by_key().asking(&request).send().await.problem(ErrorCode::CertificateNotRenewable);
}

#[tokio::test]
async fn a_certificate_stands_or_falls_alone() {
    let world = World::new().await;
    let (device, certificate) = renewable(&world).await;
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    let call = world.post(REENROL).certificate(&certificate).basic_device(&device).device(&device).asking(&request());
    let (answer, attempts) = world.attempts_during(call.send()).await;
    answer.challenged(ErrorCode::CertificateRevoked);
    assert_eq!(attempts, [("Certificate".to_owned(), "CERTIFICATE_REVOKED".to_owned())]);
    let bare = world.post(REENROL).asking(&request());
    bare.clone().send().await.challenged(ErrorCode::AuthenticationRequired);
    bare.device(&device).send().await.challenged(ErrorCode::AuthenticationRequired);
}

#[tokio::test]
async fn a_bad_request_by_a_good_certificate_changes_nothing() {
    let world = World::new().await;
    let (device, certificate) = renewable(&world).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let before = world.log().await.len();
    let by = || world.post(REENROL).certificate(&certificate);
    by().asking("AAAA").send().await.problem(ErrorCode::InvalidCsr);
    by().asking("%").send().await.problem(ErrorCode::InvalidRequest);
    by().raw(request()).send().await.problem(ErrorCode::UnsupportedMediaType);
    assert_eq!(world.log().await.len(), before);
    by().asking(&request()).send().await.issued();
}

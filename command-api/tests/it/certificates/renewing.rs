//! Renewing: in the window, by certificate or API key; and again where the answer was lost.

use rcgen::KeyPair;
use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};

use crate::world::call::Call;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr, csr_over};
use crate::world::{TENANT_A, TENANT_B, World};

/// A device whose certificate, of 90 days, is in its renewal window.
pub(super) async fn due(world: &World) -> (TestDevice, DeviceCertificate) {
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(60);
    (device, certificate)
}

pub(super) fn renew<'a>(world: &'a World, certificate: &DeviceCertificate, csr: &str) -> Call<'a> {
    world.post(certificate.renew_route()).json(&json!({"csrPem": csr}))
}

#[tokio::test]
async fn the_window_opens_thirty_days_before_the_end_and_closes_with_it() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_seconds(60 * 86_400 - 1);
    let early = renew(&world, &certificate, &csr()).certificate(&certificate).send().await;
    let problem = early.problem(ErrorCode::CertificateNotRenewable);
    assert_eq!(problem["renewableFrom"], world.now().plus_seconds(1).to_string());
    let by_key = renew(&world, &certificate, &csr()).device(&device).send().await;
    by_key.problem(ErrorCode::CertificateNotRenewable);
    let heartbeat = world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    assert_eq!(heartbeat["certificate"]["renewalRequired"], false);
    world.clock.advance_seconds(1);
    let heartbeat = world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    assert_eq!(heartbeat["certificate"]["renewalRequired"], true);
    let renewed = renew(&world, &certificate, &csr()).certificate(&certificate).send().await.expect(201);
    assert_eq!(renewed["expiresAt"], world.now().plus_days(90).to_string());

    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_seconds(90 * 86_400 + 1);
    let rotated = world.post(device.route("rotate-api-key")).admin(Role::Admin).send().await.expect(200);
    let late = renew(&world, &certificate, &csr()).certificate(&certificate);
    late.clone().send().await.problem(ErrorCode::CertificateExpired);
    let by_key = late.api_key(rotated["apiKey"].as_str().unwrap()).send().await;
    assert!(by_key.problem(ErrorCode::CertificateNotRenewable)["renewableFrom"].is_null());
}

#[tokio::test]
async fn by_certificate_a_signing_request_is_needed_and_by_key_it_is_not() {
    let world = World::new().await;
    let (device, certificate) = due(&world).await;
    let bare = || world.post(certificate.renew_route());
    bare().certificate(&certificate).send().await.problem(ErrorCode::CsrRequired);
    let garbage = renew(&world, &certificate, "garbage").certificate(&certificate);
    garbage.send().await.problem(ErrorCode::InvalidCsr);
    for days in [0, 398] {
        let body = json!({"csrPem": csr(), "validityDays": days});
        let call = world.post(certificate.renew_route()).certificate(&certificate).json(&body);
        assert_eq!(call.send().await.pointers(), ["/validityDays"]);
    }
    let answer = bare().device(&device).send().await.expect(201);
    assert!(answer["privateKeyPem"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[tokio::test]
async fn the_old_certificate_is_good_for_nothing_any_more() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let new = renew(&world, &old, &csr()).certificate(&old).send().await.expect(201);
    let new = DeviceCertificate::shown(new);
    let (answer, attempts) = world.attempts_during(world.heartbeat_by_certificate(&device, &old)).await;
    answer.problem(ErrorCode::CertificateRevoked);
    assert_eq!(attempts, [("Certificate".into(), "CERTIFICATE_REVOKED".into())]);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    let types = world.types(&device.certificates()).await;
    let tail = ["certificate.intended", "certificate.superseded", "certificate.issued", "certificate.first_used"];
    assert_eq!(types[types.len() - 4..], tail);
}

#[tokio::test]
async fn a_lost_answer_is_answered_again_to_the_same_key_alone() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let key = KeyPair::generate().unwrap();
    let first = renew(&world, &old, &csr_over(&key)).certificate(&old).send().await.expect(201);
    world.clock.advance_seconds(600);
    let again = renew(&world, &old, &csr_over(&key)).certificate(&old).send();
    let (answer, attempts) = world.attempts_during(again).await;
    assert!(answer.position().is_some(), "that of the first answer");
    assert_eq!(answer.expect(200), first, "the same certificate, issued when it was issued");
    assert_eq!(attempts, [("Certificate".into(), "ok".into())]);
    let events = world.log().await.len();

    let other_key = renew(&world, &old, &csr()).certificate(&old);
    other_key.send().await.problem(ErrorCode::CertificateRevoked);
    let without = world.post(old.renew_route()).certificate(&old);
    without.send().await.problem(ErrorCode::CertificateRevoked);
    let elsewhere = world.post(format!("/api/certificates/{}/renew", first["serialNumber"].as_str().unwrap()));
    let elsewhere = elsewhere.certificate(&old).json(&json!({"csrPem": csr_over(&key)}));
    elsewhere.send().await.problem(ErrorCode::CertificateRevoked);
    let malformed = world.post(old.renew_route()).certificate(&old).raw("{");
    malformed.send().await.problem(ErrorCode::CertificateRevoked);
    let by_key = renew(&world, &old, &csr()).device(&device).send().await;
    assert!(by_key.problem(ErrorCode::CertificateNotRenewable)["renewableFrom"].is_null());
    let same_by_key = renew(&world, &old, &csr_over(&key)).device(&device).send().await;
    assert_eq!(same_by_key.expect(200), first);
    let appended = world.log().await.split_off(events);
    let types: Vec<_> = appended.iter().map(|recorded| recorded.envelope.event_type.as_str()).collect();
    assert_eq!(types, ["certificate.reuse_suspected"], "nothing was issued");
}

#[tokio::test]
async fn it_is_not_repeated_once_the_successor_is_used() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let csr = csr();
    let new = DeviceCertificate::shown(renew(&world, &old, &csr).certificate(&old).send().await.expect(201));
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    renew(&world, &old, &csr).certificate(&old).send().await.problem(ErrorCode::CertificateRevoked);
}

#[tokio::test]
async fn nor_once_the_successor_or_the_old_one_is_revoked_or_the_device_suspended() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let csr = csr();
    let again = || renew(&world, &old, &csr).certificate(&old);
    let new = DeviceCertificate::shown(again().send().await.expect(201));
    world.decide(&device, "suspend").await.expect(200);
    let refused = again().send().await;
    assert!(refused.status.is_client_error());
    world.decide(&device, "reinstate").await.expect(200);
    again().send().await.expect(200);
    world.delete(new.route()).admin(Role::Admin).send().await.expect(204);
    again().send().await.problem(ErrorCode::CertificateRevoked);

    let (_, old) = due(&world).await;
    let again = || renew(&world, &old, &csr).certificate(&old);
    again().send().await.expect(201);
    world.delete(old.route()).admin(Role::Admin).send().await.expect(204);
    again().send().await.problem(ErrorCode::CertificateRevoked);
}

#[tokio::test]
async fn a_superseded_certificate_that_has_expired_repeats_nothing() {
    let world = World::new().await;
    let (_, old) = due(&world).await;
    let csr = csr();
    renew(&world, &old, &csr).certificate(&old).send().await.expect(201);
    world.clock.advance_days(31);
    renew(&world, &old, &csr).certificate(&old).send().await.problem(ErrorCode::CertificateExpired);
}

#[tokio::test]
async fn a_certificate_that_was_superseded_by_an_issue_repeats_no_renewal() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let csr = csr();
    let issue = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr}));
    issue.send().await.expect(201);
    renew(&world, &old, &csr).certificate(&old).send().await.problem(ErrorCode::CertificateRevoked);
}

#[tokio::test]
async fn nobody_renews_for_another_device() {
    let world = World::new().await;
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let (other, other_certificate) = world.device_with_certificate(TENANT_A).await;
    let foreign = world.approved_device(TENANT_B).await;
    world.clock.advance_days(60);
    let call = || renew(&world, &certificate, &csr());
    call().certificate(&other_certificate).send().await.problem(ErrorCode::NotFound);
    call().device(&other).send().await.problem(ErrorCode::NotFound);
    call().device(&foreign).send().await.problem(ErrorCode::NotFound);
    call().send().await.problem(ErrorCode::AuthenticationRequired);
    call().admin(Role::Admin).send().await.problem(ErrorCode::AuthenticationRequired);
    let odd = world.post("/api/certificates/7/renew").certificate(&certificate).send().await;
    assert_eq!(odd.pointers(), ["/path/serialNumber"]);
}

#[tokio::test]
async fn a_serial_number_may_be_written_in_capitals_or_with_colons() {
    let world = World::new().await;
    let (_, certificate) = due(&world).await;
    let pairs: Vec<&str> = (0..40).step_by(2).map(|at| &certificate.serial[at..at + 2]).collect();
    let path = format!("/api/certificates/{}/renew", pairs.join(":").to_uppercase());
    world.post(path).certificate(&certificate).json(&json!({"csrPem": csr()})).send().await.expect(201);
}

#[tokio::test]
async fn a_revocation_between_the_check_and_the_signature_wins() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    world.keys.close();
    let renewing = renew(&world, &old, &csr()).certificate(&old).send();
    let revoking = async {
        world.keys.arrival().await;
        world.delete(old.route()).admin(Role::Admin).send().await.expect(204);
        world.keys.open();
    };
    let (answer, ()) = tokio::join!(renewing, revoking);
    answer.problem(ErrorCode::CertificateNotRenewable);
    assert_eq!(*world.types(&device.certificates()).await.last().unwrap(), "certificate.abandoned");
}

#[tokio::test]
async fn a_renewal_that_could_not_be_signed_leaves_the_old_certificate_in_force() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    world.keys.signing_fails.set(true);
    let call = || renew(&world, &old, &csr()).certificate(&old);
    call().send().await.problem(ErrorCode::SigningUnavailable);
    world.heartbeat_by_certificate(&device, &old).await.expect(200);
    world.keys.signing_fails.set(false);
    call().send().await.expect(201);
}

//! The OCSP responder through its routes: what is said of every kind of certificate, by what it stands, and when nothing
//! is said at all.

mod asking;
mod failing;
mod signing;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_command_api::{ServiceCertificate, intend_service_certificate};
use signalbeam_domain::SerialNumber;
use signalbeam_domain::certificate::{AbandonCause, CertificateAbandoned, CertificateEvent};
use signalbeam_pki::ServiceKey;

use self::asking::{Asked, Responder, Said};
use crate::world::fleet::{DeviceCertificate, csr};
use crate::world::{PATIENCE, TENANT_A, World};

async fn revoke(world: &World, certificate: &DeviceCertificate) -> u64 {
    let answer = world
        .delete(certificate.route())
        .admin(Role::Admin)
        .json(&json!({"reason": "lost", "reasonCode": "keyCompromise"}));
    let answer = answer.send().await;
    let position = answer.position().unwrap().0;
    assert!(answer.status.is_success());
    position
}

#[tokio::test]
async fn a_certificate_is_good_until_the_very_answer_after_its_revocation() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    for _ in 0..3 {
        assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
        assert_eq!(responder.post(&asked.with_nonce()).await.says(&asked), [Said::Good]);
    }
    let revoked_at = revoke(&world, &certificate).await;
    for asked in [asked.clone(), asked.with_nonce(), asked.clone()] {
        let answer = responder.post(&asked).await;
        assert_eq!(answer.says(&asked), [Said::Revoked { reason: Some(1) }]);
        assert!(answer.position() >= revoked_at, "it is complete to the revocation");
    }
    let expired = world.clock.clone();
    expired.advance_days(500);
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Revoked { reason: Some(1) }], "known beyond its end");
}

#[tokio::test]
async fn what_was_replaced_is_revoked_as_superseded() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, old.serial_number());
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    let issue = world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()}));
    let new = DeviceCertificate::shown(issue.send().await.expect(201));
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Revoked { reason: Some(4) }]);
    let asked = Asked::about(&responder, new.serial_number());
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
}

#[tokio::test]
async fn what_was_never_issued_is_unknown() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let never = Asked::about(&responder, SerialNumber::from_random([0x55; 20]));
    for asked in [&never, &never.with_nonce(), &never] {
        assert_eq!(responder.post(asked).await.says(asked), [Said::Unknown]);
    }
    // One that was intended, and whose signing failed.
    world.keys.signing_fails.set(true);
    let issue = world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()}));
    issue.send().await.problem(ErrorCode::SigningUnavailable);
    world.keys.signing_fails.set(false);
    let events = world.events(&device.certificates()).await;
    let abandoned = events.into_iter().find_map(|event| match event {
        signalbeam_domain::Event::CertificateEvent(CertificateEvent::Abandoned(CertificateAbandoned {
            serial_number,
            cause: AbandonCause::SigningFailed,
        })) => Some(serial_number),
        _ => None,
    });
    let asked = Asked::about(&responder, abandoned.unwrap());
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Unknown]);
    // Short, long and negative numbers are nobody's.
    for serial in [&[1_u8][..], &[0x7f; 21], &[0x80; 20], &[0]] {
        let asked = Asked::about_octets(&responder, serial);
        assert_eq!(responder.post(&asked).await.says(&asked), [Said::Unknown], "{serial:x?}");
    }
    let asked = Asked::about(&responder, certificate.serial_number());
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
}

#[tokio::test]
async fn our_own_certificates_are_known_too() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let own = Asked::about(&responder, world.authority.serial_number());
    assert_eq!(responder.post(&own).await.says(&own), [Said::Good], "the root signed itself");
    let key = ServiceKey::generate().unwrap();
    let intent = intend_service_certificate(
        &*world.store,
        &world.authority,
        ServiceCertificate::TlsServer,
        &key,
        90,
        world.now(),
    );
    let intent = intent.await.unwrap();
    world.index.wait_for(intent.position.unwrap(), PATIENCE).await.unwrap();
    let server = Asked::about(&responder, intent.serial_number);
    assert_eq!(responder.post(&server).await.says(&server), [Said::Good]);
    for signer in responder.signers(&world).await {
        let asked = Asked::about(&responder, signer);
        assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    }
}

#[tokio::test]
async fn several_certificates_are_answered_together_and_foreign_ones_are_unknown() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, good) = world.device_with_certificate(TENANT_A).await;
    let (_, bad) = world.device_with_certificate(TENANT_A).await;
    revoke(&world, &bad).await;
    let foreign = Asked::foreign(good.serial_number());
    let unauthorized = responder.post(&foreign).await;
    assert_eq!(unauthorized.failure(), Some(6), "nothing of it is ours");
    let mixed = Asked::together(&[
        foreign,
        Asked::about(&responder, good.serial_number()),
        Asked::about(&responder, bad.serial_number()),
        Asked::about(&responder, SerialNumber::from_random([9; 20])),
    ]);
    let expected = [Said::Unknown, Said::Good, Said::Revoked { reason: Some(1) }, Said::Unknown];
    assert_eq!(responder.post(&mixed).await.says(&mixed), expected);
    assert_eq!(responder.post(&mixed.with_nonce()).await.says(&mixed), expected);
}

#[tokio::test]
async fn a_request_in_the_path_is_read_in_every_spelling() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    let plain = STANDARD.encode(&asked.der);
    let escaped = plain.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let spellings = [
        plain,
        escaped,
        STANDARD_NO_PAD.encode(&asked.der),
        URL_SAFE.encode(&asked.der),
        URL_SAFE_NO_PAD.encode(&asked.der),
    ];
    for spelling in spellings {
        let answer = responder.get(&format!("/ocsp/{spelling}"), None).await;
        assert_eq!(answer.says(&asked), [Said::Good], "{spelling}");
    }
    for bad in ["/ocsp/!", "/ocsp/%FF", "/ocsp/MAA", "/ocsp/a/b/c", &format!("/ocsp/{}", "A".repeat(20_000))] {
        assert_eq!(responder.get(bad, None).await.failure(), Some(1), "{bad:.30}");
    }
}

#[tokio::test]
async fn caches_keep_an_answer_for_a_minute_and_ask_by_its_tag() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    let path = format!("/ocsp/{}", URL_SAFE_NO_PAD.encode(&asked.der));
    let first = responder.get(&path, None).await;
    assert_eq!(first.headers["cache-control"], "max-age=60, public, no-transform, must-revalidate");
    assert_eq!(first.headers["last-modified"], "Sat, 31 Jan 2026 12:00:00 GMT");
    assert_eq!(first.headers["expires"], "Sat, 31 Jan 2026 13:00:00 GMT");
    let tag = first.headers["etag"].to_str().unwrap();
    let again = responder.get(&path, Some(tag)).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    revoke(&world, &certificate).await;
    let now = responder.get(&path, Some(tag)).await;
    assert_eq!(now.says(&asked), [Said::Revoked { reason: Some(1) }], "the tag is another answer's");
    for shared_with_nobody in [asked.with_nonce(), Asked::about(&responder, SerialNumber::from_random([5; 20]))] {
        let path = format!("/ocsp/{}", URL_SAFE_NO_PAD.encode(&shared_with_nobody.der));
        assert_eq!(responder.get(&path, None).await.headers["cache-control"], "no-store");
    }
    assert_eq!(responder.post(&asked).await.headers["cache-control"], "no-store");
}

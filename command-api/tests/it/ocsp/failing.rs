//! When nothing is vouched for, and requests of wrong shapes.

use std::time::Duration;

use signalbeam_authn::limits::LimitSettings;
use signalbeam_authn::limits::quota::Quota;
use signalbeam_authn::limits::tenants::TenantPolicy;
use signalbeam_domain::SerialNumber;

use super::asking::{Asked, Responder, Said, tlv};
use crate::world::{PATIENCE, TENANT_A, World};

const TRY_LATER: Option<u8> = Some(3);

#[tokio::test]
async fn what_is_no_request_is_malformed_under_200_and_another_media_type_is_not_read() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let asked = Asked::about(&responder, SerialNumber::from_random([9; 20]));
    let long_nonce = {
        let oid = tlv(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2]);
        let extension = tlv(0x30, &[oid, tlv(4, &tlv(4, &[1; 129]))].concat());
        let list = asked.der[4..].to_vec();
        tlv(0x30, &tlv(0x30, &[list, tlv(0xa2, &tlv(0x30, &extension))].concat()))
    };
    let mut trailing = asked.der.clone();
    trailing.push(0);
    for bad in [vec![], b"not DER".to_vec(), trailing, long_nonce, vec![0x30; 300_000]] {
        let answer = responder.post_as("application/ocsp-request", bad).await;
        assert_eq!((answer.status, answer.failure()), (200, Some(1)), "malformedRequest");
        assert_eq!(answer.headers["content-type"], "application/ocsp-response");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(!answer.headers.contains_key("x-event-position"), "it is complete to nothing");
    }
    for wrong in ["application/json", "text/plain", "application/ocsp-response", ""] {
        assert_eq!(responder.post_as(wrong, asked.der.clone()).await.status, 415, "{wrong}");
    }
    let parameters = responder.post_as("Application/OCSP-Request; q=1", asked.der.clone()).await;
    assert_eq!(parameters.says(&asked), [Said::Unknown]);
    assert_eq!(responder.signers(&world).await.len(), 1, "none of the others was worth a signer");
}

#[tokio::test]
async fn while_the_log_is_not_relied_on_nobody_is_vouched_for() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    world.log_lock.engage();
    for asked in [&asked, &asked.with_nonce()] {
        let answer = responder.post(asked).await;
        assert_eq!(answer.failure(), TRY_LATER, "what was signed before does not count either");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    world.log_lock.release();
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
}

#[tokio::test]
async fn what_may_be_out_of_date_is_not_said() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    world.store.reads_fail.set(true);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while world.index.age() <= Duration::from_secs(2) {
        assert!(tokio::time::Instant::now() < deadline, "the index stays fresh though the log cannot be read");
        tokio::task::yield_now().await;
    }
    assert_eq!(responder.post(&asked).await.failure(), TRY_LATER);
    world.store.reads_fail.set(false);
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
}

#[tokio::test]
async fn signatures_are_limited_by_client_and_what_is_signed_already_is_not() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let settings = LimitSettings { ocsp_signatures: Quota::per_minute(2, 1), ..LimitSettings::default() };
    world.limits.reconfigure(Some(settings), TenantPolicy::default());
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    assert_eq!(responder.post(&asked.with_nonce()).await.says(&asked), [Said::Good]);
    assert_eq!(responder.post(&asked.with_nonce()).await.failure(), TRY_LATER);
    let unknown = Asked::about(&responder, SerialNumber::from_random([9; 20]));
    assert_eq!(responder.post(&unknown).await.failure(), TRY_LATER);
    for _ in 0..100 {
        assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    }
}

#[tokio::test]
async fn a_dead_key_store_delays_answers_and_they_recover() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    world.keys.signing_fails.set(true);
    assert_eq!(responder.post(&asked).await.failure(), TRY_LATER);
    for _ in 0..50 {
        assert_eq!(responder.post(&asked).await.failure(), TRY_LATER);
    }
    assert_eq!(responder.signers(&world).await, [], "whoever asks fills no log with what cannot be signed");
    world.keys.signing_fails.set(false);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // Not as fast as it can: that would use up what one address may have signed.
    let mut again = tokio::time::interval(Duration::from_millis(10));
    while responder.post(&asked).await.failure() == TRY_LATER {
        assert!(tokio::time::Instant::now() < deadline, "it does not recover");
        again.tick().await;
    }
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    // Once there is a signer its authority's store is not needed.
    world.keys.signing_fails.set(true);
    assert_eq!(responder.post(&asked.with_nonce()).await.says(&asked), [Said::Good]);
}

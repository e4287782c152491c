//! What is signed, by whom, how often, and what is kept of it.

use futures_util::future::join_all;
use signalbeam_domain::SerialNumber;

use super::asking::{Asked, Responder, Said};
use crate::world::{PATIENCE, TENANT_A, World};

#[tokio::test]
async fn an_answer_without_nonce_is_signed_once_for_everybody_and_anew_after_half_its_time() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    let first = responder.post(&asked).await.body;
    world.clock.advance_seconds(1_799);
    assert_eq!(responder.post(&asked).await.body, first);
    world.clock.advance_seconds(1);
    let second = responder.post(&asked).await.body;
    assert_ne!(second, first);
    assert_eq!(responder.post(&asked).await.body, second);
    world.clock.advance_seconds(-10);
    assert_ne!(responder.post(&asked).await.body, second, "an answer from the future is not handed out");
}

#[tokio::test]
async fn a_nonce_is_repeated_and_only_where_it_was_asked() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let plain = Asked::about(&responder, certificate.serial_number());
    for asked in [plain.with_nonce(), plain.with_nonce()] {
        assert!(responder.post(&asked).await.has_nonce(asked.nonce.as_ref().unwrap()));
        assert!(!responder.post(&plain).await.has_nonce(asked.nonce.as_ref().unwrap()));
    }
}

#[tokio::test]
async fn every_signed_statement_is_recorded_with_the_position_it_is_complete_to() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let plain = Asked::about(&responder, certificate.serial_number());
    let unknown = SerialNumber::from_random([9; 20]);
    let together = Asked::together(&[plain.clone(), Asked::about(&responder, unknown)]).with_nonce();
    let mut positions = vec![];
    for asked in [&plain, &plain, &plain, &together] {
        positions.push(responder.post(asked).await.position());
    }
    responder.answers.flush_all().await.unwrap();
    let rows = responder.log.ocsp_answers();
    let short: Vec<_> = rows.iter().map(|row| (row.serial_number, row.status, row.has_nonce)).collect();
    let serial = certificate.serial_number();
    assert_eq!(
        short,
        [(Some(serial), "good", false), (Some(serial), "good", true), (Some(unknown), "unknown", true)],
        "what is handed out again is signed once"
    );
    assert_eq!(rows[0].complete_to.0, positions[0]);
    assert_eq!(rows[1].complete_to.0, positions[3]);
    assert_eq!((rows[0].authority_id, rows[0].answers), (world.authority.id(), 1));
    assert_eq!(rows[0].next_update, world.now().plus_seconds(3_600));
    let addresses: Vec<_> = rows.iter().map(|row| row.client_address.map(|address| address.to_string())).collect();
    assert_eq!(addresses, [None, Some("198.51.100.7".to_owned()), Some("198.51.100.7".to_owned())]);
}

#[tokio::test]
async fn however_many_ask_first_one_signer_is_made() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    assert!(responder.signers(&world).await.is_empty(), "nobody has asked yet");
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    let answers = join_all((0..50).map(|_| responder.post(&asked))).await;
    assert!(answers.iter().all(|answer| answer.says(&asked) == [Said::Good]));
    assert_eq!(responder.signers(&world).await.len(), 1);
}

#[tokio::test]
async fn a_signer_is_renewed_beside_the_answers_when_half_its_time_is_over() {
    let world = World::new().await;
    let responder = Responder::of(&world);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let asked = Asked::about(&responder, certificate.serial_number());
    responder.post(&asked).await;
    world.clock.advance_days(3);
    responder.post(&asked).await;
    assert_eq!(responder.signers(&world).await.len(), 1);
    world.clock.advance_days(1);
    world.keys.close();
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good], "nobody waits for the new one");
    world.keys.open();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut serials = responder.signers(&world).await;
    while serials.len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "no new signer");
        tokio::task::yield_now().await;
        serials = responder.signers(&world).await;
    }
    let is_signed_by = |body: &[u8], serial: &SerialNumber| body.windows(20).any(|octets| octets == serial.as_octets());
    while !is_signed_by(&responder.post(&asked.with_nonce()).await.body, &serials[1]) {
        assert!(tokio::time::Instant::now() < deadline, "the new signer does not sign");
    }
    assert_eq!(responder.signers(&world).await.len(), 2);
    // After its end the next answer waits for a new one.
    world.clock.advance_days(30);
    assert_eq!(responder.post(&asked).await.says(&asked), [Said::Good]);
    assert_eq!(responder.signers(&world).await.len(), 3);
}

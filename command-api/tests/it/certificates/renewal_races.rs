//! A renewal and whatever else happens to its device before it is answered, and after its answer was lost.

use rcgen::KeyPair;
use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::ActorKind;
use signalbeam_domain::certificate::{Certificates, Standing};
use signalbeam_event_store::{EventReader as _, load};

use super::renewing::{due, renew};
use crate::world::World;
use crate::world::call::Answer;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr, csr_over};

async fn certificates(world: &World, device: &TestDevice) -> Certificates {
    load::<Certificates>(&*world.store, &device.certificates()).await.unwrap().0
}

/// How many of the device's certificates may authenticate.
async fn active(world: &World, device: &TestDevice) -> usize {
    let set = certificates(world, device).await;
    set.issued().iter().filter(|certificate| certificate.standing == Standing::Active).count()
}

/// Renews, and lets something happen while the certificate is being signed.
async fn renewed_while<F: Future>(world: &World, old: &DeviceCertificate, meanwhile: impl FnOnce() -> F) -> Answer {
    world.keys.close();
    let renewing = renew(world, old, &csr()).certificate(old).send();
    let happening = async {
        world.keys.arrival().await;
        meanwhile().await;
        world.keys.open();
    };
    tokio::join!(renewing, happening).0
}

#[tokio::test]
async fn a_request_that_is_repeated_while_the_first_is_being_signed_gets_the_same_certificate() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let key = KeyPair::generate().unwrap();
    let call = || renew(&world, &old, &csr_over(&key)).certificate(&old).send();
    world.keys.close();
    let opening = async {
        world.keys.arrival().await;
        world.keys.arrival().await;
        world.keys.open();
    };
    let (first, second, ()) = tokio::join!(call(), call(), opening);
    let (first, second) = (first.status.is_success().then_some(first), second.status.is_success().then_some(second));
    let (first, second) = (first.unwrap().body, second.unwrap().body);
    assert_eq!(first, second);
    assert_eq!(active(&world, &device).await, 1);
    assert!(certificates(&world, &device).await.open_intents().is_empty(), "the second was abandoned");
}

#[tokio::test]
async fn of_two_renewals_with_two_keys_one_wins_and_the_other_one_is_told() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let keys = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let call = |key| renew(&world, &old, &csr_over(key)).certificate(&old).send();
    world.keys.close();
    let opening = async {
        world.keys.arrival().await;
        world.keys.arrival().await;
        world.keys.open();
    };
    let (first, second, ()) = tokio::join!(call(&keys[0]), call(&keys[1]), opening);
    let (won, lost, loser) = if first.status == 201 { (first, second, &keys[1]) } else { (second, first, &keys[0]) };
    let won = DeviceCertificate::shown(won.expect(201));
    assert!(lost.problem(ErrorCode::CertificateNotRenewable)["renewableFrom"].is_null());
    call(loser).await.problem(ErrorCode::CertificateRevoked);
    assert_eq!(active(&world, &device).await, 1);
    world.heartbeat_by_certificate(&device, &won).await.expect(200);
}

#[tokio::test]
async fn a_device_that_is_taken_out_of_service_meanwhile_gets_no_certificate() {
    for action in ["suspend", "decommission"] {
        let world = World::new().await;
        let (device, old) = due(&world).await;
        let taken_out = || async { drop(world.decide(&device, action).await.expect(200)) };
        let answer = renewed_while(&world, &old, taken_out).await;
        answer.problem(ErrorCode::DeviceNotApproved);
        let set = certificates(&world, &device).await;
        assert_eq!((set.issued().len(), set.open_intents().len()), (1, 0), "{action}");
    }
}

#[tokio::test]
async fn a_certificate_that_an_admin_issued_meanwhile_stays_the_one() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    world.keys.close();
    let renewing = renew(&world, &old, &csr()).certificate(&old).send();
    let issuing = async {
        world.keys.arrival().await;
        let issue = world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()})).send();
        let opening = async {
            world.keys.arrival().await;
            world.keys.open();
        };
        tokio::join!(issue, opening).0
    };
    let (renewed, issued) = tokio::join!(renewing, issuing);
    let issued = DeviceCertificate::shown(issued.expect(201));
    assert_eq!(active(&world, &device).await, 1, "whoever was recorded first");
    let in_force = certificates(&world, &device).await.active().unwrap().serial_number().to_string();
    if renewed.status == 201 {
        // The renewal was first: what was issued anew then took its place.
        assert_eq!(in_force, issued.serial);
    } else {
        renewed.problem(ErrorCode::CertificateNotRenewable);
        assert_eq!(in_force, issued.serial);
    }
    world.heartbeat_by_certificate(&device, &issued).await.expect(200);
}

#[tokio::test]
async fn what_cannot_be_recorded_leaves_the_old_certificate_in_force() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let failing = || async { world.store.appends_fail.set(true) };
    renewed_while(&world, &old, failing).await.problem(ErrorCode::StoreUnavailable);
    world.store.appends_fail.set(false);
    assert_eq!(active(&world, &device).await, 1);
    world.heartbeat_by_certificate(&device, &old).await.expect(200);
    let new = DeviceCertificate::shown(renew(&world, &old, &csr()).certificate(&old).send().await.expect(201));
    assert_eq!(active(&world, &device).await, 1);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
}

#[tokio::test]
async fn at_no_moment_of_the_log_does_a_renewing_device_have_two_certificates_or_none() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    renew(&world, &old, &csr()).certificate(&old).send().await.expect(201);
    let recorded = world.store.read_stream(&device.certificates()).await.unwrap();
    let types: Vec<_> = recorded.iter().map(|recorded| recorded.envelope.event_type.as_str()).collect();
    let at = types.iter().position(|kind| *kind == "certificate.superseded").unwrap();
    assert_eq!(types[at + 1], "certificate.issued");
    let [ended, begun] = [&recorded[at].envelope, &recorded[at + 1].envelope];
    assert_eq!((begun.position.0, begun.recorded_at), (ended.position.0 + 1, ended.recorded_at), "one append");
    assert_eq!(begun.command_id, ended.command_id);
}

#[tokio::test]
async fn a_chain_of_lost_answers_ends_with_the_device_in_service() {
    let world = World::new().await;
    let (device, first) = due(&world).await;
    let mut in_hand = first;
    for _ in 0..3 {
        let key = KeyPair::generate().unwrap();
        let call = || renew(&world, &in_hand, &csr_over(&key)).certificate(&in_hand);
        let lost = call().send().await.expect(201);
        let again = call().send().await.expect(200);
        assert_eq!(again, lost);
        let next = DeviceCertificate::shown(again);
        world.heartbeat_by_certificate(&device, &next).await.expect(200);
        world.heartbeat_by_certificate(&device, &in_hand).await.problem(ErrorCode::CertificateRevoked);
        call().send().await.problem(ErrorCode::CertificateRevoked);
        in_hand = next;
        world.clock.advance_days(60);
    }
    assert_eq!(active(&world, &device).await, 1);
}

#[tokio::test]
async fn the_api_key_repeats_too_until_the_successor_is_used() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let key = KeyPair::generate().unwrap();
    let by_key = || renew(&world, &old, &csr_over(&key)).device(&device);
    let lost = by_key().send().await.expect(201);
    assert_eq!(by_key().send().await.expect(200), lost);
    let by_certificate = renew(&world, &old, &csr_over(&key)).certificate(&old).send().await;
    assert_eq!(by_certificate.expect(200), lost, "whichever way it asks again");
    let new = DeviceCertificate::shown(lost);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    let late = by_key().send().await.problem(ErrorCode::CertificateNotRenewable);
    assert!(late["renewableFrom"].is_null());
}

#[tokio::test]
async fn nobody_escapes_a_revocation_by_renewing_while_it_is_on_its_way() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    world.store.hold(ActorKind::Admin);
    let revoking = world.delete(old.route()).admin(Role::Admin).json(&json!({"reasonCode": "keyCompromise"})).send();
    let renewing = async {
        world.store.held_arrival().await;
        let renewed = renew(&world, &old, &csr()).certificate(&old).send().await.expect(201);
        world.store.release();
        DeviceCertificate::shown(renewed)
    };
    let (revoked, new) = tokio::join!(revoking, renewing);
    revoked.expect(204);
    assert_eq!(active(&world, &device).await, 0);
    world.heartbeat_by_certificate(&device, &new).await.problem(ErrorCode::CertificateRevoked);
}

//! Two holders of one certificate: one of them renews, the other one gives it away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use signalbeam_authn::{Connection, ErrorCode, Role};

use super::renewing::{due, renew};
use crate::world::World;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr, csr_over};

/// Where the device is.
const HOME: &str = "198.51.100.7:4711";
/// Where its clone is.
const ELSEWHERE: &str = "203.0.113.9:4711";
const GRACE_SECONDS: i64 = 600;

fn connection(certificate: &DeviceCertificate, from: &str) -> Connection {
    Connection::with_certificates(from.parse().unwrap(), vec![CertificateDer::from(certificate.der.clone())])
}

/// A connection that was opened so long ago.
fn old_connection(certificate: &DeviceCertificate, from: &str, seconds: u64) -> Connection {
    let opened = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    Connection { opened, ..connection(certificate, from) }
}

/// What was told of the device's certificates.
async fn told(world: &World, device: &TestDevice) -> Vec<Value> {
    let recorded = world.log().await;
    let of_device = recorded.iter().filter(|recorded| recorded.envelope.stream == device.certificates());
    of_device
        .filter(|recorded| recorded.envelope.event_type == "certificate.reuse_suspected")
        .map(|recorded| serde_json::from_slice(&recorded.envelope.data).unwrap())
        .collect()
}

/// A device that renewed and uses the new certificate: with the old one, and the new one.
async fn renewed(world: &World) -> (TestDevice, DeviceCertificate, DeviceCertificate) {
    let (device, old) = due(world).await;
    let new = DeviceCertificate::shown(renew(world, &old, &csr()).certificate(&old).send().await.expect(201));
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    (device, old, new)
}

async fn show(world: &World, device: &TestDevice, on: Connection) {
    let answer = world.post(device.route("heartbeat")).on(&Arc::new(on)).send().await;
    answer.problem(ErrorCode::CertificateRevoked);
}

#[tokio::test]
async fn a_clone_that_goes_on_with_the_old_certificate_is_told_once() {
    let world = World::new().await;
    let (device, old, new) = renewed(&world).await;
    world.clock.advance_seconds(5);
    for _ in 0..3 {
        show(&world, &device, connection(&old, ELSEWHERE)).await;
    }
    let expected = json!({
        "serialNumber": old.serial, "successor": new.serial, "seenFrom": "203.0.113.9",
        "how": "presented_after_succession",
    });
    assert_eq!(told(&world, &device).await, [expected]);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    let again = renew(&world, &old, &csr()).on(&Arc::new(connection(&old, ELSEWHERE))).send().await;
    again.problem(ErrorCode::CertificateRevoked);
    assert_eq!(told(&world, &device).await.len(), 1);
    world.assert_projections_follow().await;
}

#[tokio::test]
async fn also_a_clone_that_is_let_in_by_its_api_key_is_told() {
    let world = World::new().await;
    let (device, old, _) = renewed(&world).await;
    world.clock.advance_seconds(5);
    let call = world.post(device.route("heartbeat")).device(&device).on(&Arc::new(connection(&old, ELSEWHERE)));
    call.send().await.expect(200);
    assert_eq!(told(&world, &device).await.len(), 1);
}

#[tokio::test]
async fn the_device_itself_is_excused_for_ten_minutes_where_it_was() {
    let world = World::new().await;
    let (device, old, _) = renewed(&world).await;
    for seconds in [1, GRACE_SECONDS - 1] {
        world.clock.advance_seconds(seconds);
        show(&world, &device, connection(&old, HOME)).await;
    }
    assert!(told(&world, &device).await.is_empty(), "up to the last second");
    world.clock.advance_seconds(1);
    show(&world, &device, connection(&old, HOME)).await;
    assert_eq!(told(&world, &device).await[0]["seenFrom"], "198.51.100.7");
}

#[tokio::test]
async fn a_request_on_a_connection_of_before_is_excused_for_ten_minutes() {
    let world = World::new().await;
    let (device, old, _) = renewed(&world).await;
    world.clock.advance_seconds(60);
    show(&world, &device, old_connection(&old, ELSEWHERE, 61)).await;
    assert!(told(&world, &device).await.is_empty());
    world.clock.advance_seconds(GRACE_SECONDS - 60);
    show(&world, &device, old_connection(&old, ELSEWHERE, 700)).await;
    assert!(told(&world, &device).await.is_empty(), "up to the last second");
    world.clock.advance_seconds(1);
    show(&world, &device, old_connection(&old, ELSEWHERE, 700)).await;
    assert_eq!(told(&world, &device).await.len(), 1);
}

#[tokio::test]
async fn a_connection_that_was_opened_after_it_is_not_excused() {
    let world = World::new().await;
    let (device, old, _) = renewed(&world).await;
    world.clock.advance_seconds(60);
    show(&world, &device, old_connection(&old, ELSEWHERE, 50)).await;
    assert_eq!(told(&world, &device).await.len(), 1);
}

#[tokio::test]
async fn a_repeated_renewal_is_no_sign_of_a_clone() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let key = KeyPair::generate().unwrap();
    let call = |from| renew(&world, &old, &csr_over(&key)).on(&Arc::new(connection(&old, from)));
    call(HOME).send().await.expect(201);
    world.clock.advance_seconds(3_600);
    call(ELSEWHERE).send().await.expect(200);
    show(&world, &device, connection(&old, ELSEWHERE)).await;
    assert!(told(&world, &device).await.is_empty(), "what took its place is unused");
}

#[tokio::test]
async fn a_clone_that_renews_for_a_key_of_its_own_is_told() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    renew(&world, &old, &csr()).certificate(&old).send().await.expect(201);
    world.clock.advance_seconds(5);
    let early = renew(&world, &old, &csr()).on(&Arc::new(old_connection(&old, ELSEWHERE, 6)));
    early.send().await.problem(ErrorCode::CertificateRevoked);
    assert!(told(&world, &device).await.is_empty(), "two requests of one device may overtake each other");
    for _ in 0..2 {
        let other = renew(&world, &old, &csr()).on(&Arc::new(connection(&old, HOME)));
        other.send().await.problem(ErrorCode::CertificateRevoked);
    }
    let told = told(&world, &device).await;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["how"], &told[0]["seenFrom"]), (&json!("asked_for_another_key"), &json!("198.51.100.7")));
}

#[tokio::test]
async fn a_device_that_an_admin_gave_another_certificate_is_not_taken_for_a_clone() {
    let world = World::new().await;
    let (device, old) = due(&world).await;
    let issued = world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()})).send().await;
    issued.expect(201);
    world.clock.advance_seconds(3_600);
    let other = renew(&world, &old, &csr()).certificate(&old).send().await;
    other.problem(ErrorCode::CertificateRevoked);
    show(&world, &device, connection(&old, HOME)).await;
    assert!(told(&world, &device).await.is_empty());
}

#[tokio::test]
async fn revoked_and_expired_certificates_tell_nothing() {
    let world = World::new().await;
    let (device, old, new) = renewed(&world).await;
    world.delete(new.route()).admin(Role::Admin).send().await.expect(204);
    world.clock.advance_seconds(3_600);
    show(&world, &device, connection(&new, ELSEWHERE)).await;
    assert!(told(&world, &device).await.is_empty(), "it was not superseded");
    world.clock.advance_days(31);
    let expired = world.post(device.route("heartbeat")).on(&Arc::new(connection(&old, ELSEWHERE))).send().await;
    expired.problem(ErrorCode::CertificateExpired);
    assert!(told(&world, &device).await.is_empty());
}

#[tokio::test]
async fn what_could_not_be_recorded_is_recorded_at_the_next_use() {
    let world = World::new().await;
    let (device, old, _) = renewed(&world).await;
    world.clock.advance_seconds(5);
    for fails in [&world.store.appends_fail, &world.store.reads_fail] {
        fails.set(true);
        show(&world, &device, connection(&old, ELSEWHERE)).await;
        fails.set(false);
        assert!(told(&world, &device).await.is_empty());
    }
    show(&world, &device, connection(&old, ELSEWHERE)).await;
    assert_eq!(told(&world, &device).await.len(), 1);
}

#[tokio::test]
async fn many_uses_at_once_are_told_once() {
    let world = Arc::new(World::new().await);
    let (device, old, _) = renewed(&world).await;
    world.clock.advance_seconds(5);
    let mut uses = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (world, device, old) = (world.clone(), device.clone(), old.clone());
        uses.spawn(async move { show(&world, &device, connection(&old, ELSEWHERE)).await });
    }
    uses.join_all().await;
    assert_eq!(told(&world, &device).await.len(), 1);
}

#[tokio::test]
async fn each_certificate_of_a_chain_is_told_of_itself() {
    let world = World::new().await;
    let (device, _, second) = renewed(&world).await;
    world.clock.advance_days(60);
    let third = renew(&world, &second, &csr()).certificate(&second).send().await.expect(201);
    let third = DeviceCertificate::shown(third);
    world.heartbeat_by_certificate(&device, &third).await.expect(200);
    world.clock.advance_seconds(5);
    show(&world, &device, connection(&second, ELSEWHERE)).await;
    let told = told(&world, &device).await;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["serialNumber"], &told[0]["successor"]), (&json!(second.serial), &json!(third.serial)));
}

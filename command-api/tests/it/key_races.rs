//! API keys while several want something of them at once: claims, rotations, first uses, revocations. Whoever wins, a device
//! never has more than one key in force beside one successor that it has not used.

use std::sync::Arc;

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::api_key::{ApiKeyEvent, ApiKeys, Key, KeyOrigin};
use signalbeam_domain::{ActorKind, Aggregate, Event};
use tokio::task::JoinSet;

use crate::world::call::Answer;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr};
use crate::world::{TENANT_A, World};

fn with_key(device: &TestDevice, answer: &Value) -> TestDevice {
    TestDevice { api_key: answer["apiKey"].as_str().unwrap().to_owned(), ..device.clone() }
}

async fn rotate_by_admin(world: &World, device: &TestDevice) -> Answer {
    world.post(device.route("rotate-api-key")).admin(Role::Admin).send().await
}

async fn rotate_by_key(world: &World, device: &TestDevice) -> Answer {
    world.post(device.route("rotate-api-key")).device(device).send().await
}

async fn rotate_by_certificate(world: &World, device: &TestDevice, certificate: &DeviceCertificate) -> Answer {
    world.post(device.route("rotate-api-key")).certificate(certificate).send().await
}

async fn revoke(world: &World, device: &TestDevice) -> Answer {
    world.post(device.route("revoke-api-key")).admin(Role::Admin).send().await
}

/// After every single event: one key in force, beside one unused successor.
async fn assert_invariant(world: &World, device: &TestDevice) {
    let mut keys = ApiKeys::default();
    for event in world.events(&device.keys()).await {
        let Event::ApiKeyEvent(event) = event else { panic!("{event:?}") };
        keys = keys.evolve(&event);
        // A batch ends the keys before with the new one, or the older ones with a first use: judged where it ends.
        if matches!(event, ApiKeyEvent::Issued(_)) {
            assert_one_beside_one(&keys);
        }
    }
    assert_one_beside_one(&keys);
}

fn assert_one_beside_one(keys: &ApiKeys) {
    let alive: Vec<&Key> = keys.keys().iter().filter(|key| !key.is_revoked).collect();
    let is_successor = |key: &&Key| key.issued.origin == KeyOrigin::DeviceRotation && !key.is_used;
    let (successors, in_force): (Vec<&Key>, Vec<&Key>) = alive.into_iter().partition(is_successor);
    assert!(in_force.len() <= 1 && successors.len() <= 1, "{in_force:?} beside {successors:?}");
}

/// Runs a request by the device up to its append, lets `meanwhile` happen, and answers what the request came to.
async fn overtaken<'a>(
    world: &World,
    request: impl Future<Output = Answer> + 'a,
    meanwhile: impl Future<Output = ()> + 'a,
) -> Answer {
    world.store.hold(ActorKind::Device);
    let overtaking = async {
        world.store.held_arrival().await;
        meanwhile.await;
        world.store.release();
    };
    tokio::join!(request, overtaking).0
}

#[tokio::test]
async fn a_rotation_with_a_key_that_an_admin_replaced_meanwhile_gives_nothing() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.heartbeat_by_key(&device).await.expect(200);
    let meanwhile = async { drop(rotate_by_admin(&world, &device).await.expect(200)) };
    overtaken(&world, rotate_by_key(&world, &device), meanwhile).await.problem(ErrorCode::ApiKeyRevoked);
    let types = world.types(&device.keys()).await;
    assert_eq!(types, ["api_key.issued", "api_key.first_used", "api_key.revoked", "api_key.issued"], "the admin's");
    assert_invariant(&world, &device).await;
}

#[tokio::test]
async fn a_rotation_with_a_certificate_that_was_revoked_meanwhile_gives_nothing() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let before = world.types(&device.keys()).await;
    let meanwhile = async { drop(world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204)) };
    let rotating = rotate_by_certificate(&world, &device, &certificate);
    overtaken(&world, rotating, meanwhile).await.problem(ErrorCode::CertificateRevoked);
    assert_eq!(world.types(&device.keys()).await, before);
}

#[tokio::test]
async fn a_rotation_that_a_revocation_overtakes_gives_nothing() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let by_key = overtaken(&world, rotate_by_key(&world, &device), async {
        drop(revoke(&world, &device).await.expect(204));
    });
    by_key.await.problem(ErrorCode::ApiKeyRevoked);
    rotate_by_admin(&world, &device).await.expect(200);
    let by_certificate = overtaken(&world, rotate_by_certificate(&world, &device, &certificate), async {
        drop(revoke(&world, &device).await.expect(204));
    });
    by_certificate.await.problem(ErrorCode::InvalidState);
    assert_eq!(*world.types(&device.keys()).await.last().unwrap(), "api_key.revoked");
    assert_invariant(&world, &device).await;
}

#[tokio::test]
async fn a_rotation_with_a_key_whose_successor_was_used_meanwhile_gives_nothing() {
    let world = World::new().await;
    let old = world.approved_device(TENANT_A).await;
    world.heartbeat_by_key(&old).await.expect(200);
    let new = with_key(&old, &rotate_by_key(&world, &old).await.expect(200));
    // Both are the device's own appends, so neither can be held alone: the first use comes first here.
    world.heartbeat_by_key(&new).await.expect(200);
    rotate_by_key(&world, &old).await.problem(ErrorCode::ApiKeyRevoked);
    rotate_by_key(&world, &new).await.expect(200);
    assert_invariant(&world, &old).await;
}

#[tokio::test]
async fn nothing_is_issued_to_a_device_that_was_barred_meanwhile() {
    for action in ["suspend", "decommission"] {
        let world = World::new().await;
        let device = world.approved_device(TENANT_A).await;
        let bar = async || drop(world.decide(&device, action).await.expect(200));
        let claimed = overtaken(&world, world.claim(&device), bar()).await;
        claimed.problem(ErrorCode::DeviceNotApproved);
        let keys = world.types(&device.keys()).await;
        assert_eq!(keys.iter().filter(|kind| **kind == "api_key.issued").count(), 1, "{action}");
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        world.heartbeat_by_key(&device).await.expect(200);
        world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
        let barred = async { drop(world.decide(&device, action).await.expect(200)) };
        let rotated = overtaken(&world, rotate_by_key(&world, &device), barred).await;
        rotated.problem(ErrorCode::DeviceNotApproved);
        world.heartbeat_by_key(&device).await.problem(if action == "suspend" {
            ErrorCode::DeviceNotApproved
        } else {
            ErrorCode::ApiKeyRevoked
        });
        rotate_by_admin(&world, &device).await.problem(ErrorCode::DeviceNotApproved);
        assert_invariant(&world, &device).await;
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_certificate_is_signed_gets_none() {
    let world = World::new().await;
    for is_renewal in [false, true] {
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        world.clock.advance_days(61);
        let route = if is_renewal { certificate.renew_route() } else { device.issue_route() };
        world.keys.close();
        let asking = world.post(route).device(&device).json(&json!({"csrPem": csr()})).send();
        let revoking = async {
            world.keys.arrival().await;
            revoke(&world, &device).await.expect(204);
            world.keys.open();
        };
        let (asked, ()) = tokio::join!(asking, revoking);
        asked.problem(ErrorCode::ApiKeyRevoked);
        assert_eq!(*world.types(&device.certificates()).await.last().unwrap(), "certificate.abandoned");
        world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    }
}

#[tokio::test]
async fn a_claim_that_a_revocation_overtakes_gives_nothing() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let meanwhile = async { drop(revoke(&world, &device).await.expect(204)) };
    overtaken(&world, world.claim(&device), meanwhile).await.problem(ErrorCode::ApiKeyAlreadyClaimed);
    world.heartbeat_by_key(&device).await.problem(ErrorCode::ApiKeyRevoked);
    assert_invariant(&world, &device).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_claim_and_a_first_use_at_once_exactly_one_wins() {
    let world = Arc::new(World::new().await);
    for _ in 0..12 {
        let device = world.approved_device(TENANT_A).await;
        let (claimer, user, asked) = (Arc::clone(&world), Arc::clone(&world), device.clone());
        let claim = tokio::spawn(async move { claimer.claim(&asked).await });
        let asked = device.clone();
        let first_use = tokio::spawn(async move { user.heartbeat_by_key(&asked).await });
        let (claim, first_use) = (claim.await.unwrap(), first_use.await.unwrap());
        match (claim.status.as_u16(), first_use.status.as_u16()) {
            (200, 401) => drop(first_use.problem(ErrorCode::ApiKeyRevoked)),
            (409, 200) => drop(claim.problem(ErrorCode::ApiKeyAlreadyClaimed)),
            other => panic!("{other:?}: {} {}", claim.body, first_use.body),
        }
        assert_invariant(&world, &device).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_an_admin_s_rotation_and_a_claim_at_once_the_later_key_is_in_force() {
    let world = Arc::new(World::new().await);
    for _ in 0..8 {
        let device = world.approved_device(TENANT_A).await;
        let (claimer, admin) = (Arc::clone(&world), Arc::clone(&world));
        let (a, b) = (device.clone(), device.clone());
        let claim = tokio::spawn(async move { claimer.claim(&a).await.expect(200) });
        let rotation = tokio::spawn(async move { rotate_by_admin(&admin, &b).await.expect(200) });
        let shown = [claim.await.unwrap(), rotation.await.unwrap()];
        assert_invariant(&world, &device).await;
        let mut statuses = vec![];
        for answer in &shown {
            statuses.push(world.heartbeat_by_key(&with_key(&device, answer)).await.status.as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "one of the two");
        world.claim(&device).await.problem(ErrorCode::ApiKeyAlreadyClaimed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_at_once_there_is_one_key_in_force_beside_one_unused_successor() {
    let world = Arc::new(World::new().await);
    for round in 0..6 {
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        let mut shown = vec![device.api_key.clone()];
        let mut tasks = JoinSet::new();
        for number in 0..24 {
            let (world, device, certificate) = (Arc::clone(&world), device.clone(), certificate.clone());
            // The last rounds know no revocation, which would end most of what the others do.
            let kinds = if round % 2 == 0 { 5 } else { 6 };
            tasks.spawn(async move {
                match number % kinds {
                    0 => world.claim(&device).await,
                    1 => rotate_by_admin(&world, &device).await,
                    2 => rotate_by_key(&world, &device).await,
                    3 => rotate_by_certificate(&world, &device, &certificate).await,
                    4 => world.heartbeat_by_key(&device).await,
                    _ => revoke(&world, &device).await,
                }
            });
        }
        for answer in tasks.join_all().await {
            assert!(!answer.status.is_server_error(), "{}", answer.body);
            shown.extend(answer.body["apiKey"].as_str().map(str::to_owned));
        }
        assert_invariant(&world, &device).await;
        let mut usable = vec![];
        for api_key in shown {
            let holder = TestDevice { api_key, ..device.clone() };
            if world.post(device.route("heartbeat")).device(&holder).send().await.status == 200 {
                usable.push(holder.api_key);
            }
        }
        assert!(usable.len() <= 2, "{usable:?}");
        assert_invariant(&world, &device).await;
    }
}

#[tokio::test]
async fn a_claim_under_a_name_that_was_carried_out_says_so_also_where_the_claim_is_closed_by_now() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let claim = || world.post(device.route("api-key/claim")).bearer(&device.claim_secret).idempotency_key("k");
    let claimed = with_key(&device, &claim().send().await.expect(200));
    world.heartbeat_by_key(&claimed).await.expect(200);
    claim().send().await.problem(ErrorCode::AlreadyProcessed);
    claim().json(&json!({})).send().await.problem(ErrorCode::IdempotencyKeyReused);
}

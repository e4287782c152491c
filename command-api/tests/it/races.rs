//! What happens at once: of several that change the same thing, the log says who was first, and everybody is told what
//! holds.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;
use signalbeam_authn::limits::tenants::TenantPolicy;
use signalbeam_authn::{ErrorCode, Role};
use tokio::task::JoinSet;

use crate::world::fleet::{TestDevice, csr};
use crate::world::{TENANT_A, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_use_of_a_key_happens_once() {
    let world = Arc::new(World::new().await);
    let device = world.approved_device(TENANT_A).await;
    let mut tasks = JoinSet::new();
    for _ in 0..24 {
        let (world, device) = (Arc::clone(&world), device.clone());
        tasks.spawn(async move { world.heartbeat_by_key(&device).await.expect(200) });
    }
    tasks.join_all().await;
    assert_eq!(world.types(&device.keys()).await, ["api_key.issued", "api_key.first_used"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_keys_that_are_claimed_at_once_one_is_in_force() {
    let world = Arc::new(World::new().await);
    // So many at once are beyond the limit for one device.
    world.limits.reconfigure(None, TenantPolicy::default());
    let device = world.approved_device(TENANT_A).await;
    let mut tasks = JoinSet::new();
    for _ in 0..24 {
        let (world, device) = (Arc::clone(&world), device.clone());
        tasks.spawn(async move {
            let answer = world.claim(&device).await;
            if answer.status == 409 {
                assert!(answer.headers.contains_key("retry-after"));
                answer.problem(ErrorCode::Conflict);
                return None;
            }
            let api_key = answer.expect(200)["apiKey"].as_str().unwrap().to_owned();
            Some(TestDevice { api_key, ..device })
        });
    }
    let claimed: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let mut in_force = 0;
    for device in &claimed {
        let answer = world.heartbeat_by_key(device).await;
        if answer.status == 200 { in_force += 1 } else { drop(answer.problem(ErrorCode::ApiKeyRevoked)) }
    }
    assert_eq!(in_force, 1, "of {}", claimed.len());
    world.heartbeat_by_key(&device).await.problem(ErrorCode::ApiKeyRevoked);
}

#[tokio::test]
async fn a_renewal_that_is_repeated_before_it_is_answered_is_the_same_renewal() {
    let world = World::new().await;
    let by_certificate = world.device_with_certificate(TENANT_A).await;
    let by_api_key = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(60);
    let body = json!({"csrPem": csr()});
    for (by_key, (device, old)) in [(false, by_certificate), (true, by_api_key)] {
        let renew = || {
            let call = world.post(old.renew_route()).json(&body);
            if by_key { call.device(&device).send() } else { call.certificate(&old).send() }
        };
        world.keys.close();
        let opening = async {
            world.keys.arrival().await;
            world.keys.arrival().await;
            world.keys.open();
        };
        let (first, second, ()) = tokio::join!(renew(), renew(), opening);
        let statuses = HashSet::from([first.status.as_u16(), second.status.as_u16()]);
        assert_eq!(statuses, HashSet::from([201, 200]), "{} {}", first.body, second.body);
        assert_eq!(first.body, second.body);
        let types = world.types(&device.certificates()).await;
        let count = |kind: &str| types.iter().filter(|t| **t == kind).count();
        assert_eq!((count("certificate.issued"), count("certificate.abandoned")), (2, 1), "{types:?}");
    }
}

#[tokio::test]
async fn of_two_renewals_with_different_keys_one_is_refused() {
    let world = World::new().await;
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(60);
    let renew = || world.post(old.renew_route()).certificate(&old).json(&json!({"csrPem": csr()})).send();
    world.keys.close();
    let opening = async {
        world.keys.arrival().await;
        world.keys.arrival().await;
        world.keys.open();
    };
    let (first, second, ()) = tokio::join!(renew(), renew(), opening);
    let (won, lost) = if first.status == 201 { (first, second) } else { (second, first) };
    won.expect(201);
    lost.problem(ErrorCode::CertificateNotRenewable);
    assert_eq!(*world.types(&device.certificates()).await.last().unwrap(), "certificate.abandoned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revocations_at_once_are_one_revocation() {
    let world = Arc::new(World::new().await);
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (world, device, certificate) = (Arc::clone(&world), device.clone(), certificate.clone());
        tasks.spawn(async move {
            world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
            // Also where another one did it: what was answered holds on the next request.
            let used = world.heartbeat_by_certificate(&device, &certificate).await;
            used.problem(ErrorCode::CertificateRevoked);
        });
    }
    tasks.join_all().await;
    let types = world.types(&device.certificates()).await;
    assert_eq!(types.iter().filter(|t| **t == "certificate.revoked").count(), 1);
}

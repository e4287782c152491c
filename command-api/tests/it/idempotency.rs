//! `Idempotency-Key`: the same command again is answered as the first time, and never carried out twice.

use std::sync::Arc;

use rcgen::KeyPair;
use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use tokio::task::JoinSet;

use crate::world::fleet::{DeviceCertificate, csr, new_claim_secret};
use crate::world::{TENANT_A, TENANT_B, World};

#[tokio::test]
async fn the_same_decision_again_is_answered_again() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let approve = |days: i64| {
        let body = json!({"apiKeyExpirationDays": days});
        world.post(device.route("approve")).admin(Role::Admin).idempotency_key("k-1").json(&body)
    };
    let first = approve(30).send().await;
    let position = first.position().unwrap();
    let body = first.expect(200);
    let again = approve(30).send().await;
    assert_eq!(again.position(), Some(position));
    assert_eq!(again.expect(200), body);
    approve(31).send().await.problem(ErrorCode::IdempotencyKeyReused);
    world.decide(&device, "approve").await.problem(ErrorCode::InvalidState);
    assert_eq!(world.types(&device.stream()).await.len(), 2);
    for action in ["suspend", "decommission"] {
        let call = || world.post(device.route(action)).admin(Role::Admin).idempotency_key("k-1");
        let first = call().send().await.expect(200);
        assert_eq!(call().send().await.expect(200), first, "bound to the route");
        call().json(&json!({"reason": "x"})).send().await.problem(ErrorCode::IdempotencyKeyReused);
    }
    assert_eq!(approve(30).send().await.expect(200), body, "the first outcome, whatever came after it");
}

#[tokio::test]
async fn a_command_that_changed_nothing_is_not_carried_out_later() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let revoke = |key: &str| world.post(device.route("revoke-api-key")).admin(Role::Admin).idempotency_key(key);
    revoke("first").send().await.expect(204);
    revoke("nothing-to-do").send().await.expect(204);
    let rotated = world.post(device.route("rotate-api-key")).admin(Role::Admin).send().await.expect(200);
    revoke("nothing-to-do").send().await.expect(204);
    let key = rotated["apiKey"].as_str().unwrap();
    world.post(device.route("heartbeat")).api_key(key).send().await.expect(200);
    revoke("nothing-to-do").json(&json!({"reason": "x"})).send().await.problem(ErrorCode::IdempotencyKeyReused);
}

#[tokio::test]
async fn a_registration_under_a_name_that_came_with_another_body_is_refused() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let secret = new_claim_secret();
    let register = |name: &str| {
        let body = json!({"tenantId": TENANT_A, "token": token["token"], "deviceName": name, "claimSecret": secret});
        world.post("/api/devices").idempotency_key("k").json(&body)
    };
    let first = register("one").send().await;
    let position = first.position();
    let body = first.expect(201);
    let again = register("one").send().await;
    assert_eq!(again.position(), position, "so that whoever lost the first answer can wait for it");
    assert_eq!(again.expect(201), body);
    register("two").send().await.problem(ErrorCode::IdempotencyKeyReused);
}

#[tokio::test]
async fn what_was_shown_once_is_not_shown_again() {
    let world = World::new().await;
    let token = || {
        let body = json!({"tenantId": TENANT_A});
        world.post("/api/registration-tokens").admin(Role::Admin).idempotency_key("k").json(&body)
    };
    token().send().await.expect(201);
    token().send().await.problem(ErrorCode::AlreadyProcessed);
    let device = world.approved_device(TENANT_A).await;
    for (path, call) in [
        ("rotate-api-key", world.post(device.route("rotate-api-key")).admin(Role::Admin)),
        ("issue", world.post(device.issue_route()).admin(Role::Admin)),
        ("api-key/claim", world.post(device.route("api-key/claim")).bearer(&device.claim_secret)),
    ] {
        let call = call.idempotency_key("k");
        assert!(call.clone().send().await.status.is_success(), "{path}");
        let events = world.log().await.len();
        call.clone().send().await.problem(ErrorCode::AlreadyProcessed);
        let reused = call.json(&json!({"reason": "x"})).send().await;
        assert!(reused.status.is_client_error(), "{path}");
        assert_eq!(world.log().await.len(), events, "{path}");
    }
}

#[tokio::test]
async fn a_certificate_over_a_request_of_one_s_own_is_answered_again() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let body = json!({"csrPem": csr()});
    let call = || world.post(device.issue_route()).device(&device).idempotency_key("k").json(&body);
    let first = call().send().await.expect(201);
    world.clock.advance_seconds(60);
    assert_eq!(call().send().await.expect(201), first);
    world.clock.advance_days(70);
    let certificate = DeviceCertificate::shown(first);
    let body = json!({"csrPem": csr()});
    let renew = || world.post(certificate.renew_route()).device(&device).idempotency_key("k").json(&body);
    let renewed = renew().send().await.expect(201);
    assert_eq!(renew().send().await.expect(201), renewed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_pair_that_is_shown_fits_its_certificate_however_many_ask_at_once() {
    let world = Arc::new(World::new().await);
    let device = world.approved_device(TENANT_A).await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (world, device) = (Arc::clone(&world), device.clone());
        tasks.spawn(async move {
            let answer = world.post(device.issue_route()).device(&device).idempotency_key("k").send().await;
            (answer.status.as_u16(), answer.body)
        });
    }
    let (shown, refused): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(|(status, _)| *status == 201);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(refused.iter().all(|(_, body)| body["code"] == "ALREADY_PROCESSED"), "{refused:?}");
    let answer = &shown[0].1;
    let key = KeyPair::from_pem(answer["privateKeyPem"].as_str().unwrap()).unwrap();
    let certificate = DeviceCertificate::shown(answer.clone());
    let public = rcgen::PublicKeyData::der_bytes(&key).to_vec();
    assert!(certificate.der.windows(public.len()).any(|window| window == public), "the key is the certificate's");
    let types = world.types(&device.certificates()).await;
    let count = |kind: &str| types.iter().filter(|t| **t == kind).count();
    assert_eq!(count("certificate.issued"), 1);
    assert_eq!(count("certificate.intended"), 1 + count("certificate.abandoned"), "no intent stays open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_decision_many_times_at_once_is_one_decision() {
    let world = Arc::new(World::new().await);
    for action in ["approve", "reject", "decommission"] {
        let device = world.pending_device(TENANT_A).await;
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let (world, device) = (Arc::clone(&world), device.clone());
            tasks.spawn(async move {
                let call = world.post(device.route(action)).admin(Role::Admin).idempotency_key("k");
                call.send().await.expect(200)
            });
        }
        let answers = tasks.join_all().await;
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        assert_eq!(world.types(&device.stream()).await.len(), 2, "{action}");
    }
}

#[tokio::test]
async fn admins_of_two_tenants_may_choose_the_same_key() {
    let world = World::new().await;
    for tenant_id in [TENANT_A, TENANT_B] {
        let call = world.post("/api/registration-tokens").admin_of(Role::Admin, tenant_id);
        call.idempotency_key("1").json(&json!({"tenantId": tenant_id})).send().await.expect(201);
    }
}

#[tokio::test]
async fn a_key_is_printable_and_bounded_and_one() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let approve = || world.post(device.route("approve")).admin(Role::Admin);
    for bad in [Vec::new(), vec![b'x'; 256], b"a\tb".to_vec(), "é".as_bytes().to_vec()] {
        let answer = approve().header("idempotency-key", &bad).send().await;
        assert_eq!(answer.pointers(), ["/header/Idempotency-Key"], "{bad:?}");
    }
    let twice = approve().idempotency_key("a").idempotency_key("b").send().await;
    assert_eq!(twice.pointers(), ["/header/Idempotency-Key"]);
    approve().idempotency_key(&"x".repeat(255)).send().await.expect(200);
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_a_command_s_name() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let body = json!({"tenantId": TENANT_A, "token": token["token"], "deviceName": "sensor"});
    world.post("/api/devices").json(&body).idempotency_key("k").send().await.expect(201);
    let wrong: Value = json!(crate::world::fleet::with_another_secret(token["token"].as_str().unwrap()));
    let guess = json!({"tenantId": TENANT_A, "token": wrong, "deviceName": "sensor"});
    let answer = world.post("/api/devices").json(&guess).idempotency_key("k").send().await;
    answer.problem(ErrorCode::InvalidRegistrationToken);
}

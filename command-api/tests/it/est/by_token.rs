//! By a tenant's id and a registration token: registered by the first request, served after an admin's approval, once.

use std::sync::Arc;

use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::device::DeviceEvent;
use signalbeam_domain::{DeviceId, Event};
use tokio::task::JoinSet;

use super::*;
use crate::world::fleet::with_another_secret;
use crate::world::{TENANT_A, TENANT_B, World};

fn ask<'a>(world: &'a World, token: &str, request: &str) -> Call<'a> {
    world.post(ENROL).basic(TENANT_A, token).asking(request)
}

async fn new_token(world: &World) -> String {
    world.token(TENANT_A).await["token"].as_str().unwrap().to_owned()
}

/// The devices that have registered, with their names, oldest first.
async fn registered(world: &World) -> Vec<(TestDevice, String)> {
    let events = world.log().await.into_iter().map(|recorded| recorded.event().unwrap());
    let registered = events.filter_map(|event| match event {
        Event::DeviceEvent(DeviceEvent::Registered(registered)) => Some(registered),
        _ => None,
    });
    registered.map(|registered| (test_device(registered.device_id), registered.device_name.to_string())).collect()
}

fn test_device(id: DeviceId) -> TestDevice {
    TestDevice {
        id: id.to_string(),
        tenant_id: TENANT_A.to_owned(),
        claim_secret: String::new(),
        api_key: String::new(),
    }
}

/// A device that waits for an admin, with its token and its request.
async fn waiting(world: &World) -> (TestDevice, String, String) {
    let (token, request) = (new_token(world).await, request());
    ask(world, &token, &request).send().await.expect(202);
    let (device, _) = registered(world).await.pop().unwrap();
    (device, token, request)
}

#[tokio::test]
async fn a_device_registers_waits_for_its_approval_and_gets_its_certificate_once() {
    let world = World::new().await;
    let (device, token, request) = waiting(&world).await;
    let events = world.log().await.len();
    let again = ask(&world, &token, &request).send().await;
    assert_eq!(again.headers["retry-after"], "60");
    assert!(again.position().is_some());
    assert!(again.expect(202).as_str().unwrap().contains("approval"));
    assert_eq!((world.log().await.len(), registered(&world).await.len()), (events, 1), "one device");

    world.decide(&device, "approve").await.expect(200);
    let der = ask(&world, &token, &request).send().await.issued();
    let repeated = ask(&world, &token, &request).send().await.issued();
    assert_eq!(repeated, der, "its answer may have been lost");
    let certificate = world.shown(&device, der).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let (used, attempts) = world.attempts_during(ask(&world, &token, &request).send()).await;
    used.problem(ErrorCode::RegistrationTokenUsed);
    assert_eq!(attempts, [("RegistrationToken".to_owned(), "REGISTRATION_TOKEN_USED".to_owned())]);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
}

#[tokio::test]
async fn a_token_registers_one_key() {
    let world = World::new().await;
    let (device, token, first) = waiting(&world).await;
    ask(&world, &token, &request()).send().await.problem(ErrorCode::RegistrationTokenUsed);
    world.decide(&device, "approve").await.expect(200);
    ask(&world, &token, &request()).send().await.problem(ErrorCode::RegistrationTokenUsed);
    ask(&world, &token, &first).send().await.issued();
    // Nor does it serve a device that registered by the other route.
    let token = world.token(TENANT_A).await;
    world.register_with(&token, &crate::world::fleet::new_claim_secret()).await.expect(201);
    let other = ask(&world, token["token"].as_str().unwrap(), &first).send().await;
    other.problem(ErrorCode::RegistrationTokenUsed);
}

/// What eight that ask the same at once are answered; those who were told to try again are left out.
async fn at_once(world: &Arc<World>, token: &str, request: &str) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (world, token, request) = (Arc::clone(world), token.to_owned(), request.to_owned());
        tasks.spawn(async move { ask(&world, &token, &request).send().await });
    }
    let (refused, answered): (Vec<_>, Vec<_>) =
        tasks.join_all().await.into_iter().partition(|answer| answer.status == 409);
    for answer in refused {
        assert!(answer.headers.contains_key("retry-after"));
        answer.problem(ErrorCode::Conflict);
    }
    assert!(!answered.is_empty());
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_ask_at_once_one_device_and_one_certificate_come_of_it() {
    let world = Arc::new(World::new().await);
    let (token, request) = (new_token(&world).await, request());
    for answer in at_once(&world, &token, &request).await {
        answer.expect(202);
    }
    let devices = registered(&world).await;
    assert_eq!(devices.len(), 1);
    let device = &devices[0].0;
    world.decide(device, "approve").await.expect(200);
    let mut issued: Vec<_> = at_once(&world, &token, &request).await.into_iter().map(Answer::issued).collect();
    issued.dedup();
    assert_eq!(issued.len(), 1);
    let types = world.types(&device.certificates()).await;
    assert_eq!(types.iter().filter(|kind| **kind == "certificate.issued").count(), 1, "{types:?}");
}

#[tokio::test]
async fn what_is_withdrawn_or_given_otherwise_is_not_given_by_the_token() {
    let world = World::new().await;
    let (device, token, request) = waiting(&world).await;
    world.decide(&device, "approve").await.expect(200);
    let der = ask(&world, &token, &request).send().await.issued();
    let certificate = world.shown(&device, der).await;
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    ask(&world, &token, &request).send().await.problem(ErrorCode::RegistrationTokenUsed);

    let (device, token, request) = waiting(&world).await;
    world.decide(&device, "approve").await.expect(200);
    world.post(device.issue_route()).admin(Role::Admin).json(&json!({})).send().await.expect(201);
    ask(&world, &token, &request).send().await.problem(ErrorCode::RegistrationTokenUsed);
}

#[tokio::test]
async fn a_device_that_was_rejected_or_suspended_is_told_so() {
    let world = World::new().await;
    for (decisions, status) in [(&["reject"][..], "Rejected"), (&["approve", "suspend"], "Suspended")] {
        let (device, token, request) = waiting(&world).await;
        for decision in decisions {
            world.decide(&device, decision).await.expect(200);
        }
        let (answer, attempts) = world.attempts_during(ask(&world, &token, &request).send()).await;
        assert_eq!(answer.problem(ErrorCode::DeviceNotApproved)["deviceStatus"], status);
        assert_eq!(attempts, [("RegistrationToken".to_owned(), "DEVICE_NOT_APPROVED".to_owned())]);
        assert!(world.types(&device.certificates()).await.is_empty());
    }
}

#[tokio::test]
async fn a_device_that_was_bound_to_networks_enrols_from_there_alone() {
    let world = World::new().await;
    let (device, token, request) = waiting(&world).await;
    world.decide(&device, "approve").await.expect(200);
    let path = format!("/api/devices/{}", device.id);
    let restrict =
        |network: &str| world.patch(path.clone()).admin(Role::Admin).json(&json!({"allowedNetworks": [network]}));
    restrict("10.0.0.0/8").send().await.expect(200);
    ask(&world, &token, &request).send().await.problem(ErrorCode::AddressNotAllowed);
    restrict("198.51.100.0/24").send().await.expect(200);
    ask(&world, &token, &request).send().await.issued();
}

#[tokio::test]
async fn a_token_that_is_none_registers_nothing() {
    let world = World::new().await;
    let token = new_token(&world).await;
    let guess = with_another_secret(&token);
    let before = world.log().await.len();
    for (user, password) in [
        (TENANT_A, guess.as_str()),
        (TENANT_A, "sbt_"),
        (TENANT_B, token.as_str()),
        ("tenant", token.as_str()),
        ("", token.as_str()),
    ] {
        let call = world.post(ENROL).basic(user, password).asking(&request());
        let (answer, attempts) = world.attempts_during(call.send()).await;
        answer.challenged(ErrorCode::InvalidRegistrationToken);
        let expected = ("RegistrationToken".to_owned(), "INVALID_REGISTRATION_TOKEN".to_owned());
        assert_eq!(attempts, [expected], "{user}");
    }
    // Where there is no first certificate, a token is no password.
    for route in [REENROL, SERVER_KEY] {
        let answer = world.post(route).basic(TENANT_A, &token).asking(&request()).send().await;
        answer.challenged(ErrorCode::InvalidApiKey);
    }
    assert_eq!(world.log().await.len(), before);
    world.clock.advance_days(31);
    ask(&world, &token, &request()).send().await.problem(ErrorCode::RegistrationTokenExpired);
}

#[tokio::test]
async fn approval_may_come_after_the_tokens_end() {
    let world = World::new().await;
    let (device, token, request) = waiting(&world).await;
    world.clock.advance_days(40);
    ask(&world, &token, &request).send().await.expect(202);
    world.decide(&device, "approve").await.expect(200);
    ask(&world, &token, &request).send().await.issued();
}

#[tokio::test]
async fn a_device_is_named_as_its_request_says_where_that_is_a_name() {
    let world = World::new().await;
    for name in ["warehouse-07", "Halle 3, Süd"] {
        ask(&world, &new_token(&world).await, &request_of(name)).send().await.expect(202);
        assert_eq!(registered(&world).await.pop().unwrap().1, name);
    }
    for name in ["", "two\nlines", &"x".repeat(129)] {
        ask(&world, &new_token(&world).await, &request_of(name)).send().await.expect(202);
        let (device, given) = registered(&world).await.pop().unwrap();
        assert_eq!(given, format!("est-{}", &device.id[24..]));
    }
}

#[tokio::test]
async fn nobody_claims_an_api_key_and_an_admin_can_still_give_one() {
    let world = World::new().await;
    let (device, token, request) = waiting(&world).await;
    world.decide(&device, "approve").await.expect(200);
    let rotated =
        world.post(device.route("rotate-api-key")).admin(Role::Admin).json(&json!({})).send().await.expect(200);
    let api_key = rotated["apiKey"].as_str().unwrap().to_owned();
    let device = TestDevice { api_key, ..device };
    world.heartbeat_by_key(&device).await.expect(200);
    ask(&world, &token, &request).send().await.issued();
}

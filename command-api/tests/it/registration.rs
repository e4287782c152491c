//! Registration: a token registers one device, once, and its repetition is the same registration.

use std::collections::HashSet;

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::{Prefix, StreamId};
use tokio::task::JoinSet;

use crate::world::fleet::{new_claim_secret, with_another_secret};
use crate::world::{TENANT_A, TENANT_B, World};

fn registration(token: &Value, claim_secret: &str) -> Value {
    json!({
        "tenantId": token["tenantId"], "token": token["token"], "deviceName": "sensor", "claimSecret": claim_secret,
    })
}

fn prefix(token: &Value) -> Prefix {
    Prefix::parse(token["tokenPrefix"].as_str().unwrap()).unwrap()
}

/// The same registration over and over, all at once.
async fn race(world: World, bodies: Vec<Value>, idempotency_key: Option<&'static str>) -> (World, Vec<(u16, Value)>) {
    let world = std::sync::Arc::new(world);
    let mut tasks = JoinSet::new();
    for body in bodies {
        let world = std::sync::Arc::clone(&world);
        tasks.spawn(async move {
            let mut call = world.post("/api/devices").json(&body);
            if let Some(key) = idempotency_key {
                call = call.idempotency_key(key);
            }
            let answer = call.send().await;
            (answer.status.as_u16(), answer.body)
        });
    }
    let answers = tasks.join_all().await;
    (std::sync::Arc::into_inner(world).unwrap(), answers)
}

#[tokio::test]
async fn a_device_registers_and_waits() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let claim_secret = new_claim_secret();
    let mut body = registration(&token, &claim_secret);
    body["metadata"] = json!({"site": {"floor": 3}, "tags": ["a", null, true], "load": 0.5});
    let answer = world.post("/api/devices").json(&body).send().await;
    assert!(answer.position().is_some());
    let answer = answer.expect(201);
    let id = answer["deviceId"].as_str().unwrap();
    let expected = json!({
        "deviceId": id, "tenantId": TENANT_A, "deviceName": "sensor", "status": "Pending", "claimSecret": claim_secret,
    });
    assert_eq!(answer, expected);
    let log = world.log().await;
    let consumed = log.iter().find(|r| r.envelope.event_type == "registration_token.consumed").unwrap();
    assert_eq!(consumed.envelope.actor.kind.as_str(), "registration_token");
    assert_eq!(consumed.envelope.actor.id, prefix(&token).as_str());
    assert!(log.iter().all(|r| !String::from_utf8_lossy(&r.envelope.data).contains(&claim_secret)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_race_for_a_token_one_registers() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let bodies = (0..32).map(|_| registration(&token, &new_claim_secret())).collect();
    let (world, answers) = race(world, bodies, None).await;
    let registered: Vec<_> = answers.iter().filter(|(status, _)| *status == 201).collect();
    assert_eq!(registered.len(), 1);
    assert!(answers.iter().all(|(s, body)| *s == 201 || body["code"] == "REGISTRATION_TOKEN_USED"), "{answers:?}");
    let devices = world.log().await.into_iter().filter(|r| r.envelope.event_type == "device.registered").count();
    assert_eq!(devices, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_registration_many_times_at_once_is_one_device() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let body = registration(&token, &new_claim_secret());
    let (_, answers) = race(world, vec![body; 32], None).await;
    let ids: HashSet<_> = answers.iter().map(|(status, body)| (*status, body["deviceId"].to_string())).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| *status == 201));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_names_the_command_gets_the_recorded_device_too() {
    for _ in 0..10 {
        let world = World::new().await;
        let token = world.token(TENANT_A).await;
        let body = registration(&token, &new_claim_secret());
        let (world, answers) = race(world, vec![body; 16], Some("r-1")).await;
        let recorded = world.log().await.into_iter().find(|r| r.envelope.event_type == "device.registered").unwrap();
        for (status, body) in answers {
            assert_eq!((status, body["deviceId"].as_str().unwrap()), (201, recorded.envelope.stream.id()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_claim_secret_the_named_command_shows_its_secret_once() {
    for _ in 0..10 {
        let world = World::new().await;
        let token = world.token(TENANT_A).await;
        let body = json!({"tenantId": TENANT_A, "token": token["token"], "deviceName": "sensor"});
        let (world, answers) = race(world, vec![body; 16], Some("r-1")).await;
        let (shown, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 201);
        assert_eq!(shown.len(), 1);
        assert!(refused.iter().all(|(_, body)| body["code"] == "ALREADY_PROCESSED"), "{refused:?}");
        let recorded = world.log().await.into_iter().find(|r| r.envelope.event_type == "device.registered").unwrap();
        assert_eq!(shown[0].1["deviceId"], recorded.envelope.stream.id());
        let claim = world.post(format!("/api/devices/{}/api-key/claim", recorded.envelope.stream.id()));
        let claim = claim.bearer(shown[0].1["claimSecret"].as_str().unwrap());
        claim.send().await.problem(ErrorCode::DeviceNotApproved);
    }
}

#[tokio::test]
async fn a_lost_answer_is_answered_again_however_late() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let claim_secret = new_claim_secret();
    let first = world.register_with(&token, &claim_secret).await.expect(201);
    let id = first["deviceId"].as_str().unwrap().to_owned();
    assert_eq!(world.register_with(&token, &claim_secret).await.expect(201), first);
    world.post(format!("/api/devices/{id}/approve")).admin(Role::Admin).send().await.expect(200);
    assert_eq!(world.register_with(&token, &claim_secret).await.expect(201), first, "after the approval");
    world.clock.advance_days(31);
    let again = world.register_with(&token, &claim_secret).await;
    assert!(again.position().is_some(), "whoever lost the first answer can wait for it");
    assert_eq!(again.expect(201), first, "after the token's end");
    assert_eq!(world.types(&StreamId::registration_token(prefix(&token))).await.len(), 2);
    world.register_with(&token, &new_claim_secret()).await.problem(ErrorCode::RegistrationTokenUsed);
}

#[tokio::test]
async fn a_token_that_does_not_fit_is_refused_in_the_same_words() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let text = token["token"].as_str().unwrap();
    let other_tenant = json!({"tenantId": TENANT_B, "token": text, "deviceName": "sensor"});
    let with_token = |token: String| json!({"tenantId": TENANT_A, "token": token, "deviceName": "sensor"});
    let unknown = format!("sbt_00000000_{}", &text[text.len() - 43..]);
    let mut bodies = vec![];
    for body in [
        other_tenant,
        with_token(with_another_secret(text)),
        with_token(unknown),
        with_token(String::new()),
        with_token("nonsense".into()),
        with_token(format!("{text}\0")),
        with_token(text.repeat(100)),
        with_token(text.replace("sbt_", "sbc_")),
    ] {
        let (answer, attempts) = world.attempts_during(world.post("/api/devices").json(&body).send()).await;
        let mut problem = answer.problem(ErrorCode::InvalidRegistrationToken);
        assert_eq!(attempts, [("RegistrationToken".into(), "INVALID_REGISTRATION_TOKEN".into())], "{body}");
        problem["correlationId"] = Value::Null;
        bodies.push(problem);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(world.types(&StreamId::registration_token(prefix(&token))).await, ["registration_token.issued"]);
    world.register_with(&token, &new_claim_secret()).await.expect(201);
}

#[tokio::test]
async fn an_expired_token_registers_nothing_from_its_very_end_on() {
    let world = World::new().await;
    let (early, late) = (world.token(TENANT_A).await, world.token(TENANT_A).await);
    world.clock.advance_seconds(30 * 86_400 - 1);
    world.register_with(&early, &new_claim_secret()).await.expect(201);
    world.clock.advance_seconds(1);
    let (answer, attempts) = world.attempts_during(world.register_with(&late, &new_claim_secret())).await;
    answer.problem(ErrorCode::RegistrationTokenExpired);
    assert_eq!(attempts, [("RegistrationToken".into(), "REGISTRATION_TOKEN_EXPIRED".into())]);
    let wrong = json!({"token": with_another_secret(late["token"].as_str().unwrap()), "tenantId": TENANT_A});
    let answer = world.register_with(&wrong, &new_claim_secret()).await;
    answer.problem(ErrorCode::InvalidRegistrationToken);
}

#[tokio::test]
async fn what_the_audit_log_keeps_of_a_failed_registration() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let wrong = with_another_secret(token["token"].as_str().unwrap());
    let body = json!({"tenantId": TENANT_A, "token": wrong, "deviceName": "sensor"});
    let call =
        world.post("/api/devices").json(&body).header("user-agent", b"agent/1\tx").header("x-correlation-id", "c-1");
    call.header("x-forwarded-for", "203.0.113.9").send().await.problem(ErrorCode::InvalidRegistrationToken);
    let attempt = world.attempts().await.pop().unwrap();
    assert_eq!(attempt.api_key_prefix, Some(prefix(&token)));
    assert_eq!(attempt.user_agent.as_deref(), Some("agent/1\u{fffd}x"));
    assert_eq!(attempt.correlation_id.as_str(), "c-1");
    assert_eq!(attempt.ip_address.to_string(), "198.51.100.7", "nobody is believed who is no trusted proxy");
    assert_eq!(attempt.timestamp, world.now());
    assert_eq!(attempt.device_id, None);
}

#[tokio::test]
async fn a_malformed_registration_uses_nothing_up() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let deep = json!({"a": {"b": {"c": {"d": {"e": 1}}}}});
    for (field, value) in [
        ("deviceName", json!("")),
        ("deviceName", json!("x".repeat(129))),
        ("deviceName", json!("a\u{202e}b")),
        ("deviceName", Value::Null),
        ("claimSecret", json!("sbc_short")),
        ("claimSecret", json!(token["token"])),
        ("metadata", deep),
        ("metadata", json!({"k": "x".repeat(9_000)})),
        ("tenantId", json!("{018f3c5e-7b1a-7cc2-9d3e-0000000000aa}")),
        ("token", json!(7)),
        ("hostname", json!("x")),
    ] {
        let mut body = registration(&token, &new_claim_secret());
        body[field] = value;
        assert_eq!(world.post("/api/devices").json(&body).send().await.pointers(), [format!("/{field}")], "{body}");
    }
    assert_eq!(world.log().await.len(), 1, "only the token");
    world.register_with(&token, &new_claim_secret()).await.expect(201);
}

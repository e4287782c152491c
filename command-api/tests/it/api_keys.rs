//! API keys: claimed, rotated by an admin, rotated by the device, revoked.

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};

use crate::world::fleet::{TestDevice, new_claim_secret, with_another_secret};
use crate::world::{TENANT_A, World};

fn key(answer: &Value) -> String {
    answer["apiKey"].as_str().unwrap().to_owned()
}

fn with_key(device: &TestDevice, answer: &Value) -> TestDevice {
    TestDevice { api_key: key(answer), ..device.clone() }
}

#[tokio::test]
async fn a_key_is_claimed_after_the_approval_with_the_claim_secret_alone() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let refused = world.claim(&device).await.problem(ErrorCode::DeviceNotApproved);
    assert_eq!(refused["deviceStatus"], "Pending");
    world.decide(&device, "approve").await.expect(200);
    for wrong in [new_claim_secret(), "sbc_".into(), format!("{}A", device.claim_secret)] {
        let claim = world.post(device.route("api-key/claim")).bearer(&wrong).send();
        let (answer, attempts) = world.attempts_during(claim).await;
        answer.problem(ErrorCode::InvalidClaimSecret);
        assert_eq!(attempts, [("ClaimSecret".into(), "INVALID_CLAIM_SECRET".into())]);
        assert_eq!(world.attempts().await.last().unwrap().device_id, Some(device.device_id()));
    }
    let unknown = world.post(format!("/api/devices/{TENANT_A}/api-key/claim")).bearer(&device.claim_secret);
    unknown.send().await.problem(ErrorCode::InvalidClaimSecret);
    let anonymous = world.post(device.route("api-key/claim"));
    anonymous.send().await.problem(ErrorCode::AuthenticationRequired);
    let by_admin = world.post(device.route("api-key/claim")).admin(Role::Admin);
    by_admin.send().await.problem(ErrorCode::AuthenticationRequired);
    let extra = world.post(device.route("api-key/claim")).bearer(&device.claim_secret).json(&json!({"days": 1}));
    assert_eq!(extra.send().await.pointers(), ["/days"]);
    assert!(world.types(&device.keys()).await.is_empty());

    let claimed = world.claim(&device).await.expect(200);
    let names: Vec<&str> = claimed.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["apiKey", "expiresAt", "keyPrefix"]);
    let prefix = claimed["keyPrefix"].as_str().unwrap();
    assert!(key(&claimed).starts_with(&format!("sb_device_{prefix}_")));
    assert_eq!(claimed["expiresAt"], world.now().plus_days(90).to_string());
}

#[tokio::test]
async fn another_device_s_claim_secret_opens_nothing() {
    let world = World::new().await;
    let (a, b) = (world.pending_device(TENANT_A).await, world.pending_device(TENANT_A).await);
    world.decide(&a, "approve").await.expect(200);
    let call = world.post(a.route("api-key/claim")).bearer(&b.claim_secret);
    call.send().await.problem(ErrorCode::InvalidClaimSecret);
}

#[tokio::test]
async fn a_claim_may_be_repeated_until_a_key_is_used() {
    let world = World::new().await;
    let lost = world.approved_device(TENANT_A).await;
    let device = with_key(&lost, &world.claim(&lost).await.expect(200));
    world.heartbeat_by_key(&lost).await.problem(ErrorCode::ApiKeyRevoked);
    world.heartbeat_by_key(&device).await.expect(200);
    world.claim(&device).await.problem(ErrorCode::ApiKeyAlreadyClaimed);
    world.heartbeat_by_key(&device).await.expect(200);
    let types = world.types(&device.keys()).await;
    assert_eq!(types, ["api_key.issued", "api_key.revoked", "api_key.issued", "api_key.first_used"]);
}

#[tokio::test]
async fn an_admin_s_rotation_ends_the_old_key_and_opens_the_claim_again() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.heartbeat_by_key(&device).await.expect(200);
    let rotate = || world.post(device.route("rotate-api-key"));
    rotate().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
    for days in [0, 731] {
        let call = rotate().admin(Role::Operator).json(&json!({"expirationDays": days}));
        assert_eq!(call.send().await.pointers(), ["/expirationDays"]);
    }
    let rotated = rotate().admin(Role::Operator).json(&json!({"expirationDays": 7})).send().await.expect(200);
    assert_eq!(rotated["expiresAt"], world.now().plus_days(7).to_string());
    world.heartbeat_by_key(&device).await.problem(ErrorCode::ApiKeyRevoked);
    let claimed = world.claim(&device).await.expect(200);
    world.heartbeat_by_key(&with_key(&device, &rotated)).await.problem(ErrorCode::ApiKeyRevoked);
    let device = with_key(&device, &claimed);
    world.heartbeat_by_key(&device).await.expect(200);
    world.claim(&device).await.problem(ErrorCode::ApiKeyAlreadyClaimed);
}

#[tokio::test]
async fn a_device_s_own_rotation_ends_the_old_key_at_the_first_use_of_the_new_one() {
    let world = World::new().await;
    let old = world.approved_device(TENANT_A).await;
    world.heartbeat_by_key(&old).await.expect(200);
    let rotate = || world.post(old.route("rotate-api-key")).device(&old);
    let lost = with_key(&old, &rotate().send().await.expect(200));
    world.heartbeat_by_key(&old).await.expect(200);
    let new = with_key(&old, &rotate().send().await.expect(200));
    world.heartbeat_by_key(&lost).await.problem(ErrorCode::ApiKeyRevoked);
    world.heartbeat_by_key(&old).await.expect(200);
    world.heartbeat_by_key(&new).await.expect(200);
    world.heartbeat_by_key(&old).await.problem(ErrorCode::ApiKeyRevoked);
    world.heartbeat_by_key(&new).await.expect(200);
    world.claim(&new).await.problem(ErrorCode::ApiKeyAlreadyClaimed);
}

#[tokio::test]
async fn a_certificate_rotates_the_key_but_gives_none_where_an_admin_took_it() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let rotate = || world.post(device.route("rotate-api-key")).certificate(&certificate);
    let rotated = rotate().send().await.expect(200);
    world.heartbeat_by_key(&with_key(&device, &rotated)).await.expect(200);
    world.post(device.route("revoke-api-key")).admin(Role::Operator).send().await.expect(204);
    rotate().send().await.problem(ErrorCode::InvalidState);
}

#[tokio::test]
async fn a_revocation_holds_from_its_answer_on_and_closes_the_claim() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let revoke = || world.post(device.route("revoke-api-key"));
    revoke().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
    revoke().device(&device).send().await.problem(ErrorCode::AuthenticationRequired);
    let device = world.approved_device(TENANT_A).await;
    let revoke = || world.post(device.route("revoke-api-key")).admin(Role::Operator);
    let first = revoke().json(&json!({"reason": "stolen"})).send().await;
    assert!(first.position().is_some());
    first.expect(204);
    let (answer, attempts) = world.attempts_during(world.heartbeat_by_key(&device)).await;
    answer.problem(ErrorCode::ApiKeyRevoked);
    assert_eq!(attempts, [("ApiKey".into(), "API_KEY_REVOKED".into())]);
    let again = revoke().send().await;
    assert!(again.position().is_some(), "whoever lost the first answer can wait for it");
    again.expect(204);
    world.claim(&device).await.problem(ErrorCode::ApiKeyAlreadyClaimed);
    let rotated = world.post(device.route("rotate-api-key")).admin(Role::Operator).send().await.expect(200);
    world.heartbeat_by_key(&with_key(&device, &rotated)).await.expect(200);
}

#[tokio::test]
async fn the_first_use_is_on_record_before_it_is_answered() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    assert_eq!(world.types(&device.keys()).await, ["api_key.issued"]);
    world.store.appends_fail.set(true);
    world.heartbeat_by_key(&device).await.problem(ErrorCode::StoreUnavailable);
    world.store.appends_fail.set(false);
    assert_eq!(world.types(&device.keys()).await, ["api_key.issued"], "not answered, not used");
    world.heartbeat_by_key(&device).await.expect(200);
    assert_eq!(world.types(&device.keys()).await, ["api_key.issued", "api_key.first_used"]);
    world.store.appends_fail.set(true);
    world.heartbeat_by_key(&device).await.expect(200);
    assert_eq!(world.types(&device.keys()).await.len(), 2, "once");
}

#[tokio::test]
async fn a_key_that_is_not_ours_is_refused_in_the_same_words() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let unknown = format!("sb_device_00000000_{}", &device.api_key[device.api_key.len() - 43..]);
    let mut bodies = vec![];
    for (wrong, has_prefix) in [
        (with_another_secret(&device.api_key), true),
        (unknown, true),
        ("nonsense".to_owned(), false),
        (String::new(), false),
        (device.api_key.repeat(50), false),
        (device.api_key.to_uppercase(), false),
        (device.api_key.replace("sb_device_", "sbt_"), false),
    ] {
        let (answer, attempts) =
            world.attempts_during(world.post(device.route("heartbeat")).api_key(&wrong).send()).await;
        let mut problem = answer.problem(ErrorCode::InvalidApiKey);
        problem["correlationId"] = Value::Null;
        bodies.push(problem);
        assert_eq!(attempts, [("ApiKey".into(), "INVALID_API_KEY".into())]);
        let attempt = world.attempts().await.pop().unwrap();
        assert_eq!((attempt.api_key_prefix.is_some(), attempt.device_id), (has_prefix, None), "{wrong}");
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    let twice = world.post(device.route("heartbeat")).device(&device).device(&device);
    twice.send().await.problem(ErrorCode::InvalidApiKey);
    world.post(device.route("heartbeat")).send().await.problem(ErrorCode::AuthenticationRequired);
}

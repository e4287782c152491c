//! Registration tokens: made, bounded, revoked.

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::{Prefix, StreamId, Timestamp};

use crate::world::fleet::new_claim_secret;
use crate::world::{TENANT_A, TENANT_B, World};

const ROUTE: &str = "/api/registration-tokens";

fn stream(token: &Value) -> StreamId {
    StreamId::registration_token(Prefix::parse(token["tokenPrefix"].as_str().unwrap()).unwrap())
}

#[tokio::test]
async fn a_token_is_shown_once_with_what_the_agent_needs() {
    let world = World::new().await;
    let request = world.post(ROUTE).admin(Role::Operator).json(&json!({"tenantId": TENANT_A, "description": "shelf"}));
    let answer = request.send().await;
    assert!(answer.position().is_some());
    let body = answer.expect(201);
    let names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["caFingerprint", "expiresAt", "id", "tenantId", "token", "tokenPrefix"]);
    let prefix = body["tokenPrefix"].as_str().unwrap();
    assert!(body["token"].as_str().unwrap().starts_with(&format!("sbt_{prefix}_")));
    assert_eq!(body["caFingerprint"], world.authority.fingerprint().to_string());
    assert_eq!(body["expiresAt"], world.now().plus_days(30).to_string());
    let recorded = world.log().await;
    let token = body["token"].as_str().unwrap();
    let secret = &token[token.len() - 43..];
    assert!(recorded.iter().all(|r| !String::from_utf8_lossy(&r.envelope.data).contains(secret)));
}

#[tokio::test]
async fn the_validity_is_bounded_and_never_clamped() {
    let world = World::new().await;
    let create =
        |days: Value| world.post(ROUTE).admin(Role::Admin).json(&json!({"tenantId": TENANT_A, "validityDays": days}));
    for days in [1, 365] {
        let body = create(json!(days)).send().await.expect(201);
        assert_eq!(body["expiresAt"], world.now().plus_days(days).to_string());
    }
    for days in
        [json!(0), json!(-1), json!(366), json!(65_537), json!(i64::MAX), json!(u64::MAX), json!(1.5), json!("7")]
    {
        assert_eq!(create(days.clone()).send().await.pointers(), ["/validityDays"], "{days}");
    }
}

#[tokio::test]
async fn a_malformed_request_is_told_where() {
    let world = World::new().await;
    for (body, pointer) in [
        (json!({}), "/tenantId"),
        (json!({"tenantId": "x"}), "/tenantId"),
        (json!({"tenantId": TENANT_A, "validity": 1}), "/validity"),
        (json!({"tenantId": TENANT_A, "description": "x".repeat(513)}), "/description"),
        (json!({"tenantId": TENANT_A, "description": "a\nb"}), "/description"),
        (json!([TENANT_A]), ""),
    ] {
        assert_eq!(world.post(ROUTE).admin(Role::Admin).json(&body).send().await.pointers(), [pointer], "{body}");
    }
    let text = world.post(ROUTE).admin(Role::Admin).header("content-type", "text/plain").raw("{}");
    text.send().await.problem(ErrorCode::UnsupportedMediaType);
    let large = world.post(ROUTE).admin(Role::Admin).raw(vec![b' '; 3 << 20]);
    large.send().await.problem(ErrorCode::BodyTooLarge);
    assert!(world.log().await.is_empty());
}

#[tokio::test]
async fn an_auditor_a_stranger_and_another_tenants_admin_make_none() {
    let world = World::new().await;
    let create = || world.post(ROUTE).json(&json!({"tenantId": TENANT_A}));
    create().send().await.problem(ErrorCode::AuthenticationRequired);
    create().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
    create().admin_of(Role::Admin, TENANT_B).send().await.problem(ErrorCode::Forbidden);
    create().bearer("nonsense").send().await.problem(ErrorCode::InvalidToken);
    create().header("authorization", "Basic YTpi").send().await.problem(ErrorCode::InvalidToken);
    let twice = create().admin(Role::Admin).admin(Role::Admin);
    twice.send().await.problem(ErrorCode::InvalidToken);
    assert!(world.log().await.is_empty());
    create().admin_of(Role::Operator, TENANT_A).send().await.expect(201);
}

#[tokio::test]
async fn a_revoked_token_registers_nothing_and_may_be_revoked_again() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let revoke = || world.delete(format!("{ROUTE}/{}", token["id"].as_str().unwrap()));
    revoke().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
    revoke().admin_of(Role::Admin, TENANT_B).send().await.problem(ErrorCode::NotFound);
    let first = revoke().admin(Role::Operator).json(&json!({"reason": "lost"})).send().await;
    assert!(first.position().is_some());
    first.expect(204);
    let again = revoke().admin(Role::Operator).send().await;
    assert!(again.position().is_some(), "whoever lost the first answer can wait for it");
    again.expect(204);
    assert_eq!(world.types(&stream(&token)).await, ["registration_token.issued", "registration_token.revoked"]);
    let refused = world.register_with(&token, &new_claim_secret()).await;
    refused.problem(ErrorCode::RegistrationTokenRevoked);
}

#[tokio::test]
async fn a_used_token_cannot_be_revoked_and_an_unknown_one_does_not_exist() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    world.register_with(&token, &new_claim_secret()).await.expect(201);
    let used = world.delete(format!("{ROUTE}/{}", token["id"].as_str().unwrap())).admin(Role::Admin);
    used.send().await.problem(ErrorCode::RegistrationTokenUsed);
    let unknown = world.delete(format!("{ROUTE}/{TENANT_A}")).admin(Role::Admin);
    unknown.send().await.problem(ErrorCode::NotFound);
    let malformed = world.delete(format!("{ROUTE}/7")).admin(Role::Admin);
    assert_eq!(malformed.send().await.pointers(), ["/path/id"]);
}

#[tokio::test]
async fn an_expired_admin_token_is_refused_and_recorded() {
    let world = World::new().await;
    let token = world.admin_token(Role::Admin, None);
    world.clock.advance_seconds(3_600 + 30);
    let create = world.post(ROUTE).bearer(&token).json(&json!({"tenantId": TENANT_A})).send();
    let (answer, attempts) = world.attempts_during(create).await;
    answer.problem(ErrorCode::InvalidToken);
    assert_eq!(attempts, [("AdminToken".into(), "INVALID_TOKEN".into())]);
    assert!(Timestamp::parse("2026-01-31T13:00:30Z").unwrap() == world.now());
}

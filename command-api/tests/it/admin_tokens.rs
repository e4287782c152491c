//! Revoked admin tokens: refused from the moment of the answer on, and nobody revokes another's without being allowed to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::admin_token::AdminTokenEvent;
use signalbeam_domain::{ActorKind, AdminTokenId, Event, StreamId};
use signalbeam_event_store::EventReader as _;

use crate::world::call::Call;
use crate::world::{TENANT_A, TENANT_B, World};

fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn jti(token: &str) -> String {
    claims(token)["jti"].as_str().unwrap().to_owned()
}

fn stream(jti: &str) -> StreamId {
    StreamId::admin_token(&AdminTokenId::parse(jti).unwrap())
}

fn revoke<'a>(world: &'a World, by: &str, body: &Value) -> Call<'a> {
    world.post("/api/admin-tokens/revoke").bearer(by).json(body)
}

/// Whether a token lets its holder in.
async fn works(world: &World, token: &str) -> bool {
    let body = json!({"tenantId": TENANT_A});
    let answer = world.post("/api/registration-tokens").bearer(token).json(&body).send().await;
    if answer.status == 201 {
        return true;
    }
    answer.problem(ErrorCode::InvalidToken);
    false
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_the_answer_on_and_that_is_on_record() {
    let world = World::new().await;
    let [by, stolen, other] = [(); 3].map(|()| world.admin_token(Role::Admin, None));
    assert!(works(&world, &stolen).await);
    let answer = revoke(&world, &by, &json!({"jti": jti(&stolen), "reason": "laptop stolen"})).send().await;
    assert!(answer.position().is_some());
    answer.expect(204);
    let (is_in, attempts) = world.attempts_during(works(&world, &stolen)).await;
    assert!(!is_in);
    assert_eq!(attempts, [("AdminToken".to_owned(), "INVALID_TOKEN".to_owned())]);
    assert!(works(&world, &other).await && works(&world, &by).await);

    let recorded = world.store.read_stream(&stream(&jti(&stolen))).await.unwrap();
    let [recorded] = &*recorded else { panic!("one event: {recorded:?}") };
    let envelope = &recorded.envelope;
    assert_eq!((envelope.actor.kind, envelope.actor.id.as_str()), (ActorKind::Admin, "admin@example"));
    assert_eq!(envelope.tenant_id, None);
    let Event::AdminTokenEvent(AdminTokenEvent::Revoked(revoked)) = recorded.event().unwrap() else { panic!() };
    assert_eq!((revoked.issuer.as_str(), revoked.reason.unwrap().as_str()), ("signalbeam", "laptop stolen"));
    assert_eq!(revoked.expires_at, None, "nobody showed the token");
    revoke(&world, &by, &json!({"jti": jti(&stolen)})).send().await.expect(204);
    assert_eq!(world.types(&stream(&jti(&stolen))).await.len(), 1);
}

#[tokio::test]
async fn everybody_may_log_out_and_nobody_else_is_logged_out_by_it() {
    let world = World::new().await;
    for role in Role::ALL {
        for confined_to in [None, Some(TENANT_A)] {
            let (own, other) = (world.admin_token(role, confined_to), world.admin_token(role, confined_to));
            let body = json!({"jti": jti(&own)});
            revoke(&world, &own, &body).send().await.expect(204);
            revoke(&world, &own, &body).send().await.problem(ErrorCode::InvalidToken);
            world.post("/api/admin-tokens/revoke").bearer(&other).send().await.problem(ErrorCode::InvalidRequest);
            let events = world.events(&stream(&jti(&own))).await;
            let [Event::AdminTokenEvent(AdminTokenEvent::Revoked(revoked))] = &*events else { panic!("{events:?}") };
            assert_eq!(revoked.expires_at, Some(world.now().plus_seconds(3_600).to_whole_second()));
        }
    }
}

#[tokio::test]
async fn only_an_admin_of_every_tenant_revokes_others() {
    let world = World::new().await;
    let victim = world.admin_token(Role::Operator, Some(TENANT_B));
    let now = world.now().to_string();
    for (role, confined_to) in [
        (Role::Operator, None),
        (Role::Auditor, None),
        (Role::Admin, Some(TENANT_A)),
        (Role::Admin, Some(TENANT_B)),
        (Role::Auditor, Some(TENANT_B)),
    ] {
        let by = world.admin_token(role, confined_to);
        let others = [
            json!({"jti": jti(&victim)}),
            json!({"jti": jti(&by), "issuer": "https://id.example"}),
            json!({"issuedBefore": now}),
        ];
        for body in others {
            revoke(&world, &by, &body).send().await.problem(ErrorCode::Forbidden);
        }
    }
    let device = world.approved_device(TENANT_A).await;
    let by_device = world.post("/api/admin-tokens/revoke").device(&device).json(&json!({"jti": jti(&victim)}));
    by_device.send().await.problem(ErrorCode::AuthenticationRequired);
    let before = world.log().await.len();
    let own = world.admin_token(Role::Auditor, None);
    revoke(&world, &own, &json!({"jti": jti(&own)})).send().await.expect(204);
    assert_eq!(world.log().await.len(), before + 1, "nothing but that was recorded");
}

#[tokio::test]
async fn everything_issued_before_a_moment_is_refused_and_what_comes_after_is_not() {
    let world = World::new().await;
    let old = world.admin_token(Role::Admin, None);
    let other = world.admin_token(Role::Operator, None);
    world.clock.advance_seconds(60);
    let moment = world.now().to_string();
    let answer = revoke(&world, &old, &json!({"issuedBefore": moment, "reason": "the secret has leaked"})).send().await;
    assert!(answer.position().is_some());
    answer.expect(204);
    assert!(!works(&world, &old).await && !works(&world, &other).await, "the caller's own too");
    let new = world.admin_token(Role::Admin, None);
    assert!(works(&world, &new).await);
    let earlier = world.now().plus_seconds(-30).to_string();
    revoke(&world, &new, &json!({"issuedBefore": earlier})).send().await.expect(204);
    assert!(!works(&world, &old).await && works(&world, &new).await);
    assert_eq!(world.types(&StreamId::all_admin_tokens()).await, ["admin_token.all_revoked"]);
}

#[tokio::test]
async fn exactly_one_of_the_two_is_asked_for_and_it_is_well_formed() {
    let world = World::new().await;
    let by = world.admin_token(Role::Admin, None);
    let now = world.now().to_string();
    for (body, pointer) in [
        (json!({}), "/jti"),
        (json!({"reason": "x"}), "/jti"),
        (json!({"jti": "a", "issuedBefore": now}), "/issuedBefore"),
        (json!({"issuer": "signalbeam", "issuedBefore": now}), "/issuer"),
        (json!({"issuedBefore": world.now().plus_seconds(1).to_string()}), "/issuedBefore"),
        (json!({"issuedBefore": "yesterday"}), "/issuedBefore"),
        (json!({"jti": ""}), "/jti"),
        (json!({"jti": "a b"}), "/jti"),
        (json!({"jti": "x".repeat(129)}), "/jti"),
        (json!({"jti": "a", "reason": "two\nlines"}), "/reason"),
        (json!({"jti": "a", "more": 1}), "/more"),
    ] {
        assert_eq!(revoke(&world, &by, &body).send().await.pointers(), [pointer], "{body}");
    }
    assert!(world.log().await.is_empty());
}

#[tokio::test]
async fn the_same_revocation_again_is_answered_as_the_first_time() {
    let world = World::new().await;
    let (by, stolen) = (world.admin_token(Role::Admin, None), world.admin_token(Role::Admin, None));
    let call = |body: &Value| revoke(&world, &by, body).idempotency_key("k-1");
    let body = json!({"jti": jti(&stolen)});
    let first = call(&body).send().await.position();
    assert!(first.is_some());
    assert_eq!(call(&body).send().await.position(), first);
    call(&json!({"jti": "other"})).send().await.problem(ErrorCode::IdempotencyKeyReused);
}

#[tokio::test]
async fn a_token_of_another_issuer_is_told_apart_from_one_with_the_same_id() {
    let world = World::new().await;
    let (by, ours) = (world.admin_token(Role::Admin, None), world.admin_token(Role::Admin, None));
    let body = json!({"jti": jti(&ours), "issuer": "https://id.example"});
    revoke(&world, &by, &body).send().await.expect(204);
    assert!(works(&world, &ours).await);
}

#[tokio::test]
async fn nobody_is_let_in_while_a_revocation_may_be_unknown() {
    let world = World::new().await;
    let token = world.admin_token(Role::Admin, None);
    assert!(works(&world, &token).await);
    world.store.reads_fail.set(true);
    while world.index.age() <= signalbeam_authn::authenticator::FRESHNESS_BOUND {
        tokio::task::yield_now().await;
    }
    let body = json!({"tenantId": TENANT_A});
    let call = || world.post("/api/registration-tokens").json(&body);
    call().bearer(&token).send().await.problem(ErrorCode::AuthStateStale);
    call().bearer("x.y.z").send().await.problem(ErrorCode::InvalidToken);
    world.store.reads_fail.set(false);
    assert!(works(&world, &token).await);
}

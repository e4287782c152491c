//! What the authentication log keeps of each way to succeed or fail.

use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::Prefix;
use signalbeam_event_store::{AuthenticationAttempt, AuthenticationMethod};
use uuid::Uuid;

use crate::world::call::Call;
use crate::world::fleet::{new_claim_secret, with_another_secret};
use crate::world::{TENANT_A, TENANT_B, World, tenant};

#[tokio::test]
async fn a_failure_by_a_token_or_a_claim_secret_has_its_prefix_and_tenant_where_they_are_certain() {
    let world = World::new().await;
    let (used, revoked, expired) =
        (world.token(TENANT_A).await, world.token(TENANT_A).await, world.token(TENANT_A).await);
    world.register_with(&used, &new_claim_secret()).await.expect(201);
    let route = format!("/api/registration-tokens/{}", revoked["id"].as_str().unwrap());
    world.delete(route).admin(Role::Admin).send().await.expect(204);
    let fresh = world.token(TENANT_A).await;
    let unknown =
        json!({"token": with_another_secret(&format!("sbt_unknown0_{}", "x".repeat(43))), "tenantId": TENANT_A});
    let elsewhere = json!({"token": fresh["token"], "tenantId": TENANT_B});
    let wrong = json!({"token": with_another_secret(fresh["token"].as_str().unwrap()), "tenantId": TENANT_A});
    let known = Some(tenant(TENANT_A));
    let presented = |token: &serde_json::Value| {
        Some(Prefix::parse(&token["token"].as_str().unwrap()["sbt_".len()..][..8]).unwrap())
    };
    for (token, code, tenant_id) in [
        (&used, ErrorCode::RegistrationTokenUsed, known),
        (&revoked, ErrorCode::RegistrationTokenRevoked, known),
        (&elsewhere, ErrorCode::InvalidRegistrationToken, known),
        (&wrong, ErrorCode::InvalidRegistrationToken, known),
        (&unknown, ErrorCode::InvalidRegistrationToken, None),
    ] {
        world.register_with(token, &new_claim_secret()).await.problem(code);
        let attempt = world.attempts().await.pop().unwrap();
        assert_failed(&attempt, AuthenticationMethod::RegistrationToken, code);
        assert_eq!((attempt.api_key_prefix, attempt.tenant_id), (presented(token), tenant_id), "{token}");
    }
    world.clock.advance_days(31);
    world.register_with(&expired, &new_claim_secret()).await.problem(ErrorCode::RegistrationTokenExpired);
    let attempt = world.attempts().await.pop().unwrap();
    assert_failed(&attempt, AuthenticationMethod::RegistrationToken, ErrorCode::RegistrationTokenExpired);

    let device = world.pending_device(TENANT_A).await;
    for (id, device_id) in
        [(device.device_id().to_string(), Some(device.device_id())), (Uuid::now_v7().to_string(), None)]
    {
        let call = world.post(format!("/api/devices/{id}/api-key/claim")).bearer(&new_claim_secret());
        call.send().await.problem(ErrorCode::InvalidClaimSecret);
        let attempt = world.attempts().await.pop().unwrap();
        assert_failed(&attempt, AuthenticationMethod::ClaimSecret, ErrorCode::InvalidClaimSecret);
        assert_eq!((attempt.device_id, attempt.tenant_id), (device_id, device_id.and(known)));
    }
    world.post("/api/registration-tokens").bearer("x.y.z").send().await.problem(ErrorCode::InvalidToken);
    let attempt = world.attempts().await.pop().unwrap();
    assert_failed(&attempt, AuthenticationMethod::AdminToken, ErrorCode::InvalidToken);
}

fn assert_failed(attempt: &AuthenticationAttempt, method: AuthenticationMethod, code: ErrorCode) {
    assert!(!attempt.success);
    assert_eq!((attempt.method, attempt.failure_code.as_deref()), (method, Some(code.as_str())));
    assert!(attempt.failure_reason.is_some());
    assert_eq!((attempt.ip_address.to_string().as_str(), attempt.attempts), ("198.51.100.7", 1));
}

fn named(call: Call<'_>) -> Call<'_> {
    call.header("user-agent", "agent/1").header("x-correlation-id", "c-1")
}

#[tokio::test]
async fn a_success_has_all_that_is_known_of_it() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    named(world.post(device.route("heartbeat")).certificate(&certificate)).send().await.expect(200);
    let by_certificate = world.attempts().await.pop().unwrap();
    named(world.post(device.route("heartbeat")).device(&device)).send().await.expect(200);
    let by_key = world.attempts().await.pop().unwrap();
    for attempt in [&by_certificate, &by_key] {
        assert!(attempt.success);
        assert_eq!((attempt.device_id, attempt.tenant_id), (Some(device.device_id()), Some(tenant(TENANT_A))));
        assert_eq!(
            (attempt.ip_address.to_string().as_str(), attempt.user_agent.as_deref()),
            ("198.51.100.7", Some("agent/1"))
        );
        assert_eq!((attempt.timestamp, attempt.correlation_id.as_str()), (world.now(), "c-1"));
        assert_eq!((&attempt.failure_code, &attempt.failure_reason), (&None, &None));
    }
    assert_eq!(by_certificate.method, AuthenticationMethod::Certificate);
    assert_eq!(by_certificate.certificate_serial_number, Some(certificate.serial_number()));
    assert_eq!(by_key.method, AuthenticationMethod::ApiKey);
    assert_eq!(by_key.api_key_prefix.unwrap().as_str(), &device.api_key["sb_device_".len()..][..8]);
}

//! How many devices and tokens a tenant may have.

use std::sync::Arc;

use serde_json::json;
use signalbeam_authn::limits::tenants::TenantBounds;
use signalbeam_authn::{ErrorCode, Role};
use tokio::task::JoinSet;

use crate::world::foreign::ForeignAuthority;

use super::{TENANT_A, TENANT_B, World, new_claim_secret, one_tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_registrations_at_once_as_many_succeed_as_there_is_room_for() {
    let world = Arc::new(World::new().await);
    world.pending_device(TENANT_A).await;
    let mut tokens = vec![];
    for _ in 0..12 {
        tokens.push(world.token(TENANT_A).await);
    }
    let bounds = TenantBounds { max_devices: Some(4), ..TenantBounds::default() };
    world.limits.reconfigure(None, one_tenant(bounds));
    let mut tasks = JoinSet::new();
    for token in tokens {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let answer = world.register_with(&token, &new_claim_secret()).await;
            if answer.status == 201 {
                return Ok(answer.expect(201)["deviceId"].as_str().unwrap().to_owned());
            }
            let problem = answer.problem(ErrorCode::QuotaExceeded);
            assert_eq!((&problem["limit"], &problem["current"]), (&json!(4), &json!(4)), "{problem}");
            Err(token)
        });
    }
    let (registered, refused): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((registered.len(), refused.len()), (3, 9));
    world.pending_device(TENANT_B).await;
    let gone = registered[0].as_ref().unwrap();
    world.post(format!("/api/devices/{gone}/decommission")).admin(Role::Admin).send().await.expect(200);
    let token = refused[0].as_ref().unwrap_err();
    world.register_with(token, &new_claim_secret()).await.expect(201);
    let token = refused[1].as_ref().unwrap_err();
    world.register_with(token, &new_claim_secret()).await.problem(ErrorCode::QuotaExceeded);
}

#[tokio::test]
async fn imported_devices_count_as_well() {
    let world = World::new().await;
    let bounds = TenantBounds { max_devices: Some(1), ..TenantBounds::default() };
    world.limits.reconfigure(None, one_tenant(bounds));
    let authority = ForeignAuthority::new("Acme Device CA");
    let certificates = ["1", "2"].map(|name| json!({"certificate": authority.certificate(name).pem()}));
    let body = json!({"tenantId": TENANT_A, "certificates": certificates});
    let call = world.post("/api/certificates/import").admin(Role::Admin).json(&body);
    let answer = call.send().await.expect(200);
    assert_eq!((&answer["imported"], &answer["failed"]), (&json!(1), &json!(1)));
    let codes: Vec<_> = answer["results"].as_array().unwrap().iter().map(|result| &result["code"]).collect();
    assert!(codes.contains(&&json!("QUOTA_EXCEEDED")), "{codes:?}");
}

#[tokio::test]
async fn a_tenant_has_so_many_open_tokens_and_used_revoked_and_expired_ones_do_not_count() {
    let world = World::new().await;
    let bounds = TenantBounds { max_active_tokens: Some(2), ..TenantBounds::default() };
    world.limits.reconfigure(None, one_tenant(bounds));
    let create = || {
        world.post("/api/registration-tokens").admin_of(Role::Operator, TENANT_A).json(&json!({"tenantId": TENANT_A}))
    };
    let first = create().send().await.expect(201);
    let second = create().idempotency_key("second").send().await.expect(201);
    let problem = create().send().await.problem(ErrorCode::QuotaExceeded);
    assert_eq!((&problem["limit"], &problem["current"]), (&json!(2), &json!(2)));
    create().idempotency_key("second").send().await.problem(ErrorCode::AlreadyProcessed);
    world.token(TENANT_B).await;
    world.register_with(&first, &new_claim_secret()).await.expect(201);
    create().send().await.expect(201);
    let revoke = format!("/api/registration-tokens/{}", second["id"].as_str().unwrap());
    world.delete(revoke).admin(Role::Operator).send().await.expect(204);
    create().send().await.expect(201);
    create().send().await.problem(ErrorCode::QuotaExceeded);
    world.clock.advance_days(31);
    create().send().await.expect(201);
}

//! A fleet is told to renew: what is asked for, of whom, and what a device may do then.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::Timestamp;

use super::renewing::renew;
use crate::world::call::Call;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr};
use crate::world::{TENANT_A, TENANT_B, World};

fn ask<'a>(world: &'a World, body: &Value) -> Call<'a> {
    world.post("/api/certificates/request-renewal").admin(Role::Admin).json(body)
}

async fn renewal_required(world: &World, device: &TestDevice, certificate: &DeviceCertificate) -> Value {
    let heartbeat = world.heartbeat_by_certificate(device, certificate).await.expect(200);
    heartbeat["certificate"]["renewalRequired"].clone()
}

async fn requests(world: &World) -> usize {
    let log = world.log().await;
    log.iter().filter(|recorded| recorded.envelope.event_type == "certificate.renewal_requested").count()
}

#[tokio::test]
async fn who_is_asked_may_renew_from_the_start_of_the_window_on() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let start = world.now().plus_days(2);
    let body = json!({"filter": {}, "start": start.to_string(), "spreadHours": 6, "reason": "a new profile"});
    let asked = ask(&world, &body).send().await.expect(200);
    assert_eq!((&asked["matched"], &asked["requested"], &asked["failed"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(asked["windowStart"], start.to_string());
    assert_eq!(asked["windowEnd"], start.plus_seconds(6 * 3_600).to_string());
    assert_eq!(asked["certificates"], json!([{"serialNumber": certificate.serial, "deviceId": device.id}]));

    assert_eq!(renewal_required(&world, &device, &certificate).await, false);
    let early = renew(&world, &certificate, &csr()).certificate(&certificate).send().await;
    let early = early.problem(ErrorCode::CertificateNotRenewable);
    assert_eq!(early["renewableFrom"], start.to_string());
    world.clock.advance_days(2);
    assert_eq!(renewal_required(&world, &device, &certificate).await, true);
    let new = renew(&world, &certificate, &csr()).certificate(&certificate).send().await.expect(201);
    let new = DeviceCertificate::shown(new);
    assert_eq!(renewal_required(&world, &device, &new).await, false, "the successor was not asked for");
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_records_nothing() {
    let world = World::new().await;
    world.device_with_certificate(TENANT_A).await;
    let events = world.log().await.len();
    let call = || ask(&world, &json!({"filter": {}, "dryRun": true})).idempotency_key("k");
    let answer = call().send().await.expect(200);
    assert_eq!((&answer["matched"], &answer["requested"]), (&json!(1), &json!(0)));
    assert_eq!(answer["certificates"].as_array().unwrap().len(), 1);
    assert_eq!(world.log().await.len(), events);
}

#[tokio::test]
async fn nobody_is_asked_twice_and_a_repetition_does_what_is_left() {
    let world = World::new().await;
    world.device_with_certificate(TENANT_A).await;
    let body = json!({"filter": {"tenantId": TENANT_A}});
    let named = || ask(&world, &body).idempotency_key("k").send();
    let first = named().await.expect(200);
    world.clock.advance_seconds(60);
    let second = named().await.expect(200);
    assert_eq!(second, first, "the window that was recorded, too");
    let unnamed = ask(&world, &body).send().await.expect(200);
    assert_eq!((&unnamed["requested"], &unnamed["unchanged"]), (&json!(0), &json!(1)));
    let (late, certificate) = world.device_with_certificate(TENANT_A).await;
    let third = named().await.expect(200);
    assert_eq!((&third["matched"], &third["requested"]), (&json!(2), &json!(2)));
    assert_eq!(requests(&world).await, 2);
    assert_eq!(renewal_required(&world, &late, &certificate).await, true);
}

#[tokio::test]
async fn a_request_that_a_failing_store_ended_is_finished_by_asking_again() {
    let world = World::new().await;
    for _ in 0..3 {
        world.device_with_certificate(TENANT_A).await;
    }
    let call = || ask(&world, &json!({"filter": {}})).idempotency_key("k").send();
    world.store.appends_fail.set(true);
    call().await.problem(ErrorCode::StoreUnavailable);
    world.store.appends_fail.set(false);
    let done = call().await.expect(200);
    assert_eq!((&done["matched"], &done["requested"]), (&json!(3), &json!(3)));
    assert_eq!(requests(&world).await, 3);
    let correlations: BTreeSet<_> = world
        .log()
        .await
        .iter()
        .filter(|recorded| recorded.envelope.event_type == "certificate.renewal_requested")
        .map(|recorded| recorded.envelope.correlation_id.as_str().to_owned())
        .collect();
    assert_eq!(correlations.len(), 1, "one command");
}

#[tokio::test]
async fn a_filter_means_what_fits_all_of_it_within_the_admins_tenant() {
    let world = World::new().await;
    let (first, old) = world.device_with_certificate(TENANT_A).await;
    world.device_with_certificate(TENANT_B).await;
    world.clock.advance_days(1);
    let middle = world.now();
    world.clock.advance_days(1);
    let (second, _) = world.device_with_certificate(TENANT_A).await;
    let (_, ended) = world.device_with_certificate(TENANT_A).await;
    world.delete(ended.route()).admin(Role::Admin).send().await.expect(204);
    let matched = async |filter: Value, tenant: Option<&str>| {
        let body = json!({"filter": filter, "dryRun": true});
        let call = world.post("/api/certificates/request-renewal").json(&body);
        let call = if let Some(tenant) = tenant { call.admin_of(Role::Admin, tenant) } else { call.admin(Role::Admin) };
        call.send().await.expect(200)["matched"].as_u64().unwrap()
    };
    let authority = world.authority.id().to_string();
    for (filter, expected) in [
        (json!({}), 3),
        (json!({"tenantId": TENANT_A}), 2),
        (json!({"profile": "device"}), 3),
        (json!({"profile": "other"}), 0),
        (json!({"issuedAfter": middle.to_string()}), 1),
        (json!({"issuedBefore": middle.to_string()}), 2),
        (json!({"tenantId": TENANT_A, "issuedBefore": middle.to_string()}), 1),
        (json!({"deviceIds": [first.id, second.id]}), 2),
        (json!({"authorityId": authority}), 3),
        (json!({"authorityId": first.id}), 0),
    ] {
        assert_eq!(matched(filter.clone(), None).await, expected, "{filter}");
    }
    assert_eq!(matched(json!({}), Some(TENANT_B)).await, 1);
    assert_eq!(matched(json!({"deviceIds": [first.id]}), Some(TENANT_B)).await, 0, "another tenant's");
    let foreign = world.post("/api/certificates/request-renewal").admin_of(Role::Admin, TENANT_B);
    let foreign = foreign.json(&json!({"filter": {"tenantId": TENANT_A}})).send().await;
    foreign.problem(ErrorCode::Forbidden);
    assert_eq!(requests(&world).await, 0);
    world.clock.set(Timestamp::parse(old.answer["expiresAt"].as_str().unwrap()).unwrap().plus_seconds(1));
    assert_eq!(matched(json!({}), None).await, 1, "what has expired is not renewed");
}

#[tokio::test]
async fn malformed_requests_and_other_roles_are_refused() {
    let world = World::new().await;
    let now = world.now();
    let (sooner, far) = (now.to_string(), now.plus_days(398).to_string());
    let many: Vec<String> = (0..1_001).map(|_| TENANT_A.to_owned()).collect();
    for (body, pointer) in [
        (json!({"filter": {}, "spreadHours": 0}), "/spreadHours"),
        (json!({"filter": {}, "spreadHours": 721}), "/spreadHours"),
        (json!({"filter": {}, "start": far}), "/start"),
        (json!({"filter": {"deviceIds": []}}), "/filter/deviceIds"),
        (json!({"filter": {"deviceIds": many}}), "/filter/deviceIds"),
        (json!({"filter": {"profile": ""}}), "/filter/profile"),
        (json!({"filter": {"profile": "x".repeat(65)}}), "/filter/profile"),
        (json!({"filter": {"issuedAfter": sooner, "issuedBefore": sooner}}), "/filter/issuedBefore"),
    ] {
        assert_eq!(ask(&world, &body).send().await.pointers(), [pointer], "{body}");
    }
    for body in [json!({}), json!({"filter": {"serials": []}}), json!({"filter": {"tenantId": "x"}})] {
        ask(&world, &body).send().await.problem(ErrorCode::InvalidRequest);
    }
    for role in [Role::Operator, Role::Auditor] {
        let call = world.post("/api/certificates/request-renewal").admin(role).json(&json!({"filter": {}}));
        call.send().await.problem(ErrorCode::Forbidden);
    }
    let device = world.approved_device(TENANT_A).await;
    let call = world.post("/api/certificates/request-renewal").device(&device).json(&json!({"filter": {}}));
    call.send().await.problem(ErrorCode::AuthenticationRequired);
}

//! Revoking many: what a filter means, in force before the answer, and to its end whatever comes between.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use signalbeam_authn::{Connection, ErrorCode, Role};
use signalbeam_domain::{ActorKind, SerialNumber};

use crate::world::call::Call;
use crate::world::fleet::csr;
use crate::world::{TENANT_A, TENANT_B, World};

fn revoke<'a>(world: &'a World, body: &Value) -> Call<'a> {
    world.post("/api/certificates/revoke").admin(Role::Admin).json(body)
}

fn of_tenant(tenant_id: &str, dry_run: bool) -> Value {
    json!({"filter": {"tenantId": tenant_id}, "reason": "leaked", "reasonCode": "keyCompromise", "dryRun": dry_run})
}

/// The serial numbers of all revocations in the log, in its order.
async fn revoked(world: &World) -> Vec<SerialNumber> {
    let log = world.log().await;
    let revocations = log.iter().filter(|recorded| recorded.envelope.event_type == "certificate.revoked");
    let data = revocations.map(|recorded| serde_json::from_slice::<Value>(&recorded.envelope.data).unwrap());
    data.map(|data| SerialNumber::from_hex(data["serialNumber"].as_str().unwrap()).unwrap()).collect()
}

fn told(answer: &Value) -> BTreeSet<String> {
    let told = answer["certificates"].as_array().unwrap().iter();
    told.map(|certificate| certificate["serialNumber"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_fits_the_filter_is_revoked_as_one_command_and_at_once() {
    let world = World::new().await;
    let mut ours = vec![];
    for _ in 0..3 {
        ours.push(world.device_with_certificate(TENANT_A).await);
    }
    let (spared, spared_certificate) = world.device_with_certificate(TENANT_B).await;
    let open = ours.iter().map(|(device, certificate)| {
        let chain = vec![CertificateDer::from(certificate.der.clone())];
        (device, Arc::new(Connection::with_certificates("198.51.100.7:1".parse().unwrap(), chain)))
    });
    let open: Vec<_> = open.collect();
    for (device, connection) in &open {
        world.post(device.route("heartbeat")).on(connection).send().await.expect(200);
    }
    let before = world.log().await.len();

    let rehearsed = revoke(&world, &of_tenant(TENANT_A, true)).send().await.expect(200);
    assert_eq!((&rehearsed["dryRun"], &rehearsed["count"]), (&json!(true), &json!(3)));
    let counts = json!([{"tenantId": TENANT_A, "profile": "device", "count": 3}]);
    assert_eq!(rehearsed["byTenantAndProfile"], counts);
    assert_eq!(told(&rehearsed), ours.iter().map(|(_, certificate)| certificate.serial.clone()).collect());
    assert_eq!(world.log().await.len(), before, "a dry run changes nothing");

    let answer = revoke(&world, &of_tenant(TENANT_A, false)).send().await;
    let correlation_id = answer.headers["x-correlation-id"].to_str().unwrap().to_owned();
    let position = answer.position().unwrap();
    let done = answer.expect(200);
    for (device, connection) in &open {
        let refused = world.post(device.route("heartbeat")).on(connection).send().await;
        refused.problem(ErrorCode::CertificateRevoked);
    }
    world.heartbeat_by_certificate(&spared, &spared_certificate).await.expect(200);
    assert_eq!((&done["dryRun"], &done["complete"], &done["count"]), (&json!(false), &json!(true), &json!(3)));
    assert_eq!((&done["byTenantAndProfile"], told(&done)), (&counts, told(&rehearsed)));
    let log = world.log().await;
    assert_eq!(done["completeTo"], log[before + 2].envelope.position.0);
    assert_eq!(position.0, log[before + 2].envelope.position.0);
    for recorded in &log[before..before + 3] {
        let data: Value = serde_json::from_slice(&recorded.envelope.data).unwrap();
        assert_eq!((&data["reason"], &data["reasonCode"]), (&json!("leaked"), &json!("keyCompromise")));
        assert_eq!(recorded.envelope.correlation_id.as_str(), correlation_id);
        assert_eq!(recorded.envelope.event_type, "certificate.revoked");
    }
    let again = revoke(&world, &of_tenant(TENANT_A, false)).send().await.expect(200);
    assert_eq!((&again["count"], &again["complete"]), (&json!(0), &json!(true)));
}

#[tokio::test]
async fn every_member_of_the_filter_narrows_it() {
    let world = World::new().await;
    let first = world.record_certified_devices(TENANT_A, 2).await;
    let between = world.now().plus_days(1).to_string();
    world.clock.advance_days(2);
    let second = world.record_certified_devices(TENANT_A, 3).await;
    let log = world.log().await;
    let device = log.last().unwrap().envelope.stream.id().to_owned();
    let count = async |filter: Value| {
        let body = json!({"filter": filter, "dryRun": true});
        revoke(&world, &body).send().await.expect(200)["count"].as_u64().unwrap()
    };
    assert_eq!(count(json!({"issuedBefore": between})).await, 2);
    assert_eq!(count(json!({"issuedAfter": between})).await, 3);
    assert_eq!(count(json!({"profile": "device"})).await, 5);
    assert_eq!(count(json!({"profile": "gateway"})).await, 0);
    assert_eq!(count(json!({"deviceIds": [device]})).await, 1);
    assert_eq!(count(json!({"deviceIds": [device], "issuedBefore": between})).await, 0);
    assert_eq!(count(json!({"authorityId": world.authority.id()})).await, 5);
    assert_eq!(count(json!({"authorityId": device})).await, 0);
    let body = json!({"filter": {"issuedBefore": between}, "dryRun": false});
    revoke(&world, &body).send().await.expect(200);
    assert_eq!(revoked(&world).await.into_iter().collect::<BTreeSet<_>>(), first.into_iter().collect());
    world.clock.advance_days(100);
    assert_eq!(count(json!({"tenantId": TENANT_A})).await, second.len() as u64, "those past their end too");
}

#[tokio::test]
async fn everything_is_meant_only_where_that_is_said() {
    let world = World::new().await;
    world.record_certified_devices(TENANT_A, 1).await;
    let before = world.log().await.len();
    let pointers = async |body: Value| revoke(&world, &body).send().await.pointers();
    assert_eq!(pointers(json!({"filter": {}, "dryRun": false})).await, ["/filter"]);
    assert_eq!(pointers(json!({"filter": {}, "all": false, "dryRun": true})).await, ["/filter"]);
    assert_eq!(pointers(json!({"filter": {"profile": "x"}, "all": true, "dryRun": false})).await, ["/all"]);
    assert_eq!(pointers(json!({"all": true, "dryRun": false})).await, ["/filter"]);
    assert_eq!(pointers(json!({"filter": {}, "all": true})).await, ["/dryRun"]);
    assert_eq!(pointers(json!({"filter": {"deviceIds": []}, "dryRun": false})).await, ["/filter/deviceIds"]);
    assert_eq!(pointers(json!({"filter": {"status": "active"}, "dryRun": false})).await, ["/filter/status"]);
    let hold = json!({"filter": {}, "all": true, "dryRun": false, "reasonCode": "certificateHold"});
    assert_eq!(pointers(hold).await, ["/reasonCode"]);
    assert_eq!(world.log().await.len(), before);
    let all = json!({"filter": {}, "all": true, "dryRun": false});
    assert_eq!(revoke(&world, &all).send().await.expect(200)["count"], 1);
}

#[tokio::test]
async fn an_admin_revokes_what_is_its_tenant_s_and_other_roles_nothing() {
    let world = World::new().await;
    let ours = world.record_certified_devices(TENANT_A, 2).await;
    world.record_certified_devices(TENANT_B, 2).await;
    let call = |body: &Value| world.post("/api/certificates/revoke").json(body);
    let all = json!({"filter": {}, "all": true, "dryRun": false});
    for role in [Role::Operator, Role::Auditor] {
        call(&all).admin(role).send().await.problem(ErrorCode::Forbidden);
    }
    call(&all).send().await.problem(ErrorCode::AuthenticationRequired);
    let theirs = call(&of_tenant(TENANT_B, true)).admin_of(Role::Admin, TENANT_A).send().await;
    theirs.problem(ErrorCode::Forbidden);
    assert!(revoked(&world).await.is_empty());
    let done = call(&all).admin_of(Role::Admin, TENANT_A).send().await.expect(200);
    assert_eq!(done["count"], 2);
    assert_eq!(revoked(&world).await.into_iter().collect::<BTreeSet<_>>(), ours.into_iter().collect());
}

#[tokio::test]
async fn a_named_command_that_is_complete_revokes_nothing_that_came_later() {
    let world = World::new().await;
    world.record_certified_devices(TENANT_A, 2).await;
    let named = || revoke(&world, &of_tenant(TENANT_A, false)).idempotency_key("the-name").send();
    let first = named().await.expect(200);
    world.record_certified_devices(TENANT_A, 1).await;
    assert_eq!(named().await.expect(200), first);
    assert_eq!(revoked(&world).await.len(), 2);
    let unnamed = revoke(&world, &of_tenant(TENANT_A, false)).send().await.expect(200);
    assert_eq!(unnamed["count"], 1);
}

#[tokio::test]
async fn a_command_that_broke_in_the_middle_is_gone_on_with() {
    let world = World::new().await;
    let serial_numbers = world.record_certified_devices(TENANT_A, 450).await;
    let named = || revoke(&world, &of_tenant(TENANT_A, false)).idempotency_key("the-name").send();
    *world.store.appends_left.lock().unwrap() = Some(1);
    named().await.problem(ErrorCode::StoreUnavailable);
    let in_force = revoked(&world).await;
    assert!((1..450).contains(&in_force.len()), "{}", in_force.len());
    *world.store.appends_left.lock().unwrap() = None;
    let done = named().await.expect(200);
    assert_eq!((&done["count"], &done["complete"]), (&json!(450), &json!(true)), "those of the first attempt too");
    assert_eq!(done["byTenantAndProfile"][0]["count"], 450);
    assert_eq!(done["certificates"].as_array().unwrap().len(), 100);
    let all = revoked(&world).await;
    assert_eq!(all.len(), 450, "each once");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), serial_numbers.into_iter().collect());
    assert_eq!(named().await.expect(200), done);
}

#[tokio::test]
async fn two_attempts_at_the_same_command_share_the_work() {
    let world = World::new().await;
    world.record_certified_devices(TENANT_A, 450).await;
    let named = || revoke(&world, &of_tenant(TENANT_A, false)).idempotency_key("the-name").send();
    let (one, other) = tokio::join!(named(), named());
    assert_eq!((&one.expect(200)["count"], &other.expect(200)["count"]), (&json!(450), &json!(450)));
    assert_eq!(revoked(&world).await.len(), 450, "each once");
}

#[tokio::test]
async fn nobody_escapes_by_renewing_or_being_issued_meanwhile() {
    let world = World::new().await;
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    let (other, _) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(61);
    let before = world.now().to_string();
    world.clock.advance_seconds(1);
    let body = json!({"filter": {"issuedBefore": before}, "dryRun": false});
    world.store.hold(ActorKind::Admin);
    let meanwhile = async {
        world.store.held_arrival().await;
        let renew = world.post(old.renew_route()).device(&device).json(&json!({"csrPem": csr()}));
        let successor = renew.send().await.expect(201);
        world.store.release();
        successor
    };
    let (done, successor) = tokio::join!(revoke(&world, &body).send(), meanwhile);
    assert_eq!(done.expect(200)["count"], 3, "two that fit, and the successor of one");
    let successor = crate::world::fleet::DeviceCertificate::shown(successor);
    world.heartbeat_by_certificate(&device, &successor).await.problem(ErrorCode::CertificateRevoked);

    world.certificate_of(&device).await;
    world.store.hold(ActorKind::Admin);
    let meanwhile = async {
        world.store.held_arrival().await;
        let late = world.certificate_of(&other).await;
        world.store.release();
        late
    };
    let (done, late) = tokio::join!(revoke(&world, &of_tenant(TENANT_A, false)).send(), meanwhile);
    let done = done.expect(200);
    world.heartbeat_by_certificate(&other, &late).await.problem(ErrorCode::CertificateRevoked);
    assert_eq!((&done["count"], &done["complete"]), (&json!(2), &json!(true)));
}

#[tokio::test]
async fn revoking_goes_on_while_the_log_is_locked() {
    let world = World::new().await;
    world.record_certified_devices(TENANT_A, 2).await;
    world.log_lock.engage();
    assert_eq!(revoke(&world, &of_tenant(TENANT_A, false)).send().await.expect(200)["count"], 2);
}

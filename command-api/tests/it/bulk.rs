//! One decision on many devices: a result for each, in order, as its own route would have answered.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::Position;
use signalbeam_event_store::EventReader;
use tokio::task::JoinSet;

use crate::world::call::Call;
use crate::world::fleet::TestDevice;
use crate::world::{PATIENCE, TENANT_A, TENANT_B, World};

const UNKNOWN: &str = "018f3c5e-7b1a-7cc2-9d3e-00000000dead";

fn bulk<'a>(world: &'a World, body: &Value) -> Call<'a> {
    world.post("/api/devices/bulk").json(body)
}

async fn pending(world: &World, tenant_id: &str, number: usize) -> Vec<TestDevice> {
    let mut devices = vec![];
    for _ in 0..number {
        devices.push(world.pending_device(tenant_id).await);
    }
    devices
}

fn ids(devices: &[TestDevice]) -> Vec<&str> {
    devices.iter().map(|device| device.id.as_str()).collect()
}

/// A result as (id, outcome, status or code).
fn results(body: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |r: &Value| (text(&r["deviceId"]), text(&r["outcome"]), text(&r["status"]) + &text(&r["code"]));
    body["results"].as_array().unwrap().iter().map(one).collect()
}

fn told(id: &str, outcome: &str, what: &str) -> (String, String, String) {
    (id.to_owned(), outcome.to_owned(), what.to_owned())
}

#[tokio::test]
async fn each_device_gets_its_own_result_in_the_order_of_the_request() {
    let world = World::new().await;
    let devices = pending(&world, TENANT_A, 3).await;
    let foreign = world.pending_device(TENANT_B).await;
    world.decide(&devices[1], "reject").await.expect(200);
    let body = json!({
        "action": "approve", "apiKeyExpirationDays": 7,
        "deviceIds": [devices[2].id, UNKNOWN, devices[1].id, foreign.id, devices[0].id],
    });
    let before = world.log().await.len();
    let answer = bulk(&world, &body).admin_of(Role::Operator, TENANT_A).send().await;
    let correlation_id = answer.headers["x-correlation-id"].to_str().unwrap().to_owned();
    let position = answer.position().unwrap();
    let decided = answer.expect(200);
    assert_eq!(
        (&decided["action"], &decided["succeeded"], &decided["failed"]),
        (&json!("approve"), &json!(2), &json!(3))
    );
    let expected = [
        told(&devices[2].id, "done", "Approved"),
        told(UNKNOWN, "failed", "NOT_FOUND"),
        told(&devices[1].id, "failed", "INVALID_STATE"),
        told(&foreign.id, "failed", "NOT_FOUND"),
        told(&devices[0].id, "done", "Approved"),
    ];
    assert_eq!(results(&decided), expected);
    let (unknown, other_tenants) = (&decided["results"][1]["detail"], &decided["results"][3]["detail"]);
    assert_eq!(unknown, other_tenants, "another tenant's device does not exist");
    let log = world.log().await;
    assert_eq!(log.len(), before + 2);
    assert_eq!(position, log.last().unwrap().envelope.position, "the highest");
    assert!(log[before..].iter().all(|r| r.envelope.correlation_id.as_str() == correlation_id));
    assert!(log[before..].iter().all(|r| r.envelope.actor.id == "operator@example"));
    let claimed = world.claim(&devices[0]).await.expect(200);
    assert_eq!(claimed["expiresAt"], world.now().plus_days(7).to_string());
}

#[tokio::test]
async fn every_action_does_what_its_own_route_does() {
    let world = World::new().await;
    let devices = pending(&world, TENANT_A, 2).await;
    let certified = world.device_with_certificate(TENANT_A).await;
    let run = async |action: &str, ids: Vec<&str>| {
        let mut body = json!({"action": action, "deviceIds": ids});
        if action != "approve" {
            body["reason"] = json!("winter");
        }
        bulk(&world, &body).admin(Role::Admin).send().await.expect(200)
    };
    for (action, to) in [("approve", "Approved"), ("suspend", "Suspended"), ("reinstate", "Approved")] {
        let decided = run(action, ids(&devices)).await;
        assert_eq!(results(&decided), [told(&devices[0].id, "done", to), told(&devices[1].id, "done", to)]);
    }
    let rejected = pending(&world, TENANT_A, 1).await;
    assert_eq!(results(&run("reject", ids(&rejected)).await), [told(&rejected[0].id, "done", "Rejected")]);
    let (device, certificate) = certified;
    let gone = run("decommission", vec![&device.id, &devices[0].id]).await;
    assert_eq!(gone["succeeded"], 2);
    assert_eq!(*world.types(&device.keys()).await.last().unwrap(), "api_key.revoked");
    assert_eq!(*world.types(&device.certificates()).await.last().unwrap(), "certificate.revoked");
    let answer = world.heartbeat_by_certificate(&device, &certificate).await;
    answer.problem(ErrorCode::CertificateRevoked);
    let data: Value = serde_json::from_slice(&world.log().await.last().unwrap().envelope.data).unwrap();
    assert_eq!(data["reason"], "winter");
    let none = run("approve", vec![&device.id, UNKNOWN]).await;
    assert_eq!((&none["succeeded"], &none["failed"]), (&json!(0), &json!(2)));
}

#[tokio::test]
async fn each_action_takes_the_permission_of_its_own_route() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    for action in ["approve", "reject", "suspend", "reinstate", "decommission"] {
        let call = || bulk(&world, &json!({"action": action, "deviceIds": [UNKNOWN]}));
        call().send().await.problem(ErrorCode::AuthenticationRequired);
        call().bearer(&device.claim_secret).send().await.problem(ErrorCode::InvalidToken);
        call().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
        let by_operator = call().admin(Role::Operator).send().await;
        if action == "decommission" {
            by_operator.problem(ErrorCode::Forbidden);
        } else {
            by_operator.expect(200);
        }
        call().admin(Role::Admin).send().await.expect(200);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_pointed_to_and_changes_nothing() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let id = &device.id;
    let many: Vec<String> = (0..1_001).map(|n| format!("018f3c5e-7b1a-7cc2-9d3e-{n:012}")).collect();
    for (body, pointer) in [
        (json!({"action": "approve", "deviceIds": [id, UNKNOWN, id]}), "/deviceIds/2"),
        (json!({"action": "approve", "deviceIds": [id, id.to_uppercase()]}), "/deviceIds/1"),
        (json!({"action": "approve", "deviceIds": []}), "/deviceIds"),
        (json!({"action": "approve", "deviceIds": many}), "/deviceIds"),
        (json!({"action": "approve", "deviceIds": [id, "x"]}), "/deviceIds/1"),
        (json!({"action": "approve"}), "/deviceIds"),
        (json!({"deviceIds": [id]}), "/action"),
        (json!({"action": "rename", "deviceIds": [id]}), "/action"),
        (json!({"action": "approve", "deviceIds": [id], "reason": "x"}), "/reason"),
        (json!({"action": "reject", "deviceIds": [id], "reason": ""}), "/reason"),
        (json!({"action": "reject", "deviceIds": [id], "apiKeyExpirationDays": 9}), "/apiKeyExpirationDays"),
        (json!({"action": "approve", "deviceIds": [id], "apiKeyExpirationDays": 731}), "/apiKeyExpirationDays"),
        (json!({"action": "approve", "deviceIds": [id], "force": true}), "/force"),
    ] {
        let answer = bulk(&world, &body).admin(Role::Admin).idempotency_key("k").send().await;
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    assert_eq!(world.types(&device.stream()).await, ["device.registered"]);
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_results_refusals_included() {
    let world = World::new().await;
    let devices = pending(&world, TENANT_A, 3).await;
    world.decide(&devices[0], "approve").await.expect(200);
    let suspend = |ids: Vec<&str>| {
        bulk(&world, &json!({"action": "suspend", "deviceIds": ids})).admin(Role::Admin).idempotency_key("k")
    };
    let all = || vec![devices[0].id.as_str(), &devices[1].id, UNKNOWN, &devices[2].id];
    let first = suspend(all()).send().await;
    let position = first.position().unwrap();
    let body = first.expect(200);
    assert_eq!((&body["succeeded"], &body["failed"]), (&json!(1), &json!(3)));
    // What was refused would be allowed now, and what was done would be refused.
    world.decide(&devices[1], "approve").await.expect(200);
    world.decide(&devices[2], "reject").await.expect(200);
    let events = world.log().await.len();
    let again = suspend(all()).send().await;
    assert_eq!(again.position(), Some(position));
    assert_eq!(again.expect(200), body, "to the letter: also the states that forbade it then");
    assert_eq!(world.log().await.len(), events);
    suspend(vec![&devices[1].id]).send().await.problem(ErrorCode::IdempotencyKeyReused);
    suspend(vec![UNKNOWN, &devices[0].id]).send().await.problem(ErrorCode::IdempotencyKeyReused);
    let of_another_name = suspend(all()).header("x-unrelated", "1");
    of_another_name.send().await.expect(200);
    let fresh = bulk(&world, &json!({"action": "suspend", "deviceIds": all()})).admin(Role::Admin).idempotency_key("2");
    let fresh = fresh.send().await.expect(200);
    let outcomes: Vec<_> = results(&fresh).into_iter().map(|(_, outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["failed", "done", "failed", "failed"], "another name is another command");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_request_many_times_at_once_is_one_request() {
    let world = Arc::new(World::new().await);
    let devices = pending(&world, TENANT_A, 8).await;
    world.decide(&devices[3], "reject").await.expect(200);
    let body = Arc::new(json!({"action": "approve", "deviceIds": ids(&devices)}));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (world, body) = (Arc::clone(&world), Arc::clone(&body));
        tasks
            .spawn(async move { bulk(&world, &body).admin(Role::Admin).idempotency_key("k").send().await.expect(200) });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!((&answers[0]["succeeded"], &answers[0]["failed"]), (&json!(7), &json!(1)));
    for device in &devices {
        assert_eq!(world.types(&device.stream()).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_requests_that_contradict_each_other_share_the_devices_between_them() {
    let world = Arc::new(World::new().await);
    let devices = pending(&world, TENANT_A, 24).await;
    let run = async |action: &str| -> HashSet<String> {
        let body = json!({"action": action, "deviceIds": ids(&devices)});
        let decided = bulk(&world, &body).admin(Role::Admin).send().await.expect(200);
        let done = results(&decided).into_iter().filter(|(_, outcome, _)| outcome == "done");
        done.map(|(id, ..)| id).collect()
    };
    let (approved, rejected) = tokio::join!(run("approve"), run("reject"));
    assert!(approved.is_disjoint(&rejected));
    assert_eq!(approved.len() + rejected.len(), 24, "one of the two wins each");
}

#[tokio::test]
async fn what_failed_for_want_of_a_store_is_tried_again_under_the_same_name() {
    let world = World::new().await;
    let devices = pending(&world, TENANT_A, 2).await;
    let approve = || {
        let body = json!({"action": "approve", "deviceIds": ids(&devices)});
        bulk(&world, &body).admin(Role::Admin)
    };
    world.store.appends_fail.set(true);
    let failed = approve().send().await.expect(200);
    assert!(results(&failed).iter().all(|(_, _, code)| code == "STORE_UNAVAILABLE"), "{failed}");
    approve().idempotency_key("k").send().await.problem(ErrorCode::StoreUnavailable);
    world.store.appends_fail.set(false);
    assert_eq!(approve().idempotency_key("k").send().await.expect(200)["succeeded"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_devices_are_decided_on_in_one_request() {
    let world = World::new().await;
    let ids = world.record_pending_devices(TENANT_A, 1_000).await;
    for (action, status) in [("approve", "Approved"), ("decommission", "Decommissioned")] {
        let body = json!({"action": action, "deviceIds": ids});
        let answer = bulk(&world, &body).admin(Role::Admin).idempotency_key(action).send().await;
        assert_eq!(answer.position(), Some(world.store.head().await.unwrap()));
        let decided = answer.expect(200);
        assert_eq!(decided["succeeded"], 1_000);
        let expected: Vec<_> = ids.iter().map(|id| told(id, "done", status)).collect();
        assert_eq!(results(&decided), expected);
        let again = bulk(&world, &body).admin(Role::Admin).idempotency_key(action).send().await;
        assert_eq!(again.expect(200), decided);
    }
    world.assert_projections_follow().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_leaves_nothing_half_done() {
    let world = Arc::new(World::new().await);
    let ids = world.record_pending_devices(TENANT_A, 300).await;
    world.store.hold(signalbeam_domain::ActorKind::Admin);
    let body = json!({"action": "approve", "deviceIds": ids});
    let calling = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { bulk(&world, &body).admin(Role::Admin).send().await })
    };
    world.store.held_arrival().await;
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    world.store.release();
    world.index.wait_for(Position(602), PATIENCE).await.unwrap();
    let approved = world.log().await.iter().filter(|r| r.envelope.event_type == "device.approved").count();
    assert_eq!(approved, 300);
}

//! Every route that changes something, out of the document itself: it can be named, a repetition changes nothing more, and
//! every answer says from where on it can be read.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_pki::{AuthorityStanding, TrustedAuthority};

use crate::world::call::Call;
use crate::world::fleet::{TestDevice, csr, new_claim_secret};
use crate::world::{TENANT_A, World};

/// Leaves a row in the authentication log and no event, so there is nothing to repeat.
const CHANGES_NOTHING: &str = "heartbeat";

/// What a second answer to the same named command is.
#[derive(Debug, PartialEq, Eq)]
enum Again {
    /// The first one once more.
    Same,
    /// The first one showed a secret: the second says that it was carried out.
    AlreadyProcessed,
}

/// A request to a route, made again for each time it is sent: with a body that it takes, or with another one.
struct Recipe<'a> {
    call: Box<dyn Fn(&Value) -> Call<'a> + 'a>,
    body: Value,
    other_body: Value,
    again: Again,
}

fn recipe<'a>(call: impl Fn(&Value) -> Call<'a> + 'a, body: Value, other_body: Value, again: Again) -> Recipe<'a> {
    Recipe { call: Box::new(call), body, other_body, again }
}

/// Every operation of the document that changes something.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let mut found = vec![];
    for item in document["paths"].as_object().unwrap().values() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            if method != "get" && name != CHANGES_NOTHING {
                found.push((name, operation.clone()));
            }
        }
    }
    found
}

fn of_device<'a>(world: &'a World, device: TestDevice, action: &'static str) -> impl Fn(&Value) -> Call<'a> + 'a {
    move |body| world.post(device.route(action)).admin(Role::Admin).json(body)
}

/// The route of an authority that waits; a waiting one that another recipe has left is retired first.
async fn prepared_authority(world: &World) -> String {
    let route = |id: &str| format!("/api/certificate-authorities/{id}");
    let waiting = |one: &&TrustedAuthority| one.standing == AuthorityStanding::Prepared;
    for one in world.authorities.current().trusted().iter().filter(waiting) {
        let path = route(&one.authority.id().to_string()) + "/retire";
        world.post(path).admin(Role::Admin).send().await.expect(200);
    }
    let prepared = world.post("/api/certificate-authorities").admin(Role::Admin).send().await.expect(201);
    route(prepared["authorityId"].as_str().unwrap())
}

/// How an operation is asked for; a device, a token or a certificate of its own for each.
async fn recipe_for<'a>(world: &'a World, operation: &str) -> Recipe<'a> {
    use Again::{AlreadyProcessed, Same};
    let (empty, because) = (json!({}), json!({"reason": "x"}));
    match operation {
        "approveDevice" => {
            let pending = world.pending_device(TENANT_A).await;
            recipe(of_device(world, pending, "approve"), empty, json!({"apiKeyExpirationDays": 7}), Same)
        }
        "rejectDevice" => {
            recipe(of_device(world, world.pending_device(TENANT_A).await, "reject"), empty, because, Same)
        }
        "suspendDevice" => {
            recipe(of_device(world, world.approved_device(TENANT_A).await, "suspend"), empty, because, Same)
        }
        "reinstateDevice" => {
            let device = world.approved_device(TENANT_A).await;
            world.decide(&device, "suspend").await.expect(200);
            recipe(of_device(world, device, "reinstate"), empty, because, Same)
        }
        "decommissionDevice" => {
            recipe(of_device(world, world.approved_device(TENANT_A).await, "decommission"), empty, because, Same)
        }
        "revokeApiKey" => {
            recipe(of_device(world, world.approved_device(TENANT_A).await, "revoke-api-key"), empty, because, Same)
        }
        "rotateApiKey" => {
            let device = world.approved_device(TENANT_A).await;
            let days = json!({"expirationDays": 7});
            recipe(of_device(world, device, "rotate-api-key"), empty, days, AlreadyProcessed)
        }
        "renameDevice" => {
            let path = format!("/api/devices/{}", world.pending_device(TENANT_A).await.id);
            let call = move |body: &Value| world.patch(path.clone()).admin(Role::Admin).json(body);
            recipe(call, json!({"deviceName": "north", "tags": ["a"]}), json!({"deviceName": "south"}), Same)
        }
        "decideDevices" => {
            let id = world.pending_device(TENANT_A).await.id;
            let call = |body: &Value| world.post("/api/devices/bulk").admin(Role::Admin).json(body);
            let body = |action: &str| json!({"action": action, "deviceIds": [id]});
            recipe(call, body("approve"), body("reject"), Same)
        }
        other => recipe_for_credentials(world, other).await,
    }
}

async fn recipe_for_credentials<'a>(world: &'a World, operation: &str) -> Recipe<'a> {
    use Again::{AlreadyProcessed, Same};
    let (empty, because) = (json!({}), json!({"reason": "x"}));
    match operation {
        "registerDevice" => {
            let (token, secret) = (world.token(TENANT_A).await, new_claim_secret());
            let body = move |name: &str| json!({"tenantId": TENANT_A, "token": token["token"], "deviceName": name, "claimSecret": secret});
            recipe(|body: &Value| world.post("/api/devices").json(body), body("one"), body("two"), Same)
        }
        "claimApiKey" => {
            let device = world.approved_device(TENANT_A).await;
            let path = device.route("api-key/claim");
            let call = move |body: &Value| {
                let call = world.post(path.clone()).bearer(&device.claim_secret);
                // The route takes one body alone, which can be written in two ways.
                if body.is_null() { call.raw(" {} ") } else { call.json(body) }
            };
            recipe(call, empty, Value::Null, AlreadyProcessed)
        }
        "createRegistrationToken" => {
            let call = |body: &Value| world.post("/api/registration-tokens").admin(Role::Admin).json(body);
            let body = |days: u16| json!({"tenantId": TENANT_A, "validityDays": days});
            recipe(call, body(7), body(8), AlreadyProcessed)
        }
        "revokeRegistrationToken" => {
            let path = format!("/api/registration-tokens/{}", world.token(TENANT_A).await["id"].as_str().unwrap());
            recipe(move |body| world.delete(path.clone()).admin(Role::Admin).json(body), empty, because, Same)
        }
        "issueCertificate" => {
            let device = world.approved_device(TENANT_A).await;
            let call = move |body: &Value| world.post(device.issue_route()).device(&device).json(body);
            recipe(call, json!({"csrPem": csr()}), json!({"csrPem": csr()}), Same)
        }
        "renewCertificate" => {
            let (device, certificate) = world.device_with_certificate(TENANT_A).await;
            world.clock.advance_days(61);
            let call = move |body: &Value| world.post(certificate.renew_route()).device(&device).json(body);
            recipe(call, json!({"csrPem": csr()}), json!({"csrPem": csr()}), Same)
        }
        "revokeCertificate" => {
            let (_, certificate) = world.device_with_certificate(TENANT_A).await;
            recipe(move |body| world.delete(certificate.route()).admin(Role::Admin).json(body), empty, because, Same)
        }
        "requestRenewal" => {
            let (device, _) = world.device_with_certificate(TENANT_A).await;
            let call = |body: &Value| world.post("/api/certificates/request-renewal").admin(Role::Admin).json(body);
            let body = move |hours: u16| json!({"filter": {"deviceIds": [device.id]}, "spreadHours": hours});
            recipe(call, body(1), body(2), Same)
        }
        "revokeAdminTokens" => {
            let call = |body: &Value| world.post("/api/admin-tokens/revoke").admin(Role::Admin).json(body);
            recipe(call, json!({"jti": "one"}), json!({"jti": "two"}), Same)
        }
        "prepareCertificateAuthority" => {
            let call = |body: &Value| world.post("/api/certificate-authorities").admin(Role::Admin).json(body);
            recipe(call, json!({"keyType": "ecdsa-p256"}), json!({"keyType": "ecdsa-p384"}), Same)
        }
        "activateCertificateAuthority" => {
            let path = prepared_authority(world).await + "/activate";
            // The route takes one body alone, which can be written in two ways.
            let call = move |body: &Value| {
                let call = world.post(path.clone()).admin(Role::Admin);
                if body.is_null() { call.raw(" {} ") } else { call.json(body) }
            };
            recipe(call, empty, Value::Null, Same)
        }
        "retireCertificateAuthority" => {
            let path = prepared_authority(world).await + "/retire";
            let call = move |body: &Value| world.post(path.clone()).admin(Role::Admin).json(body);
            recipe(call, empty, json!({"force": true}), Same)
        }
        other => panic!("{other} changes something, and nobody has said here how it is asked for"),
    }
}

#[tokio::test]
async fn every_command_can_be_named_and_is_carried_out_once() {
    let world = World::new().await;
    let document = serde_json::to_value(&world.documentation).unwrap();
    let operations = operations(&document);
    assert!(operations.len() >= 16, "{operations:?}");
    for (name, _) in operations {
        let Recipe { call, body, other_body, again } = recipe_for(&world, &name).await;
        let named = |body: &Value| call(body).idempotency_key("the-name").send();
        let first = named(&body).await;
        assert!(first.status.is_success(), "{name}: {}", first.body);
        let position = first.position().unwrap_or_else(|| panic!("{name} says no position"));
        let events = world.log().await.len();
        let second = named(&body).await;
        match again {
            Again::Same => {
                assert_eq!((second.status, &second.body), (first.status, &first.body), "{name}");
                assert_eq!(second.position(), Some(position), "{name}");
            }
            Again::AlreadyProcessed => drop(second.problem(ErrorCode::AlreadyProcessed)),
        }
        named(&other_body).await.problem(ErrorCode::IdempotencyKeyReused);
        assert_eq!(world.log().await.len(), events, "{name} was carried out once");
    }
}

#[tokio::test]
async fn what_is_so_already_is_answered_with_a_position_too() {
    let world = World::new().await;
    // The others are refused the second time, or do something new.
    for name in ["renameDevice", "revokeApiKey", "revokeRegistrationToken", "revokeCertificate", "registerDevice"] {
        let Recipe { call, body, .. } = recipe_for(&world, name).await;
        let first = call(&body).send().await;
        let events = world.log().await.len();
        let second = call(&body).send().await;
        assert_eq!((second.status, &second.body), (first.status, &first.body), "{name}");
        assert!(second.position() >= first.position() && first.position().is_some(), "{name}");
        assert_eq!(world.log().await.len(), events, "{name}");
    }
    let Recipe { call, body, .. } = recipe_for(&world, "renewCertificate").await;
    let first = call(&body).send().await;
    let second = call(&body).send().await;
    assert_eq!(second.position(), first.position());
    assert_eq!(second.expect(200), first.expect(201), "the renewal whose answer was lost");
}

#[tokio::test]
async fn a_named_change_is_answered_as_it_was_whatever_came_after_it() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let change = |key: &str, body: Value| {
        world.patch(format!("/api/devices/{}", device.id)).admin(Role::Admin).idempotency_key(key).json(&body).send()
    };
    let first = change("1", json!({"deviceName": "north", "tags": ["b", "a"]})).await.expect(200);
    change("2", json!({"deviceName": "south", "tags": [], "metadata": {"floor": 2}})).await.expect(200);
    world.decide(&device, "approve").await.expect(200);
    let again = change("1", json!({"deviceName": "north", "tags": ["b", "a"]})).await.expect(200);
    assert_eq!(again, first);
    assert_eq!((&again["tags"], &again["status"]), (&json!(["a", "b"]), &json!("Pending")));
    assert_eq!(world.types(&device.stream()).await.len(), 4);
}

#[tokio::test]
async fn every_command_documents_its_name_and_what_becomes_of_a_second_body() {
    let document = serde_json::to_value(&World::new().await.documentation).unwrap();
    let mut silent = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let is_key = |p: &Value| p["name"] == "Idempotency-Key" && p["in"] == "header" && p["required"] != true;
        let takes_key = operation["parameters"].as_array().is_some_and(|all| all.iter().any(is_key));
        let conflict = operation["responses"]["409"]["description"].as_str().unwrap_or_default();
        if !takes_key || !conflict.contains("`IDEMPOTENCY_KEY_REUSED`") {
            silent.insert(name);
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}

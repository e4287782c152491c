//! A network may lose any answer; no device is lost with it.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::device::{Device, TENANT, by_certificate, draw_claim_secret, identity, new_token, registration};
use crate::keys::{key_and_request, signing_request};
use crate::proxy::Proxy;
use crate::server::{Server, Site};
use crate::waiting::eventually;
use crate::walk::{approved, beat, certified, registered};

#[test]
fn a_registration_repeated_with_the_same_claim_secret_gives_the_same_device() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let body = registration(&new_token(&site, &admin), &draw_claim_secret(&site));
    let first = server.anonymous().post("/api/devices", &body).expect(201);
    let second = server.anonymous().post("/api/devices", &body).expect(201);
    assert_eq!(first, second);
    assert_eq!(count(&site.export(), "device.registered"), 1);
}

#[test]
fn a_claim_repeats_until_a_key_has_been_used() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let mut device = Device::approved(&server, &admin);
    let first = device.api_key.clone();
    let claimed = device.claim(&server).expect(200)["apiKey"].as_str().unwrap().to_owned();
    assert_ne!(first, claimed);
    device.beat(&device.by_key(&server)).refused(401, "API_KEY_REVOKED");
    device.api_key = claimed;
    device.beat(&device.by_key(&server)).expect(200);
    device.claim(&server).refused(409, "API_KEY_ALREADY_CLAIMED");
    admin.post(&device.path("rotate-api-key"), &json!({})).expect(200);
    device.beat(&device.by_key(&server)).refused(401, "API_KEY_REVOKED");
    device.api_key = device.claim(&server).expect(200)["apiKey"].as_str().unwrap().to_owned();
    device.beat(&device.by_key(&server)).expect(200);
}

#[test]
fn a_device_that_rotates_keeps_its_old_key_until_it_uses_the_new_one() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let old = device.by_key(&server);
    device.beat(&old).expect(200);
    let rotated = old.post(&device.path("rotate-api-key"), &json!({})).expect(200);
    device.beat(&old).expect(200);
    let new = server.anonymous().api_key(rotated["apiKey"].as_str().unwrap());
    device.beat(&new).expect(200);
    device.beat(&old).refused(401, "API_KEY_REVOKED");
}

#[test]
fn a_renewal_repeated_by_the_old_certificate_gives_the_successor_until_that_is_used() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let old = device.issue(&server, 20);
    let by_old = by_certificate(&server, &old);
    device.beat(&by_old).expect(200);
    let (key, request) = key_and_request();
    let path = format!("/api/certificates/{}/renew", old.serial_number);
    let first = by_old.post(&path, &json!({"csrPem": request})).expect(201);
    let again = by_old.post(&path, &json!({"csrPem": signing_request(&key).pem().unwrap()})).expect(200);
    assert_eq!(first["certificatePem"], again["certificatePem"]);
    assert_eq!(first["serialNumber"], again["serialNumber"]);
    by_old.post(&path, &json!({"csrPem": key_and_request().1})).refused(401, "CERTIFICATE_REVOKED");
    device.beat(&by_old).refused(401, "CERTIFICATE_REVOKED");

    let successor = identity(&again, &key.serialize_pem());
    device.beat(&by_certificate(&server, &successor)).expect(200);
    by_old.post(&path, &json!({"csrPem": request})).refused(401, "CERTIFICATE_REVOKED");
}

#[test]
fn an_agent_that_loses_the_answer_to_its_registration_or_its_claim_carries_on() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let proxy = Proxy::to(server.address);
    let url = proxy.url();

    let issued = admin.post("/api/registration-tokens", &json!({"tenantId": TENANT})).expect(201);
    let (token, ca) = (issued["token"].as_str().unwrap(), issued["caFingerprint"].as_str().unwrap());
    let agent = Agent::new();
    // The CA's certificate comes first, then the registration.
    proxy.lose_answer_after(1);
    lose_answer(&server, &proxy, &agent, &Agent::registration(&url, token, ca), "device.registered");
    assert!(agent.credentials()["deviceId"].is_null());
    agent.run(&Agent::registration(&url, token, ca)).expect(0);
    assert_eq!(count(&site.export(), "device.registered"), 1);

    admin.post(&format!("/api/devices/{}/approve", agent.device_id()), &json!({})).expect(200);
    // The status comes first, then the claim.
    proxy.lose_answer_after(1);
    lose_answer(&server, &proxy, &agent, &["status"], "api_key.issued");
    agent.run(&["status"]).expect(0);
    assert_eq!(beat(&agent)["authenticationMethod"], "ApiKey");
    drop(registered(&server, &admin, &url));
}

#[test]
fn an_agent_that_loses_the_answer_to_its_certificate_request_carries_on() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let proxy = Proxy::to(server.address);
    let agent = approved(&server, &admin, &proxy.url());
    proxy.lose_answer_after(0);
    lose_answer(&server, &proxy, &agent, &["request-certificate"], "certificate.issued");
    assert!(!agent.certs().join("client-cert.pem").exists());
    agent.run(&["request-certificate"]).expect(0);
    assert_eq!(beat(&agent)["authenticationMethod"], "Certificate");
}

#[test]
fn an_agent_that_loses_the_answer_to_its_renewal_gets_the_same_successor() {
    let site = Site::new().with("certificates.default_validity_days", "20");
    let server = site.start();
    let admin = server.admin();
    let proxy = Proxy::to(server.address);
    let agent = certified(&server, &admin, &proxy.url());
    let old = agent.serial_number();
    proxy.lose_answer_after(0);
    lose_answer(&server, &proxy, &agent, &["renew-certificate"], "certificate.superseded");
    assert_eq!(agent.serial_number(), old, "the old one stays in force until there is another");
    let beaten = beat(&agent);
    assert_eq!(beaten["authenticationMethod"], "Certificate", "{beaten}");
    assert_ne!(agent.serial_number(), old);
    let events = site.export();
    assert_eq!(count(&events, "certificate.issued"), 2, "the successor was not issued twice");
}

/// Runs a command whose last request arrives and whose answer does not.
#[track_caller]
fn lose_answer(server: &Server<'_>, proxy: &Proxy, agent: &Agent, arguments: &[&str], effect: &str) {
    let before = count(&server.site.export(), effect);
    let mut child = agent.begin(arguments);
    eventually(effect, || (count(&server.site.export(), effect) > before).then_some(()));
    proxy.cut();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "the agent says that it failed");
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

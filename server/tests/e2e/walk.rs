//! A device's whole life, by the commands that people type: `signalbeam`, `signalbeam-agent`, `openssl`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::client::Client;
use crate::device::TENANT;
use crate::server::{Server, Site};

/// An agent that has registered, and its device's path in the API.
#[track_caller]
pub(crate) fn registered(server: &Server<'_>, admin: &Client, url: &str) -> Agent {
    let issued = admin.post("/api/registration-tokens", &json!({"tenantId": TENANT})).expect(201);
    let token = issued["token"].as_str().unwrap();
    server.site.note_secret(token);
    let agent = Agent::new();
    let fingerprint = issued["caFingerprint"].as_str().unwrap();
    let registered = agent.run(&Agent::registration(url, token, fingerprint)).expect(0).json();
    assert_eq!(registered["status"], "Pending");
    server.site.note_secret(agent.credentials()["claimSecret"].as_str().unwrap());
    agent
}

/// An agent that holds an API key.
#[track_caller]
pub(crate) fn approved(server: &Server<'_>, admin: &Client, url: &str) -> Agent {
    let agent = registered(server, admin, url);
    admin.post(&format!("/api/devices/{}/approve", agent.device_id()), &json!({})).expect(200);
    agent.run(&["status"]).expect(0);
    server.site.note_secret(agent.credentials()["apiKey"].as_str().unwrap());
    agent
}

/// An agent that holds an API key and a certificate.
#[track_caller]
pub(crate) fn certified(server: &Server<'_>, admin: &Client, url: &str) -> Agent {
    let agent = approved(server, admin, url);
    agent.run(&["request-certificate"]).expect(0);
    agent
}

/// One heartbeat, and what authenticated it.
#[track_caller]
pub(crate) fn beat(agent: &Agent) -> Value {
    agent.run(&["run", "--once"]).expect(0).json()
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_device_enrols_authenticates_by_certificate_and_is_turned_away_after_revocation() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let agent = registered(&server, &admin, &server.url());
    let id = agent.device_id();

    assert_eq!(agent.run(&["status"]).expect(3).json()["status"], "Pending");
    agent.run(&["run", "--once"]).expect(3);
    admin.post(&format!("/api/devices/{id}/approve"), &json!({"apiKeyExpirationDays": 90})).expect(200);
    let status = agent.run(&["status"]).expect(0).json();
    assert_eq!(status["status"], "Approved");
    assert!(status["apiKeyPrefix"].is_string());
    assert_eq!(beat(&agent)["authenticationMethod"], "ApiKey");

    agent.run(&["request-certificate"]).expect(0);
    check_certificate_files(&agent, &id);
    assert_eq!(beat(&agent)["authenticationMethod"], "Certificate");
    let serial = agent.serial_number();
    let log = admin.get(&format!("/api/authentication-logs?deviceId={id}")).expect(200);
    let by_certificate = log["items"].as_array().unwrap().iter().find(|entry| {
        entry["authenticationMethod"] == "Certificate" && entry["certificateSerialNumber"] == serial.as_str()
    });
    let entry = by_certificate.unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&entry["success"], &entry["tenantId"], &entry["deviceId"]), (&json!(true), &json!(TENANT), &json!(id)));

    assert_eq!(admin.delete(&format!("/api/certificates/{serial}")).status, 204);
    assert_eq!(beat(&agent)["authenticationMethod"], "ApiKey", "falls back, as is the default");
    admin.post(&format!("/api/devices/{id}/revoke-api-key"), &json!({})).expect(204);
    agent.run(&["run", "--once"]).expect(5);
    let log = admin.get(&format!("/api/authentication-logs?deviceId={id}")).expect(200);
    let codes: Vec<_> =
        log["items"].as_array().unwrap().iter().filter_map(|entry| entry["failureCode"].as_str()).collect();
    assert!(codes.contains(&"CERTIFICATE_REVOKED") && codes.contains(&"API_KEY_REVOKED"), "{codes:?}");

    admin.post(&format!("/api/devices/{id}/rotate-api-key"), &json!({})).expect(200);
    agent.run(&["status"]).expect(0);
    agent.run(&["request-certificate"]).expect(0);
    assert_eq!(beat(&agent)["authenticationMethod"], "Certificate", "a new certificate after a revocation");
    assert_ne!(agent.serial_number(), serial);
    server.stop();
}

fn check_certificate_files(agent: &Agent, id: &str) {
    let [ca, certificate, key] =
        ["ca-cert.pem", "client-cert.pem", "client-key.pem"].map(|name| agent.certs().join(name));
    openssl(&["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", text(&ca), text(&certificate)]);
    let described = openssl(&["x509", "-noout", "-subject", "-ext", "subjectAltName", "-in", text(&certificate)]);
    assert!(described.contains(&format!("device-{id}")) && described.contains("SignalBeam"), "{described}");
    assert!(described.contains(&format!("/tenant/{TENANT}/device/{id}")), "{described}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_agent_whose_certificate_is_in_its_window_renews_it_by_itself() {
    let site = Site::new().with("certificates.default_validity_days", "20");
    let server = site.start();
    let admin = server.admin();
    let agent = certified(&server, &admin, &server.url());
    let first = agent.serial_number();
    let beaten = beat(&agent);
    assert_eq!((&beaten["authenticationMethod"], &beaten["certificateRenewed"]), (&json!("Certificate"), &json!(true)));
    let second = agent.serial_number();
    assert_ne!(first, second);
    assert_eq!(beat(&agent)["authenticationMethod"], "Certificate", "the new certificate works at once");

    let path = format!("/api/certificates/device/{}", agent.device_id());
    let list = admin.get(&path).expect(200);
    let items = list.get("items").unwrap_or(&list).as_array().unwrap().clone();
    let of = |serial: &str| items.iter().find(|item| item["serialNumber"] == serial).unwrap().clone();
    assert_eq!(of(&first)["status"], "superseded", "{list}");
    assert_eq!(of(&first)["supersededBy"], second.as_str(), "{list}");
}

#[test]
fn an_agent_refuses_a_server_whose_authority_it_was_not_told_of() {
    let (site, strange_site) = (Site::new(), Site::new());
    let (server, stranger) = (site.start(), strange_site.start());
    let token =
        |server: &Server<'_>| server.admin().post("/api/registration-tokens", &json!({"tenantId": TENANT})).expect(201);
    let (ours, theirs) = (token(&server), token(&stranger));
    let agent = Agent::new();
    let ran = agent.run(&Agent::registration(
        &server.url(),
        ours["token"].as_str().unwrap(),
        theirs["caFingerprint"].as_str().unwrap(),
    ));
    assert!(ran.expect(1).err.contains("SERVER_NOT_TRUSTED"));
    let pending = server.admin().get("/api/devices/by-status/Pending").expect(200);
    assert_eq!(pending["items"], json!([]), "nothing was sent");
}

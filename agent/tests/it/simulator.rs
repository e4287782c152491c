//! The simulator against a server that misbehaves: what does not hold must be seen, and said.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::authority::{Authority, Life, serial_hex};
use crate::device::{
    Ended, REGISTER, TOKEN, claim_route, heartbeat_route, in_days, issue_route, renew_route, status_route,
};
use crate::examples::{self, DEVICE_ID, problem};
use crate::fake_server::{FakeServer, Reply, Seen};

const APPROVE: &str = "POST /api/devices/0198c5a0-7a3b-7c1e-9f00-3b1a2c4d5e6f/approve";

/// A server for the one device of the examples.
struct Fake {
    authority: Authority,
    server: FakeServer,
    folder: TempDir,
}

impl Fake {
    /// It enrols the device, and takes every heartbeat for as good as any other.
    fn credulous() -> Self {
        let authority = Authority::new();
        let server = FakeServer::start(authority.server_certificate(Life::days(-1, 90)));
        server.reply("POST /api/registration-tokens", Reply::json(201, &json!({"token": TOKEN})));
        server.on(REGISTER, |seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"])));
        server.reply(APPROVE, Reply::json(200, &json!({"deviceId": DEVICE_ID, "status": "Approved"})));
        server.reply(&status_route(), Reply::json(200, &examples::approved(in_days(90))));
        server.reply(&claim_route(), Reply::json(200, &examples::claimed(in_days(90))));
        server.on(&heartbeat_route(), beaten);
        let fake = Self { authority, server, folder: tempfile::tempdir().unwrap() };
        fake.sign(&issue_route(), 1);
        fake.sign(&renew_route(1), 2);
        fake
    }

    fn sign(&self, route: &str, serial: u8) {
        let authority = Authority::new();
        let ca_pem = authority.pem().to_owned();
        self.server.on(route, move |seen| {
            let pem = authority.certify_request(seen.body["csrPem"].as_str().unwrap(), serial, Life::days(-1, 1));
            Reply::json(201, &examples::issued(&pem, &ca_pem))
        });
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().unwrap().into()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let ca = self.folder.path().join("ca.pem");
        fs::write(&ca, self.authority.pem()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbeam-simulator"));
        command.env_clear().current_dir(self.folder.path()).args(["--device-manager-url", self.server.url()]);
        command.args(["--ca-cert", ca.to_str().unwrap(), "--heartbeat-interval-seconds", "0.01"]).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn fleet(&self, scenario: &str) -> Ended {
        let fleet = ["--devices", "1", "--admin-token", "a.b.c", "--json", "--iterations", "2"];
        self.run(&[&fleet[..], &["--scenario", scenario]].concat())
    }
}

/// A heartbeat's answer that names the certificate of the connection.
fn beaten(seen: &Seen) -> Reply {
    let certificate = seen
        .certificate
        .as_ref()
        .map(|serial| json!({"serialNumber": serial, "expiresAt": "2030-01-01T00:00:00Z", "renewalRequired": false}));
    Reply::json(200, &json!({"receivedAt": "2026-01-01T00:00:00Z", "certificate": certificate}))
}

#[track_caller]
fn violation(ended: Ended, serial: u8) -> Value {
    let summary = ended.expect(1).json();
    assert_eq!(summary["held"], false);
    let violations = summary["violations"].to_string();
    let expected = format!("certificate {}, no longer in force, was accepted", serial_hex(serial));
    assert!(violations.contains(&expected), "{summary}");
    summary
}

#[test]
fn a_superseded_certificate_that_is_accepted_fails_the_run() {
    let fake = Fake::credulous();
    let summary = violation(fake.fleet("renewal-storm"), 1);
    assert_eq!(summary["counts"]["renewalsSucceeded"], 1, "{summary}");
}

#[test]
fn a_revoked_certificate_that_is_accepted_fails_the_run() {
    let fake = Fake::credulous();
    let route = format!("DELETE /api/certificates/{}", serial_hex(1));
    fake.server.reply(&route, Reply::text(204, "text/plain", ""));
    // The device goes on until it notices; so the server comes to its senses after a while.
    let admissions = std::sync::atomic::AtomicU32::new(0);
    fake.server.forget(&heartbeat_route()).on(&heartbeat_route(), move |seen| {
        let so_far = admissions.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let is_first = seen.certificate.as_deref() == Some(&serial_hex(1));
        if is_first && so_far > 20 { Reply::json(401, &problem(401, "CERTIFICATE_REVOKED")) } else { beaten(seen) }
    });
    fake.server.forget(&issue_route());
    fake.sign(&issue_route(), 1);
    fake.sign(&issue_route(), 3);
    let summary = violation(fake.fleet("revocations"), 1);
    assert_eq!(summary["counts"]["replaced"], 1, "{summary}");
    assert_eq!(summary["errors"], json!([]), "a refusal that was due is no error");
    assert_eq!(summary["expectedRefusals"][0]["code"], "CERTIFICATE_REVOKED", "{summary}");
}

#[test]
fn a_valid_certificate_that_is_refused_fails_the_run() {
    let fake = Fake::credulous();
    fake.server.forget(&heartbeat_route()).on(&heartbeat_route(), beaten);
    fake.server.on(&heartbeat_route(), |seen| match seen.certificate {
        Some(_) => Reply::json(401, &problem(401, "CERTIFICATE_NOT_FOUND")),
        None => beaten(seen),
    });
    let summary = fake.fleet("steady").expect(1).json();
    assert!(summary["violations"].to_string().contains("CERTIFICATE_NOT_FOUND"), "{summary}");
    let metric = &summary["metrics"][0];
    assert_eq!((&metric["name"], &metric["met"]), (&json!("certificate authentication success rate"), &json!(false)));
}

#[test]
fn a_device_that_cannot_enrol_fails_the_run_and_is_named() {
    let fake = Fake::credulous();
    fake.server.forget(&issue_route()).reply(&issue_route(), Reply::json(422, &problem(422, "WEAK_KEY")));
    let summary = fake.fleet("steady").expect(1).json();
    assert_eq!(summary["enrolled"], 0);
    let violations = summary["violations"].to_string();
    assert!(violations.contains("device 1 was not enrolled") && violations.contains("WEAK_KEY"), "{violations}");
}

#[test]
fn what_is_busy_is_asked_again() {
    let fake = Fake::credulous();
    fake.server.forget(&claim_route()).reply(&claim_route(), Reply::json(503, &problem(503, "AUDIT_UNAVAILABLE")));
    fake.server.reply(&claim_route(), Reply::json(200, &examples::claimed(in_days(90))));
    let summary = fake.fleet("steady").expect(0).json();
    assert_eq!(summary["counts"]["repeated"], 1);
    assert_eq!(summary["errors"], json!([{"request": "claim", "code": "AUDIT_UNAVAILABLE", "count": 1}]));
}

#[test]
fn a_single_device_tells_why_it_got_no_certificate() {
    let fake = Fake::credulous();
    fake.server.forget(&issue_route()).reply(&issue_route(), Reply::json(503, &problem(503, "SIGNING_UNAVAILABLE")));
    let ended = fake.run(&["--token", TOKEN, "--use-device-auth", "--use-mtls", "--iterations", "1"]).expect(1);
    assert!(ended.out.contains("No certificate was issued (SIGNING_UNAVAILABLE)"), "{}", ended.out);
    assert!(ended.err.contains("SIGNING_UNAVAILABLE, HTTP 503"), "{}", ended.err);
    assert!(fake.server.seen(&heartbeat_route()).is_empty());
}

#[test]
fn usage_errors_name_the_simulator_and_a_stopped_run_says_so() {
    let fake = Fake::credulous();
    let ended = fake.run(&["--use-device-auth"]).expect(2);
    assert!(ended.err.contains("'signalbeam-simulator --help'"), "{ended:?}");
    assert!(!ended.err.contains("signalbeam-agent"), "{ended:?}");

    let mut command = fake.command(&["--token", TOKEN, "--use-device-auth", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    fake.server.wait_for(&heartbeat_route());
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    let ended = Ended::from(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(ended.json()["interrupted"], true);
    assert!(ended.err.contains("Stopped after"), "{ended:?}");
}

#[test]
fn a_lost_answer_to_the_registration_is_asked_for_again_with_the_same_secret() {
    let fake = Fake::credulous();
    let registered = |seen: &Seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"]));
    fake.server.forget(REGISTER).on(REGISTER, move |seen| registered(seen).lost()).on(REGISTER, registered);
    fake.run(&["--token", TOKEN, "--use-device-auth", "--iterations", "1"]).expect(0);
    let seen = fake.server.seen(REGISTER);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body["claimSecret"], seen[1].body["claimSecret"]);
}

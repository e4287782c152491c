//! `signalbeam-simulator` against the real server: one device by the specification's flags, and a small fleet in each scenario.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::Ran;
use crate::binaries::agents_binary;
use crate::client::Client;
use crate::device::{TENANT, new_token};
use crate::server::{Server, Site};
use crate::waiting::eventually;

const FAST: [&str; 2] = ["--heartbeat-interval-seconds", "0.1"];

/// The simulator in a folder of its own, told of a server and its CA.
struct Simulator {
    folder: TempDir,
    base: Vec<String>,
}

impl Simulator {
    fn of(server: &Server<'_>) -> Self {
        let ca = server.site.data_dir().join("ca/ca-cert.pem");
        let base = ["--device-manager-url", &server.url(), "--ca-cert", ca.to_str().unwrap()].map(str::to_owned);
        Self { folder: tempfile::tempdir().unwrap(), base: base.to_vec() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(agents_binary("signalbeam-simulator"));
        command.env_clear().current_dir(self.folder.path()).args(&self.base).args(FAST).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    fn begin(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    fn device_folder(&self, id: &str) -> PathBuf {
        self.folder.path().join(format!("sim-credentials-{id}"))
    }

    fn entries(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A device with a certificate that made its token and approved itself.
    #[track_caller]
    fn certified(&self, server: &Server<'_>) -> Value {
        let token = server.site.admin_token(&[]);
        let line = ["--admin-token", &token, "--use-device-auth", "--use-mtls", "--iterations", "2", "--json"];
        self.run(&line).expect(0).json()
    }
}

fn finished(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn pending_device(admin: &Client) -> String {
    eventually("a device is pending", || {
        let pending = admin.get("/api/devices/by-status/Pending").expect(200);
        pending["items"].get(0).map(|device| device["deviceId"].as_str().unwrap().to_owned())
    })
}

#[track_caller]
fn methods(admin: &Client, id: &str) -> Vec<Value> {
    let log = admin.get(&format!("/api/authentication-logs?deviceId={id}&successOnly=true")).expect(200);
    log["items"].as_array().unwrap().iter().map(|entry| entry["authenticationMethod"].clone()).collect()
}

#[test]
fn the_flags_of_the_specification_take_a_device_the_whole_way() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let simulator = Simulator::of(&server);
    let token = new_token(&site, &admin);
    let flags = ["--use-device-auth", "--use-mtls", "--wait-for-approval"];
    let mut child =
        simulator.begin(&[&flags[..], &["--tenant-id", TENANT, "--token", &token, "--iterations", "2"]].concat());
    let mut out = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    while !out.contains("curl") {
        assert_ne!(lines.read_line(&mut out).unwrap(), 0, "it ended: {out}");
    }
    let id = pending_device(&admin);
    assert!(out.contains(&format!("curl -X POST {}/api/devices/{id}/approve", server.url())), "{out}");
    admin.post(&format!("/api/devices/{id}/approve"), &json!({})).expect(200);
    lines.read_to_string(&mut out).unwrap();
    let ran = Ran { out, ..finished(child).expect(0) };

    let folder = simulator.device_folder(&id);
    let credentials: Value = serde_json::from_slice(&fs::read(folder.join("credentials.json")).unwrap()).unwrap();
    let serial = credentials["certificate"]["serialNumber"].as_str().unwrap();
    assert_eq!(credentials["deviceId"], id.as_str());
    let key_path = credentials["certificate"]["privateKeyPath"].as_str().unwrap();
    assert_eq!(fs::canonicalize(key_path).unwrap(), fs::canonicalize(folder.join("certs/client-key.pem")).unwrap());
    let certs = folder.join("certs");
    assert_eq!((mode(&certs.join("client-key.pem")), mode(&certs), mode(&folder)), (0o600, 0o700, 0o700));
    assert_eq!(mode(&folder.join("credentials.json")), 0o600);
    assert_eq!(fs::read_to_string(certs.join("ca-cert.pem")).unwrap().trim(), site.ca_pem().trim());
    assert!(certs.join("client-cert.pem").is_file());
    assert!(ran.err.contains("certificate installed") && ran.err.contains(serial), "{}", ran.err);
    assert!(ran.out.contains(&format!("authenticated by Certificate {serial}")), "{}", ran.out);
    assert_eq!(methods(&admin, &id)[..2], [json!("Certificate"), json!("Certificate")]);
    for secret in [&token, credentials["apiKey"].as_str().unwrap(), credentials["claimSecret"].as_str().unwrap()] {
        assert!(!ran.out.contains(secret) && !ran.err.contains(secret));
    }
}

#[test]
fn an_administrators_token_approves_and_checks_the_authentication_log() {
    let site = Site::new();
    let server = site.start();
    let simulator = Simulator::of(&server);
    let result = simulator.certified(&server);
    assert_eq!((&result["verified"], &result["heartbeats"]["Certificate"]), (&json!(true), &json!(2)), "{result}");
    let entry = &result["authenticationLog"];
    assert_eq!(entry["authenticationMethod"], "Certificate");
    assert_eq!(entry["certificateSerialNumber"], result["certificate"]["serialNumber"]);
    let id = result["deviceId"].as_str().unwrap();
    assert_eq!(result["certificate"]["subject"], format!("CN=device-{id}, O=SignalBeam"));
}

#[test]
fn without_mtls_the_api_key_alone_is_used() {
    let site = Site::new();
    let server = site.start();
    let simulator = Simulator::of(&server);
    let admin_token = site.admin_token(&[]);
    let line = ["--admin-token", &admin_token, "--use-device-auth", "--iterations", "2", "--json"];
    let result = simulator.run(&line).expect(0).json();
    assert_eq!(result["heartbeats"], json!({"Certificate": 0, "ApiKey": 2}));
    assert_eq!(result["authenticationLog"]["authenticationMethod"], "ApiKey");
    assert!(!simulator.device_folder(result["deviceId"].as_str().unwrap()).join("certs").exists());
}

#[test]
fn a_certificate_that_is_gone_or_refused_gives_way_to_the_api_key() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let simulator = Simulator::of(&server);
    let device = simulator.certified(&server);
    let id = device["deviceId"].as_str().unwrap();
    let again = ["--device-id", id, "--use-device-auth", "--use-mtls"];

    let running = simulator.begin(&again);
    let count = |method: &str| methods(&admin, id).iter().filter(|found| *found == method).count();
    eventually("a heartbeat by certificate", || (count("Certificate") > 2).then_some(()));
    let before = count("ApiKey");
    fs::remove_dir_all(simulator.device_folder(id).join("certs")).unwrap();
    eventually("a heartbeat by API key", || (count("ApiKey") > before).then_some(()));
    kill_process(Pid::from_child(&running), Signal::TERM).unwrap();
    let ran = finished(running).expect(0);
    assert!(ran.out.contains("ApiKey, the fallback"), "{}", ran.out);

    let anew = simulator.run(&[&again[..], &["--iterations", "1", "--json"]].concat()).expect(0).json();
    assert_ne!(anew["certificate"]["serialNumber"], device["certificate"]["serialNumber"]);
    let serial = anew["certificate"]["serialNumber"].as_str().unwrap();
    assert_eq!(admin.delete(&format!("/api/certificates/{serial}")).status, 204);
    let refused = simulator.run(&[&again[..], &["--iterations", "1", "--json"]].concat()).expect(0);
    assert_eq!(refused.json()["heartbeats"], json!({"Certificate": 0, "ApiKey": 1}));
    assert!(refused.err.contains("the certificate was revoked"), "{}", refused.err);
}

#[test]
fn a_wrong_token_is_named_and_leaves_nothing_behind() {
    let site = Site::new();
    let server = site.start();
    let simulator = Simulator::of(&server);
    let token = format!("sbt_a1b2c3d4_{}", "A".repeat(43));
    let ran = simulator.run(&["--token", &token, "--use-device-auth"]).expect(1);
    assert!(ran.err.contains("INVALID_REGISTRATION_TOKEN"), "{}", ran.err);
    assert_eq!(simulator.entries(), [""; 0]);
    let ran = simulator.run(&["--use-device-auth"]).expect(2);
    assert!(ran.err.contains("/api/registration-tokens"), "{}", ran.err);
}

#[test]
fn a_device_that_is_not_approved_in_time_or_rejected_says_so_and_can_go_on_later() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let simulator = Simulator::of(&server);
    let token = new_token(&site, &admin);
    let mtls = ["--use-device-auth", "--use-mtls", "--iterations", "1"];
    let waiting = ["--wait-for-approval", "--approval-timeout-seconds", "1"];
    let ran = simulator.run(&[&mtls[..], &waiting, &["--token", &token]].concat()).expect(3);
    assert!(ran.out.contains("not approved in time"), "{}", ran.out);
    let id = pending_device(&admin);
    let again = [&mtls[..], &["--device-id", &id]].concat();
    assert!(simulator.run(&again).expect(3).out.contains(&format!("/api/devices/{id}/approve")));
    admin.post(&format!("/api/devices/{id}/approve"), &json!({})).expect(200);
    simulator.run(&again).expect(0);

    let token = new_token(&site, &admin);
    simulator.run(&[&mtls[..], &["--token", &token]].concat()).expect(3);
    let id = pending_device(&admin);
    admin.post(&format!("/api/devices/{id}/reject"), &json!({"reason": "unknown serial"})).expect(200);
    let ran = simulator.run(&[&mtls[..], &waiting, &["--device-id", &id]].concat()).expect(4);
    assert!(ran.err.contains("unknown serial"), "{}", ran.err);
}

#[test]
fn a_refused_issuance_is_told_with_its_code_and_installs_nothing() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let simulator = Simulator::of(&server);
    let admin_token = site.admin_token(&[]);
    let line = ["--admin-token", &admin_token, "--use-device-auth", "--iterations", "1", "--json"];
    let device = simulator.run(&line).expect(0).json();
    let id = device["deviceId"].as_str().unwrap();
    admin.post(&format!("/api/devices/{id}/revoke-api-key"), &json!({})).expect(204);
    let ran = simulator.run(&["--device-id", id, "--use-mtls", "--iterations", "1"]).expect(5);
    assert!(ran.out.contains("No certificate was issued (API_KEY_REVOKED)"), "{}", ran.out);
    assert!(ran.err.contains("rotate"), "{}", ran.err);
    assert!(!simulator.device_folder(id).join("certs/client-cert.pem").exists());
}

#[test]
fn a_server_under_another_authority_gets_nothing() {
    let (site, strange_site) = (Site::new(), Site::new());
    let (server, stranger) = (site.start(), strange_site.start());
    let admin = server.admin();
    let token = new_token(&site, &admin);
    let folder = tempfile::tempdir().unwrap();
    let ca = strange_site.data_dir().join("ca/ca-cert.pem");
    let issued = stranger.admin().post("/api/registration-tokens", &json!({"tenantId": TENANT})).expect(201);
    let url = server.url();
    for trust in [["--ca-cert", ca.to_str().unwrap()], ["--ca-fingerprint", issued["caFingerprint"].as_str().unwrap()]]
    {
        let base = [["--device-manager-url", &url], trust].concat().into_iter().map(str::to_owned).collect();
        let simulator = Simulator { folder: tempfile::tempdir_in(&folder).unwrap(), base };
        let ran = simulator.run(&["--token", &token, "--use-mtls", "--json"]).expect(1);
        assert!(ran.err.contains("SERVER_NOT_TRUSTED"), "{}", ran.err);
        assert_eq!(simulator.entries(), [""; 0]);
    }
    assert_eq!(admin.get("/api/devices/by-status/Pending").expect(200)["items"], json!([]), "nothing was sent");
}

/// What a fleet of eight came to.
fn ran_fleet(server: &Server<'_>, scenario: &str, more: &[&str]) -> Ran {
    let token = server.site.admin_token(&[]);
    let line = ["--devices", "8", "--admin-token", &token, "--json", "--scenario", scenario];
    Simulator::of(server).run(&[&line[..], more].concat())
}

/// The summary of a fleet of eight, in which everything held.
#[track_caller]
fn fleet(server: &Server<'_>, scenario: &str, more: &[&str]) -> Value {
    let summary = ran_fleet(server, scenario, more).expect(0).json();
    assert_eq!((&summary["held"], &summary["enrolled"]), (&json!(true), &json!(8)), "{summary}");
    assert_eq!(summary["violations"], json!([]));
    summary
}

#[track_caller]
fn statuses(admin: &Client, status: &str) -> usize {
    let list = admin.get(&format!("/api/certificates?status={status}&limit=500")).expect(200);
    // The authority's own and the server's name no device.
    list["items"].as_array().unwrap().iter().filter(|entry| entry["type"] == "Device").count()
}

#[test]
fn a_steady_fleet_sends_its_heartbeats_and_meets_the_targets() {
    let site = Site::new();
    let server = site.start();
    let summary = fleet(&server, "steady", &["--iterations", "3", "--ramp-seconds", "1", "--concurrency", "4"]);
    assert_eq!(summary["latencies"]["heartbeat"]["count"], 24, "on the connections that were opened: {summary}");
    assert_eq!(summary["latencies"]["heartbeat, new connection"]["count"], 8);
    assert_eq!(summary["counts"]["certificateAccepted"], 32);
    let anew = fleet(&server, "steady", &["--iterations", "3", "--new-connections"]);
    assert_eq!(anew["latencies"]["heartbeat, new connection"]["count"], 32, "{anew}");

    // How fast the server is on a busy machine is not for this test to say; that it is judged is.
    let ops = format!("http://{}", server.ops_address);
    let judged = ran_fleet(&server, "steady", &["--iterations", "3", "--ops-url", &ops]).json();
    let metrics = judged["metrics"].as_array().unwrap();
    let validation = metrics.iter().find(|metric| metric["name"] == "certificate validation latency p99 (server)");
    assert_eq!(validation.unwrap()["samples"], 32, "this run's alone: {judged}");
}

#[test]
fn after_a_renewal_storm_each_device_has_one_certificate_in_force() {
    let site = Site::new();
    let server = site.start();
    let summary = fleet(&server, "renewal-storm", &["--iterations", "2"]);
    let counts = &summary["counts"];
    assert_eq!((&counts["renewals"], &counts["renewalsSucceeded"]), (&json!(16), &json!(16)));
    assert_eq!((&counts["refusalsDue"], &counts["refused"]), (&json!(32), &json!(32)), "{summary}");
    let admin = server.admin();
    assert_eq!((statuses(&admin, "active"), statuses(&admin, "superseded")), (8, 16));
}

#[test]
fn a_flapping_fleet_loses_no_device_and_makes_none_twice() {
    let site = Site::new();
    let server = site.start();
    let summary = fleet(&server, "flapping", &["--iterations", "6", "--seed", "7"]);
    let counts = &summary["counts"];
    for played in ["answersLost", "connectionsCut", "restarts", "renewals"] {
        assert!(counts[played].as_u64().unwrap() > 0, "{played}: {summary}");
    }
    assert_eq!(statuses(&server.admin(), "active"), 8);
    let registered = site.export().iter().filter(|event| event["type"] == "device.registered").count();
    assert_eq!(registered, 8, "no lost answer made a second device");
}

#[test]
fn revoked_devices_are_refused_fall_back_and_ask_anew() {
    let site = Site::new();
    let server = site.start();
    let summary = fleet(&server, "revocations", &["--iterations", "6", "--share", "50"]);
    let counts = &summary["counts"];
    for name in ["revoked", "fellBackToApiKey", "replaced"] {
        assert_eq!(counts[name], 4, "{name}: {summary}");
    }
    assert_eq!(counts["refusalsDue"], counts["refused"], "{summary}");
    let admin = server.admin();
    assert_eq!((statuses(&admin, "active"), statuses(&admin, "revoked")), (8, 4));
}

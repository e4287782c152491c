//! An event log that went back to an earlier state: nobody gets in on its word until an operator has acknowledged that.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::authentication_log::{days_ago, record, success};
use crate::backups::{beside, manifest, succeed};
use crate::client::Client;
use crate::device::{Device, by_certificate, draw_claim_secret, new_token, registration};
use crate::keys::{Identity, key_and_request};
use crate::server::{Server, Site, remove_projections};
use crate::waiting::eventually;

/// Every file of a folder and the folders in it, at another place.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A device whose certificate and API key were revoked after the state was kept that the log will go back to.
struct Revoked {
    device: Device,
    identity: Identity,
    kept: PathBuf,
}

impl Revoked {
    /// Ends with a stopped server.
    fn on(site: &Site) -> Self {
        let server = site.start();
        let admin = server.admin();
        let device = Device::approved(&server, &admin);
        let identity = device.issue(&server, 90);
        device.beat(&by_certificate(&server, &identity)).expect(200);
        server.stop();
        let kept = beside(site, "yesterday");
        copy_folder(&site.data_dir(), &kept);

        let server = site.start();
        let admin = server.admin();
        assert_eq!(admin.delete(&format!("/api/certificates/{}", identity.serial_number)).status, 204);
        assert_eq!(admin.post(&device.path("revoke-api-key"), &json!({})).status, 204);
        device.beat(&by_certificate(&server, &identity)).refused(401, "CERTIFICATE_REVOKED");
        server.stop();
        Self { device, identity, kept }
    }

    fn is_kept_out(&self, server: &Server<'_>) {
        self.device.beat(&by_certificate(server, &self.identity)).refused(503, "LOG_ROLLED_BACK");
        self.device.beat(&self.device.by_key(server)).refused(503, "LOG_ROLLED_BACK");
    }
}

fn readiness(server: &Server<'_>) -> Value {
    Client::plain(server.ops_address).get("/health/ready").json()
}

fn is_locked(server: &Server<'_>) -> bool {
    server.metrics().lines().any(|line| line == "signalbeam_log_rolled_back 1")
}

/// The position that the locked server asks to acknowledge.
#[track_caller]
fn found_position(site: &Site) -> String {
    let noted: Value = serde_json::from_slice(&std::fs::read(site.data_dir().join("rollback.json")).unwrap()).unwrap();
    noted["foundPosition"].to_string()
}

#[test]
fn an_old_log_over_a_newer_one_lets_nobody_in_until_that_is_acknowledged() {
    let site = Site::new();
    let revoked = Revoked::on(&site);
    std::fs::copy(revoked.kept.join("events.db"), site.data_dir().join("events.db")).unwrap();

    let server = site.launch().expect("the process stays up");
    revoked.is_kept_out(&server);
    let ready = readiness(&server);
    assert_eq!((server.readiness(), &ready["components"]["logHistory"]["ready"]), (503, &json!(false)), "{ready}");
    assert!(ready.to_string().contains("restore acknowledge --data-dir"), "{ready}");
    assert!(is_locked(&server));
    assert!(site.said().contains("revocations may be lost"), "{}", site.said());

    let admin = server.admin();
    admin.get(&format!("/api/devices/{}", revoked.device.id)).expect(200);
    let (_, request) = key_and_request();
    let issue = format!("/api/certificates/{}/issue", revoked.device.id);
    admin.post(&issue, &json!({"csrPem": request})).refused(503, "LOG_ROLLED_BACK");
    admin.post("/api/registration-tokens", &json!({"tenantId": crate::device::TENANT})).refused(503, "LOG_ROLLED_BACK");
    let serial_number = &revoked.identity.serial_number;
    assert_eq!(admin.delete(&format!("/api/certificates/{serial_number}")).status, 204, "revoked again");
    server.stop();

    // A restart, and a log that has grown beyond, change nothing.
    remove_projections(&site.data_dir());
    let server = site.launch().unwrap();
    revoked.is_kept_out(&server);
    let position = found_position(&site);

    let shown = site.run(&["restore", "acknowledge"]);
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    let command = format!("--data-dir {} --position {position}", site.data_dir().display());
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&command), "{shown:?}");
    let wrong = site.run(&["restore", "acknowledge", "--position", "1"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    revoked.is_kept_out(&server);
    let said = succeed(
        &site,
        &["restore", "acknowledge", "--position", &position, "--operator", "alice", "--reason", "tests"],
    );
    assert!(said.contains("lets devices in again"), "{said}");

    assert!(!is_locked(&server));
    eventually("it is ready", || (server.readiness() == 200).then_some(()));
    revoked.device.beat(&by_certificate(&server, &revoked.identity)).refused(401, "CERTIFICATE_REVOKED");
    revoked.device.beat(&revoked.device.by_key(&server)).expect(200);
    let events = site.export();
    let acknowledged = events.iter().find(|event| event["type"] == "event_log.rollback_acknowledged").unwrap();
    assert_eq!(acknowledged["actor"]["id"], "operator:alice");
    assert_eq!(acknowledged["data"]["foundPosition"].to_string(), position);
    assert!(acknowledged["data"]["witnessedPosition"].as_u64() > acknowledged["data"]["foundPosition"].as_u64());
    assert_eq!(acknowledged["stream"], format!("event_log-{}", events[0]["id"].as_str().unwrap()));
    server.stop();
    assert_eq!(site.run(&["restore", "acknowledge"]).status.code(), Some(0), "there is nothing left to acknowledge");
    let server = site.start();
    revoked.device.beat(&revoked.device.by_key(&server)).expect(200);
}

#[test]
fn what_the_server_records_of_itself_waits_for_the_acknowledgement() {
    let mut site = Site::new();
    let revoked = Revoked::on(&site);
    std::fs::copy(revoked.kept.join("events.db"), site.data_dir().join("events.db")).unwrap();
    site.set("api_key_expiration_check.warning_threshold_days", "120");
    record(&site, vec![success(days_ago(2))]);

    let server = site.launch().unwrap();
    revoked.is_kept_out(&server);
    let position = found_position(&site);
    succeed(&site, &["restore", "acknowledge", "--position", &position, "--operator", "alice"]);
    server.stop();

    let _server = site.start();
    let first = |events: &[Value], kind: &str| events.iter().position(|event| event["type"] == kind);
    let own = eventually("a day is sealed, and a key's end is noticed", || {
        let events = site.export();
        Some([first(&events, "audit_segment.sealed")?, first(&events, "api_key.expiry_noticed")?])
    });
    let acknowledged = first(&site.export(), "event_log.rollback_acknowledged").unwrap();
    assert!(own.iter().all(|at| *at > acknowledged), "{own:?} behind {acknowledged}");
}

#[test]
fn each_witness_alone_notices_and_without_any_there_is_nothing_to_notice() {
    for (witness, tables, is_noticed) in [(true, false, true), (false, true, true), (false, false, false)] {
        let site = Site::new();
        let revoked = Revoked::on(&site);
        std::fs::copy(revoked.kept.join("events.db"), site.data_dir().join("events.db")).unwrap();
        if !witness {
            std::fs::remove_file(site.data_dir().join("witness.json")).unwrap();
        }
        if !tables {
            remove_projections(&site.data_dir());
        }
        let server = site.launch().unwrap();
        assert_eq!(is_locked(&server), is_noticed, "witness file: {witness}, tables: {tables}");
    }
}

#[test]
fn a_whole_directory_that_went_back_is_noticed_by_the_witness_on_other_storage() {
    let mut site = Site::new();
    let other_storage = tempfile::tempdir().unwrap();
    site.set("store.witness_file", other_storage.path().join("witness.json").to_str().unwrap());
    let revoked = Revoked::on(&site);
    std::fs::remove_dir_all(site.data_dir()).unwrap();
    copy_folder(&revoked.kept, &site.data_dir());

    let server = site.launch().unwrap();
    revoked.is_kept_out(&server);
    let position = found_position(&site);
    server.stop();
    let said = succeed(&site, &["restore", "acknowledge", "--position", &position]);
    assert!(said.contains("when the server is started"), "{said}");
    let server = site.start();
    revoked.device.beat(&by_certificate(&server, &revoked.identity)).expect(200);
    server.stop();

    std::fs::remove_dir_all(other_storage.path()).unwrap();
    let refused = site.try_start().err().expect("without its volume nobody could tell");
    assert!(refused.said.contains("store.witness_file"), "{refused:?}");
}

#[test]
fn a_lost_witness_or_lost_tables_keep_nobody_out() {
    let site = Site::new();
    let server = site.start();
    let device = Device::approved(&server, &server.admin());
    server.stop();
    std::fs::remove_file(site.data_dir().join("witness.json")).unwrap();
    let server = site.start();
    device.beat(&device.by_key(&server)).expect(200);
    assert!(site.said().contains("witness of the event log is missing"), "{}", site.said());
    server.stop();
    remove_projections(&site.data_dir());
    let server = site.start();
    device.beat(&device.by_key(&server)).expect(200);
    server.kill();
    server.reap();
    let server = site.start();
    device.beat(&device.by_key(&server)).expect(200);
    assert!(!is_locked(&server));
}

#[test]
fn a_log_that_was_deleted_is_one_that_went_back() {
    let site = Site::new();
    let revoked = Revoked::on(&site);
    for name in ["events.db", "events.db-wal", "events.db-shm"] {
        let _absent = std::fs::remove_file(site.data_dir().join(name));
    }
    let server = site.launch().unwrap();
    revoked.is_kept_out(&server);
}

#[test]
fn a_restore_in_place_tells_how_far_the_log_had_come_and_what_was_lost_can_be_applied_again() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    device.beat(&by_certificate(&server, &identity)).expect(200);
    let backup = beside(&site, "backup");
    succeed(&site, &["backup", "--output", backup.to_str().unwrap()]);
    let serial_number = &identity.serial_number;
    assert_eq!(admin.delete(&format!("/api/certificates/{serial_number}")).status, 204);
    let unrecorded = device.issue(&server, 90);
    let (token, claim_secret) = (new_token(&site, &admin), draw_claim_secret(&site));
    server.stop();

    let said = succeed(&site, &["restore", "--from", backup.to_str().unwrap(), "--replace"]);
    assert!(said.contains("it had reached position") && said.contains("moved aside"), "{said}");
    let server = site.launch().unwrap();
    device.beat(&by_certificate(&server, &identity)).refused(503, "LOG_ROLLED_BACK");
    server
        .anonymous()
        .post("/api/devices", &registration(&token, &claim_secret))
        .refused(401, "INVALID_REGISTRATION_TOKEN");

    // What the log that was moved aside knows beyond the backup.
    let entries = std::fs::read_dir(site.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let replaced = entries.into_iter().find(|path| path.to_string_lossy().contains("/replaced-")).unwrap();
    let lost = succeed(&site, &["events", "export", "--data-dir", replaced.to_str().unwrap()]);
    let end = manifest(&backup)["eventLog"]["position"].as_u64().unwrap();
    let lost: Vec<Value> = lost.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let revocations =
        lost.iter().filter(|event| event["position"].as_u64().unwrap() > end && event["type"] == "certificate.revoked");
    let admin = server.admin();
    for event in revocations {
        let serial = event["data"]["serialNumber"].as_str().unwrap();
        assert_eq!(admin.delete(&format!("/api/certificates/{serial}")).status, 204);
    }
    succeed(&site, &["restore", "acknowledge", "--position", &end.to_string()]);
    device.beat(&by_certificate(&server, &identity)).refused(401, "CERTIFICATE_REVOKED");
    // Issued after the backup: the log does not know it, and that is counted.
    device.beat(&by_certificate(&server, &unrecorded)).refused(401, "CERTIFICATE_NOT_FOUND");
    let metrics = server.metrics();
    assert!(metrics.contains("signalbeam_unrecorded_certificates_total 1"), "{metrics}");
    assert!(site.said().contains("the event log does not know"), "{}", site.said());
}

//! Backups that are made beside a running server, and what comes back from them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::device::{Device, by_certificate};
use crate::server::Site;

#[track_caller]
pub(crate) fn succeed(site: &Site, arguments: &[&str]) -> String {
    let output = site.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn manifest(backup: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(backup.join("manifest.json")).unwrap()).unwrap()
}

/// A name beside the site's data directory.
pub(crate) fn beside(site: &Site, name: &str) -> std::path::PathBuf {
    site.data_dir().parent().unwrap().join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_backup_under_load_holds_everything_that_was_acknowledged_before_it_began() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let before: Vec<Device> = (0..3).map(|_| Device::approved(&server, &admin)).collect();
    let identity = before[0].issue(&server, 90);
    before[0].beat(&by_certificate(&server, &identity)).expect(200);
    before[1].beat(&before[1].by_key(&server)).expect(200);
    assert_eq!(admin.post(&before[1].path("revoke-api-key"), &serde_json::json!({})).status, 204);

    let (backup, is_over) = (beside(&site, "backup"), AtomicBool::new(false));
    let registered = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ids = Vec::new();
            while !is_over.load(Ordering::SeqCst) || ids.is_empty() {
                ids.push(Device::pending(&server, &admin).id);
            }
            ids
        });
        let said = succeed(&site, &["backup", "--output", text(&backup)]);
        is_over.store(true, Ordering::SeqCst);
        assert!(said.contains("made and verified") && said.contains("event log"), "{said}");
        load.join().unwrap()
    });
    assert!(!registered.is_empty());
    succeed(&site, &["backup", "verify", text(&backup)]);
    assert!(!backup.join("projections.db").exists(), "what is derived is not backed up");
    let live = site.export();
    server.stop();

    let restored = Site::new();
    let said = succeed(&restored, &["restore", "--from", text(&backup), "--data-dir", text(&restored.data_dir())]);
    assert!(said.contains("restore acknowledge --data-dir") && said.contains("--position"), "{said}");
    let end = manifest(&backup)["eventLog"]["position"].as_u64().unwrap();
    let copied = restored.export();
    assert_eq!((copied.len() as u64, &copied[..]), (end, &live[..copied.len()]), "a beginning of the live log");
    let position = end.to_string();
    succeed(&restored, &["restore", "acknowledge", "--position", &position]);
    let server = restored.start();
    let admin = server.admin();
    before[0].beat(&by_certificate(&server, &identity)).expect(200);
    before[1].beat(&before[1].by_key(&server)).refused(401, "API_KEY_REVOKED");
    before[2].beat(&before[2].by_key(&server)).expect(200);
    let rows = before[0].log(&admin);
    assert!(rows.iter().any(|row| row["success"] == true), "the authentication log came along: {rows:?}");
    assert_eq!(server.readiness(), 200);
}

#[test]
fn what_the_authentication_log_of_a_backup_speaks_of_is_in_its_event_log() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let (backup, is_over) = (beside(&site, "backup"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let device = Device::approved(&server, &admin);
                device.beat(&device.by_key(&server)).expect(200);
            }
        });
        succeed(&site, &["backup", "--output", text(&backup)]);
        is_over.store(true, Ordering::SeqCst);
    });
    server.stop();
    let restored = Site::new();
    succeed(&restored, &["restore", "--from", text(&backup)]);
    let known: BTreeSet<String> = restored
        .export()
        .iter()
        .filter(|event| event["type"] == "device.registered")
        .map(|event| event["data"]["deviceId"].as_str().unwrap().to_owned())
        .collect();
    let server = restored.launch().unwrap();
    let log = server.admin().get("/api/authentication-logs?limit=500").expect(200);
    let spoken_of = log["items"].as_array().unwrap().iter().filter_map(|row| row["deviceId"].as_str());
    assert!(spoken_of.into_iter().all(|id| known.contains(id)), "{log}");
}

#[test]
fn a_backup_refuses_what_exists_and_what_is_none() {
    let site = Site::new();
    let server = site.start();
    let backup = beside(&site, "backup");
    succeed(&site, &["backup", "--output", text(&backup)]);
    let again = site.run(&["backup", "--output", text(&backup)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("overwrites nothing"), "{again:?}");
    assert_eq!(site.run(&["backup"]).status.code(), Some(2), "where to is not guessed");
    assert_eq!(site.run(&["backup", "verify", text(&site.data_dir())]).status.code(), Some(1));
    let taken = site.run(&["restore", "--from", text(&backup), "--replace"]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("another server"), "{taken:?}");
    assert_eq!(server.readiness(), 200);
    server.stop();
    std::fs::write(backup.join("credential-mac.key"), "x").unwrap();
    let damaged = site.run(&["backup", "verify", text(&backup)]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("credential-mac.key"), "{damaged:?}");
}

//! `signalbeam doctor`: everything in order, and every finding made to show.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::backups::{beside, succeed};
use crate::device::{Device, by_certificate};
use crate::server::{Site, remove_projections};

/// Settings as an operator would have them; tests hash quickly otherwise.
fn site() -> Site {
    Site::new().with("authentication.bcrypt_cost", "10")
}

/// A site whose server has run and ended.
fn stopped() -> Site {
    let site = site();
    site.start().stop();
    site
}

/// The report and the exit code.
#[track_caller]
fn report(site: &Site, more: &[&str]) -> (Value, i32) {
    let output = site.run(&[&["doctor", "--output", "json"], more].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (report, output.status.code().unwrap())
}

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("{id} is missing in {report}"))
}

/// The check has this status, says this, and advises where there is something to do.
#[track_caller]
fn finds(site: &Site, id: &str, status: &str, part: &str) {
    let (report, code) = report(site, &[]);
    let check = check(&report, id);
    assert_eq!(check["status"], status, "{check}");
    assert!(check["message"].as_str().unwrap().contains(part), "{check}");
    assert_eq!(check["action"].is_string(), status != "ok" && status != "skipped", "{check}");
    let summary = &report["summary"];
    let expected = if summary["error"] != 0 {
        1
    } else if summary["warning"] != 0 {
        3
    } else {
        0
    };
    assert_eq!(code, expected, "{summary}");
    if status == "error" {
        assert_eq!(code, 1);
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_directory_in_order_is_found_so_beside_its_server_and_without_and_nothing_changes() {
    let site = site();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    device.beat(&by_certificate(&server, &identity)).expect(200);
    let (beside_server, code) = report(&site, &["--deep"]);
    assert_eq!(code, 0, "{beside_server:#}");
    assert!(check(&beside_server, "server")["message"].as_str().unwrap().contains("and ready"));
    server.stop();
    let before = names(&site.data_dir());
    let (alone, code) = report(&site, &["--deep"]);
    assert_eq!(code, 0, "{alone:#}");
    assert_eq!(names(&site.data_dir()), before, "nothing is left behind");

    let keys: Vec<&String> = alone.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["checkedAt", "checks", "dataDir", "summary", "version"]);
    assert_eq!(alone["version"], 1);
    let ids: Vec<&str> =
        alone["checks"].as_array().unwrap().iter().map(|check| check["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        [
            "data-directory",
            "key-files",
            "file-owners",
            "interrupted-restore",
            "leftover-files",
            "authority-certificate",
            "authority-key",
            "server-certificate",
            "server-names",
            "event-log",
            "clock",
            "rollback",
            "projections",
            "witness",
            "expiring-certificates",
            "expiring-api-keys",
            "authentication-log",
            "trusted-authorities",
            "revocation-lists",
            "profiles-in-use",
            "disk-space",
            "server",
            "configuration",
            "settings-without-effect",
            "api-key-fallback",
            "trusted-proxies",
            "bcrypt-cost",
            "listener-names",
            "ops-listener",
            "audit-durability",
        ]
    );
    let text = String::from_utf8(site.run(&["doctor"]).stdout).unwrap();
    assert!(text.starts_with("ok       data-directory") && !text.contains('\x1b'), "{text}");
    assert!(text.trim_end().ends_with("0 not checked"), "{text}");
}

#[test]
fn a_missing_directory_is_said_and_not_made() {
    let site = site();
    finds(&site, "data-directory", "error", "does not exist");
    assert!(!site.data_dir().exists());
    assert_eq!(site.run(&["doctor", "--output", "yaml"]).status.code(), Some(2));
}

#[test]
fn files_that_are_missing_open_or_left_over_are_found() {
    let site = stopped();
    let data_dir = site.data_dir();
    let mode = |name: &str, mode| {
        std::fs::set_permissions(data_dir.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    finds(&site, "data-directory", "error", "mode 755");
    mode("", 0o700);
    mode("ca/ca-key.pem", 0o644);
    finds(&site, "key-files", "error", "ca-key.pem");
    mode("ca/ca-key.pem", 0o600);
    let draft = std::fs::File::create(data_dir.join("witness.json.new")).unwrap();
    finds(&site, "leftover-files", "ok", "nothing");
    draft.set_modified(std::time::UNIX_EPOCH).unwrap();
    finds(&site, "leftover-files", "warning", "witness.json.new");
    std::fs::remove_file(data_dir.join("witness.json.new")).unwrap();
    std::fs::write(data_dir.join("restore.json"), "{}").unwrap();
    finds(&site, "interrupted-restore", "error", "not finished");
    let refused = site.try_start().err().expect("no server starts on it");
    assert!(refused.said.contains("was interrupted"), "{refused:?}");
    std::fs::remove_file(data_dir.join("restore.json")).unwrap();
    std::fs::remove_file(data_dir.join("credential-mac.key")).unwrap();
    finds(&site, "data-directory", "error", "credential-mac.key");
}

#[test]
fn files_of_another_user_are_found() {
    let site = stopped();
    let file = site.data_dir().join("witness.json");
    if std::os::unix::fs::chown(&file, Some(12_345), None).is_err() {
        // Only root can give a file away; then there is nothing to find.
        return finds(&site, "file-owners", "ok", "belongs to the user");
    }
    finds(&site, "file-owners", "warning", "witness.json");
}

#[test]
fn an_authority_with_a_foreign_or_missing_certificate_is_found() {
    let (site, other) = (stopped(), stopped());
    let certificate = site.data_dir().join("ca/ca-cert.pem");
    std::fs::copy(other.data_dir().join("ca/ca-cert.pem"), &certificate).unwrap();
    finds(&site, "authority-key", "error", "not usable");
    std::fs::write(&certificate, "x").unwrap();
    finds(&site, "authority-certificate", "error", "cannot be read");
}

#[test]
fn certificates_that_end_soon_have_ended_or_lack_a_name_are_found() {
    let mut site = stopped();
    let certify = |days: i64| {
        let now = time::OffsetDateTime::now_utc();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_before = now - time::Duration::days(30);
        parameters.not_after = now + time::Duration::days(days);
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let own = site.data_dir().join("tls/server.pem");
    let serve = |days| {
        let (certificate, key) = certify(days);
        std::fs::write(&own, format!("{key}{certificate}")).unwrap();
    };
    serve(5);
    finds(&site, "server-certificate", "warning", "in 4 days");
    finds(&site, "server-names", "error", "127.0.0.1");
    serve(-1);
    finds(&site, "server-certificate", "error", "has expired");
    std::fs::write(&own, "x").unwrap();
    finds(&site, "server-certificate", "error", "server.pem");
    let authority = site.data_dir().join("ca");
    let (certificate, key) = certify(100);
    std::fs::write(authority.join("ca-cert.pem"), certificate).unwrap();
    std::fs::write(authority.join("ca-key.pem"), key).unwrap();
    finds(&site, "authority-certificate", "warning", "days");
    serve(90);
    site.set("tls.server_names", "devices.example.com");
    finds(&site, "server-names", "error", "devices.example.com");
}

#[test]
fn a_log_that_was_changed_and_one_that_is_none_are_found() {
    let site = site();
    let server = site.start();
    Device::approved(&server, &server.admin());
    server.stop();
    let log = site.data_dir().join("events.db");
    let good = std::fs::read(&log).unwrap();
    let mut changed = good.clone();
    let places = good.windows(12).enumerate().filter(|(_, window)| window == b"warehouse-01");
    places.for_each(|(at, _)| changed[at] = b'W');
    std::fs::write(&log, changed).unwrap();
    finds(&site, "event-log", "error", "damaged");
    std::fs::write(&log, "this is no database, however long it may be").unwrap();
    finds(&site, "event-log", "error", "not what it should be");
    finds(&site, "clock", "skipped", "cannot be read");
    std::fs::write(&log, good).unwrap();
    std::fs::write(site.data_dir().join("audit.db"), "x".repeat(8_192)).unwrap();
    finds(&site, "authentication-log", "error", "could not be opened");
}

#[test]
fn a_log_that_went_back_and_a_lost_witness_are_found() {
    let mut site = stopped();
    let (log, kept) = (site.data_dir().join("events.db"), beside(&site, "kept.db"));
    std::fs::copy(&log, &kept).unwrap();
    let server = site.start();
    Device::approved(&server, &server.admin());
    server.stop();
    std::fs::copy(&kept, &log).unwrap();
    finds(&site, "rollback", "error", "witness.json has seen position");
    let server = site.launch().unwrap();
    finds(&site, "rollback", "error", "acknowledged");
    finds(&site, "server", "error", "logHistory");
    server.stop();
    let (found, _) = report(&site, &[]);
    let action = check(&found, "rollback")["action"].as_str().unwrap();
    succeed(
        &site,
        &["restore", "acknowledge", "--position", action.split_whitespace().last().unwrap().trim_end_matches('`')],
    );
    finds(&site, "rollback", "warning", "takes effect at the next start");
    let again = site.run(&["restore", "acknowledge"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("takes effect at the next start"), "{again:?}");
    let alarms = |site: &Site| site.said().matches("revocations may be lost").count();
    let before = alarms(&site);
    site.start().stop();
    assert_eq!(alarms(&site), before, "what was acknowledged is no alarm");
    finds(&site, "rollback", "ok", "agrees");

    site.set("store.witness_file", "/nowhere/second.json");
    finds(&site, "witness", "error", "/nowhere");

    site.set("store.witness_file", beside(&site, "second.json").to_str().unwrap());
    finds(&site, "witness", "warning", "second.json");
    site.start().stop();
    finds(&site, "witness", "warning", "same file system");
}

#[test]
fn missing_and_foreign_projections_are_found_and_so_are_expiring_credentials() {
    let site = site();
    let server = site.start();
    let device = Device::approved(&server, &server.admin());
    device.issue(&server, 3);
    server.stop();
    finds(&site, "expiring-certificates", "warning", "1 certificates");
    finds(&site, "expiring-api-keys", "ok", "no API keys");
    remove_projections(&site.data_dir());
    finds(&site, "projections", "warning", "missing");
    finds(&site, "expiring-certificates", "skipped", "cannot be read");
    std::fs::write(site.data_dir().join("projections.db"), "x".repeat(8_192)).unwrap();
    finds(&site, "projections", "warning", "projections.db");
    assert_eq!(report(&site, &[]).1, 3, "warnings alone");
}

/// Settings, and the check that finds them with its status and a part of its message.
type Trap = (&'static [(&'static str, &'static str)], &'static str, &'static str, &'static str);

#[test]
fn settings_that_are_traps_are_found_one_by_one() {
    let cases: [Trap; 11] = [
        (&[("mtls.enabled", "perhaps")], "configuration", "error", "mtls.enabled"),
        (
            &[("mtls.enabled", "false"), ("authentication.api_key_fallback", "never")],
            "api-key-fallback",
            "warning",
            "uses its API key",
        ),
        (&[("proxy.trusted", "0.0.0.0/0")], "trusted-proxies", "error", "trusts everybody"),
        (&[("proxy.trusted", "::ffff:0:0/96")], "trusted-proxies", "error", "trusts everybody"),
        (&[("proxy.trusted", "10.0.0.0/7")], "trusted-proxies", "warning", "very wide"),
        (&[("proxy.trusted", "10.1.0.0/16")], "trusted-proxies", "ok", "1 networks"),
        (&[("authentication.bcrypt_cost", "9")], "bcrypt-cost", "warning", "is 9"),
        (&[("listener.address", "0.0.0.0:8443")], "listener-names", "warning", "localhost"),
        (
            &[("listener.address", "0.0.0.0:8443"), ("tls.server_names", "a.example.com")],
            "listener-names",
            "ok",
            "0.0.0.0:8443",
        ),
        (&[("listener.ops_address", "0.0.0.0:9464")], "ops-listener", "warning", "without TLS"),
        (&[("audit.durability", "relaxed")], "audit-durability", "warning", "250 ms"),
    ];
    let data = stopped();
    for (settings, id, status, part) in cases {
        let site = settings.iter().fold(site(), |site, (key, value)| site.with(key, value));
        std::fs::rename(data.data_dir(), site.data_dir()).unwrap();
        finds(&site, id, status, part);
        std::fs::rename(site.data_dir(), data.data_dir()).unwrap();
    }
}

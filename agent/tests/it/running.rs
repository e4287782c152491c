//! `run`: checks before the start, heartbeats, renewal in time, fallback, and a clean stop.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::authority::{Authority, Life, serial_hex};
use crate::device::{
    API_KEY, Device, Ended, claim_route, heartbeat_route, in_days, issue_route, renew_route, status_route,
};
use crate::examples;
use crate::fake_server::Reply;

fn renew_on_request(device: &Device, serial: u8, next: u8) {
    let authority = Authority::new();
    device.server.on(&renew_route(serial), move |seen| {
        let pem = authority.certify_request(seen.body["csrPem"].as_str().unwrap(), next, Life::days(0, 90));
        Reply::json(201, &examples::renewed(&pem, authority.pem()))
    });
}

fn beat(device: &Device, renewal_required: bool) {
    device.server.reply(&heartbeat_route(), Reply::json(200, &examples::heartbeat(renewal_required)));
}

#[test]
fn a_device_without_certificate_beats_by_api_key() {
    let device = Device::approved();
    beat(&device, false);
    let ended = device.run(&["run", "--once"]).expect(0);
    assert!(ended.out.contains("Authenticating with API key..."), "{ended:?}");
    let seen = &device.server.seen(&heartbeat_route())[0];
    examples::assert_same_shape(&seen.body, &examples::heartbeat_request());
    assert_eq!(seen.api_key.as_deref(), Some(API_KEY));
}

#[test]
fn a_certificate_comes_first_and_alone() {
    let device = Device::certified(1, Life::days(0, 90));
    beat(&device, false);
    let ended = device.run(&["run", "--once"]).expect(0);
    assert!(ended.out.starts_with("Authenticating with mTLS certificate...\n"), "{ended:?}");
    let seen = &device.server.seen(&heartbeat_route())[0];
    assert_eq!((&seen.certificate, &seen.api_key), (&Some(serial_hex(1)), &None));
    let report = device.run(&["--output", "json", "run", "--once"]).expect(0).json();
    assert_eq!(report["authenticationMethod"], "Certificate");
    assert_eq!(report["certificateRenewed"], false);
}

#[test]
fn a_refused_certificate_falls_back_to_the_api_key_alone() {
    let device = Device::certified(1, Life::days(0, 90));
    let revoked = Reply::json(401, &examples::problem(401, "CERTIFICATE_REVOKED"));
    device.server.reply(&heartbeat_route(), revoked.clone());
    beat(&device, false);
    let for_good = Reply::json(409, &examples::problem(409, "CERTIFICATE_NOT_RENEWABLE"));
    device.server.reply(&renew_route(1), for_good.clone());
    let ended = device.run(&["run", "--once"]).expect(0);
    assert!(ended.err.contains("request-certificate"), "{ended:?}");
    assert_eq!(ended.err.matches("WARN the certificate").count(), 1, "{ended:?}");
    let shown = device.server.all_seen().into_iter().filter(|seen| seen.certificate.is_some()).count();
    assert_eq!(shown, 1, "a certificate that was refused as revoked is not shown again");
    let seen = device.server.seen(&heartbeat_route());
    assert_eq!((&seen[1].certificate, seen[1].api_key.as_deref()), (&None, Some(API_KEY)));
    assert_eq!(device.installed_serial(), Some(serial_hex(1)), "a revoked certificate is not replaced by itself");
    assert_eq!(device.server.seen(&issue_route()).len(), 1);

    // Unless whoever runs the device wants it so.
    device.issue_on_request(2, Life::days(0, 90));
    device.server.forget(&heartbeat_route()).reply(&heartbeat_route(), revoked.clone());
    beat(&device, false);
    let settings = device.credentials_path().with_file_name("agent.toml");
    fs::write(&settings, "[certificates.auto_renewal]\nreplace_revoked = true\n").unwrap();
    device.run(&["run", "--once"]).expect(0);
    assert_eq!(device.installed_serial(), Some(serial_hex(2)));

    // With no API key to be had, the certificate's code is what the device reports.
    device.server.forget(&heartbeat_route()).reply(&heartbeat_route(), revoked);
    device.server.forget(&claim_route());
    device.server.reply(&claim_route(), Reply::json(409, &examples::problem(409, "API_KEY_ALREADY_CLAIMED")));
    device.edit_credentials("apiKeyExpiresAt", json!("2020-01-01T00:00:00Z"));
    let ended = device.run(&["run", "--once"]).expect(5);
    assert!(ended.err.contains("CERTIFICATE_REVOKED"), "{ended:?}");
}

#[test]
fn a_revoked_certificate_is_shown_and_told_of_once_in_the_life_of_the_process() {
    let device = Device::certified(1, Life::days(0, 90));
    fs::write(device.credentials_path().with_file_name("agent.toml"), "[heartbeat]\ninterval_seconds = 1\n").unwrap();
    device.server.on(&heartbeat_route(), |_| Reply::json(401, &examples::problem(401, "CERTIFICATE_REVOKED")));
    beat(&device, false);
    let for_good = Reply::json(409, &examples::problem(409, "CERTIFICATE_NOT_RENEWABLE"));
    device.server.reply(&renew_route(1), for_good);
    let child = device.command(&["run"]).spawn().unwrap();
    // The refused one and three by the API key.
    (0..4).for_each(|_| device.server.wait_for(&heartbeat_route()));
    assert!(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap().success());
    let ended = Ended::from(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(ended.err.matches("WARN the certificate").count(), 1, "{ended:?}");
    let shown = device.server.all_seen().into_iter().filter(|seen| seen.certificate.is_some()).count();
    assert_eq!((shown, device.server.seen(&renew_route(1)).len()), (1, 1), "{ended:?}");
}

#[test]
fn a_refused_api_key_is_claimed_again_after_a_rotation() {
    let device = Device::approved();
    device.server.reply(&heartbeat_route(), Reply::json(401, &examples::problem(401, "API_KEY_REVOKED")));
    beat(&device, false);
    let mut rotated = examples::claimed(in_days(90));
    rotated["apiKey"] = json!(API_KEY.replace("e5f6g7h8", "rotated1"));
    device.server.forget(&claim_route()).reply(&claim_route(), Reply::json(200, &rotated));
    device.run(&["run", "--once"]).expect(0);
    assert_eq!(device.server.seen(&heartbeat_route())[1].api_key.as_deref(), rotated["apiKey"].as_str());
    assert_eq!(device.credentials()["apiKey"], rotated["apiKey"]);
}

#[test]
fn the_servers_hint_renews_and_so_does_the_calendar() {
    for (life, hint) in [(Life::days(-10, 80), true), (Life::days(-70, 20), false)] {
        let device = Device::certified(1, life);
        beat(&device, hint);
        renew_on_request(&device, 1, 2);
        let ended = device.run(&["run", "--once"]).expect(0);
        assert!(ended.out.contains("✅ Certificate renewed"), "{ended:?}");
        assert_eq!(device.installed_serial(), Some(serial_hex(2)));
    }
    let device = Device::certified(1, Life::days(-10, 80));
    beat(&device, false);
    device.run(&["run", "--once"]).expect(0);
    assert!(device.server.seen(&renew_route(1)).is_empty(), "too early and not asked for");
}

#[test]
fn a_lost_renewal_is_finished_before_the_next_heartbeat() {
    let device = Device::certified(1, Life::days(-70, 20));
    beat(&device, true);
    device.server.on(&renew_route(1), |_| Reply::json(201, &examples::pending()).lost());
    renew_on_request(&device, 1, 2);
    device.run(&["run", "--once"]).expect(1);
    device.run(&["run", "--once"]).expect(0);
    let all = device.server.all_seen();
    let position = |wanted: &str| all.iter().rposition(|seen| seen.route == wanted).unwrap();
    assert!(position(&renew_route(1)) < position(&heartbeat_route()), "{all:#?}");
    assert_eq!(all.last().unwrap().certificate, Some(serial_hex(2)), "the heartbeat uses the successor");
}

#[test]
fn a_device_that_slept_past_its_certificate_comes_back_by_itself() {
    let device = Device::certified(1, Life::days(-90, -1));
    beat(&device, false);
    device.server.reply(&renew_route(1), Reply::json(409, &examples::problem(409, "CERTIFICATE_NOT_RENEWABLE")));
    device.issue_on_request(5, Life::days(0, 90));
    device.run(&["run", "--once"]).expect(0);
    assert_eq!(device.server.seen(&renew_route(1))[0].api_key.as_deref(), Some(API_KEY));
    assert_eq!(device.installed_serial(), Some(serial_hex(5)));
}

#[test]
fn automatic_renewal_can_be_switched_off_and_a_wrong_setting_is_refused() {
    let device = Device::certified(1, Life::days(-70, 20));
    beat(&device, true);
    let settings = device.credentials_path().with_file_name("agent.toml");
    fs::write(&settings, "[certificates.auto_renewal]\nenabled = false\n").unwrap();
    device.run(&["run", "--once"]).expect(0);
    assert!(device.server.seen(&renew_route(1)).is_empty());
    fs::write(&settings, "[certificates.auto_renewal]\nenable = false\n").unwrap();
    let ended = device.run(&["run", "--once"]).expect(2);
    assert!(ended.err.contains("enable"), "{ended:?}");
}

#[test]
fn run_does_not_start_unapproved_or_without_a_credential() {
    let device = Device::registered();
    device.server.reply(&status_route(), Reply::json(200, &examples::pending()));
    device.run(&["run"]).expect(3);
    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &examples::rejected()));
    device.run(&["run"]).expect(4);

    let device = Device::approved();
    device.edit_credentials("apiKeyExpiresAt", json!("2020-01-01T00:00:00Z"));
    device.server.forget(&claim_route());
    device.server.reply(&claim_route(), Reply::json(409, &examples::problem(409, "API_KEY_ALREADY_CLAIMED")));
    let ended = device.run(&["run"]).expect(5);
    assert!(ended.err.contains("expired on 2020-01-01"), "{ended:?}");
    assert!(device.server.seen(&heartbeat_route()).is_empty());
}

#[test]
fn a_key_that_ends_within_a_week_is_warned_of() {
    let device = Device::approved();
    beat(&device, false);
    let end = in_days(5);
    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &examples::approved(end)));
    device.server.forget(&claim_route()).reply(&claim_route(), Reply::json(200, &examples::claimed(end)));
    let ended = device.run(&["run", "--once"]).expect(0);
    assert!(ended.err.contains("expires soon"), "{ended:?}");
}

#[test]
fn mixed_certificate_files_are_reported_and_the_api_key_serves() {
    let device = Device::certified(1, Life::days(0, 90));
    fs::write(device.cert_dir().join("client-key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    beat(&device, false);
    device.run(&["renew-certificate"]).expect(1);
    device.run(&["status"]).expect(0);
    let ended = device.run(&["run", "--once"]).expect(0);
    assert!(ended.err.contains("not for this private key"), "{ended:?}");
    assert_eq!(device.server.seen(&heartbeat_route())[0].api_key.as_deref(), Some(API_KEY));
    device.issue_on_request(2, Life::days(0, 90));
    device.run(&["request-certificate"]).expect(0);
    assert_eq!(device.server.seen(&issue_route()).len(), 2);
    assert_eq!(device.installed_serial(), Some(serial_hex(2)));
}

#[test]
fn it_beats_on_through_failures_and_stops_cleanly_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let device = Device::certified(1, Life::days(0, 90));
        fs::write(device.credentials_path().with_file_name("agent.toml"), "[heartbeat]\ninterval_seconds = 1\n")
            .unwrap();
        device.server.reply(&heartbeat_route(), Reply::json(503, &examples::problem(503, "AUTH_STATE_STALE")));
        beat(&device, false);
        let child = device.command(&["run"]).spawn().unwrap();
        device.server.wait_for(&heartbeat_route());
        device.server.wait_for(&heartbeat_route());
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        let ended = Ended::from(child.wait_with_output().unwrap()).expect(0);
        assert!(ended.err.contains("AUTH_STATE_STALE") && ended.err.contains("stopped"), "{ended:?}");
    }
}

#[test]
fn an_approved_device_starts_while_the_network_is_still_down() {
    let device = Device::certified(1, Life::days(0, 90));
    device.server.forget(&status_route()).reply(&status_route(), Reply::captive_portal());
    beat(&device, false);
    let ended = device.run(&["run", "--once"]).expect(0);
    assert!(ended.err.contains("last known status"), "{ended:?}");
}

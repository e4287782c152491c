//! `run` where nobody visits: hooks, the service manager, chosen moments of renewal, rotation with lost answers, wrong clocks.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signalbeam_agent::locations::Locations;
use signalbeam_agent::runner::hooks::Hooks;
use signalbeam_agent::session::Session;
use signalbeam_agent::settings;
use time::format_description::well_known::Rfc3339;

use crate::authority::{Life, serial_hex};
use crate::device::{Device, Ended, heartbeat_route, in_days, issue_route, renew_route, status_route};
use crate::examples::{self, DEVICE_ID};
use crate::fake_server::Reply;
use crate::model::Fate;

fn beat(device: &Device, renewal_required: bool) {
    device.server.reply(&heartbeat_route(), Reply::json(200, &examples::heartbeat(renewal_required)));
}

#[test]
fn the_hook_runs_once_for_each_certificate_and_again_after_a_failure() {
    let device = Device::certified(1, Life::days(0, 90));
    beat(&device, false);
    let seen = device.cert_dir().with_file_name("seen");
    let hook = format!("env >> {}; echo told", seen.display());
    let ended = device.run(&["run", "--once", "--exec", "exit 3"]).expect(0);
    assert!(ended.err.contains("a hook failed") && ended.err.contains('3'), "{ended:?}");
    for _ in 0..2 {
        let mut command = device.command(&["run", "--once", "--exec", &hook]);
        let ended = Ended::from(command.env("SIGNALBEAM_TOKEN", "sbt_hidden").output().unwrap()).expect(0);
        assert!(!ended.out.contains("told"), "{ended:?}");
    }
    let seen_text = fs::read_to_string(&seen).unwrap();
    for line in [
        format!("SIGNALBEAM_DEVICE_ID={DEVICE_ID}"),
        format!("SIGNALBEAM_SERIAL={}", serial_hex(1)),
        format!("SIGNALBEAM_CERT_DIR={}", device.cert_dir().display()),
        format!("SIGNALBEAM_PRIVATE_KEY_PATH={}", device.cert_dir().join("client-key.pem").display()),
    ] {
        assert_eq!(seen_text.lines().filter(|found| *found == line).count(), 1, "{line} in {seen_text}");
    }
    assert!(!seen_text.contains("hidden"), "{seen_text}");

    device.issue_on_request(2, Life::days(0, 90));
    device.run(&["request-certificate"]).expect(0);
    device.run(&["run", "--once", "--exec", &hook]).expect(0);
    assert!(fs::read_to_string(&seen).unwrap().contains(&serial_hex(2)));
}

#[test]
fn a_hook_that_failed_for_a_certificate_that_is_gone_is_not_due() {
    let device = Device::certified(1, Life::days(0, 90));
    let locations = Locations::new(Some(device.credentials_path()), Some(device.cert_dir()), None).unwrap();
    let session = Session::open(&locations).unwrap();
    let mut hooks = Hooks::new(settings::Hooks { exec: Some("exit 3".to_owned()), ..settings::Hooks::default() });
    hooks.tend(&session, Duration::ZERO, 0);
    hooks.finish(session.certs(), Duration::from_mins(1), Duration::ZERO);
    let due = hooks.next_due().expect("it is tried again");
    fs::remove_file(device.cert_dir().join("current")).unwrap();
    hooks.tend(&session, due, 0);
    assert_eq!(hooks.next_due(), None, "what is never due holds up no pause between passes");
}

#[test]
fn the_program_in_the_pid_file_is_signalled() {
    let device = Device::certified(1, Life::days(0, 90));
    beat(&device, false);
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let file = device.cert_dir().with_file_name("other.pid");
    fs::write(&file, other.id().to_string()).unwrap();
    device.run(&["run", "--once", "--reload-pid-file", file.to_str().unwrap(), "--reload-signal", "TERM"]).expect(0);
    assert!(!other.wait().unwrap().success());
}

#[test]
fn the_service_manager_hears_ready_alive_and_stopping() {
    let device = Device::certified(1, Life::days(0, 90));
    beat(&device, false);
    let path = device.cert_dir().with_file_name("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = |wanted: &str| {
        let mut buffer = [0; 200];
        loop {
            let length = manager.recv(&mut buffer).expect("the service manager hears in time");
            if buffer[..length].starts_with(wanted.as_bytes()) {
                return;
            }
        }
    };
    let mut command = device.command(&["run"]);
    let child = command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000").spawn().unwrap();
    for wanted in ["READY=1", "WATCHDOG=1", "STATUS=Heartbeat accepted", "WATCHDOG=1", "WATCHDOG=1"] {
        hear(wanted);
    }
    assert!(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap().success());
    hear("STOPPING=1");
    Ended::from(child.wait_with_output().unwrap()).expect(0);
}

#[test]
fn logs_are_json_where_asked_for_and_results_stay_text() {
    let device = Device::certified(1, Life::days(0, 90));
    beat(&device, false);
    let ended = device.run(&["--log-format", "json", "run", "--once"]).expect(0);
    assert!(ended.out.contains("✅ Heartbeat accepted"), "{ended:?}");
    assert!(!ended.err.is_empty());
    for line in ended.err.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["level"].is_string() && entry["fields"]["message"].is_string(), "{line}");
    }
}

#[test]
fn the_suggested_window_decides_before_the_hint() {
    let device = Device::certified(1, Life::days(-10, 80));
    beat(&device, true);
    let info = format!("GET /api/certificates/{}/renewal-info", serial_hex(1));
    let window = |start: i64, end: i64| {
        let at = |days| in_days(days).format(&Rfc3339).unwrap();
        Reply::json(200, &json!({"suggestedWindow": {"start": at(start), "end": at(end)}}))
    };
    device.server.reply(&info, window(10, 20));
    device.run(&["run", "--once"]).expect(0);
    assert!(device.server.seen(&renew_route(1)).is_empty(), "its moment has not come");
    device.server.forget(&info).reply(&info, window(-20, -10));
    device.run(&["run", "--once"]).expect(0);
    assert_eq!(device.server.seen(&renew_route(1)).len(), 1, "a window that is over is now");
}

#[test]
fn a_certificate_that_an_administrator_replaced_is_replaced_at_once_by_the_api_key() {
    let (device, model) = Device::modelled();
    model.issue_by_administrator();
    let ended = device.run(&["run", "--once"]).expect(0);
    assert!(ended.out.contains("✅ Certificate renewed"), "{ended:?}");
    assert!(model.accepts_certificate(&device.installed_serial().unwrap()));
    let asked = device.server.seen(&issue_route());
    assert!(asked.last().unwrap().api_key.is_some(), "{asked:#?}");
    let report = device.run(&["--output", "json", "run", "--once"]).expect(0).json();
    assert_eq!(report["authenticationMethod"], "Certificate");
}

#[test]
fn a_rotation_ends_with_a_working_key_whichever_answer_is_lost() {
    let rotate = format!("POST /api/devices/{DEVICE_ID}/rotate-api-key");
    for (route, by_key_alone, fate) in [
        (&rotate, false, Fate::LostBefore),
        (&rotate, false, Fate::LostAfter),
        (&heartbeat_route(), true, Fate::LostBefore),
        (&heartbeat_route(), true, Fate::LostAfter),
    ] {
        let (device, model) = Device::modelled();
        let former = device.credentials()["apiKey"].clone();
        device.age_api_key();
        let (route, count) = (route.clone(), AtomicUsize::new(0));
        model.serve(&device.server, move |seen| {
            let is_it = seen.route == route && seen.api_key.is_some() == by_key_alone;
            let first = is_it && count.fetch_add(1, Ordering::SeqCst) == 0;
            if first { fate } else { Fate::Answered }
        });
        device.run(&["run", "--once"]).expect(1);
        let between = device.credentials();
        let known = [&between["apiKey"], &between["nextApiKey"]["apiKey"]];
        assert!(known.iter().any(|key| key.as_str().is_some_and(|key| model.accepts_key(key))), "{between}");
        let ended = device.run(&["run", "--once"]).expect(0);
        assert!(ended.out.contains("✅ API key rotated"), "{ended:?}");
        let after = device.credentials();
        assert_ne!(after["apiKey"], former);
        assert!(after.get("nextApiKey").is_none(), "{after}");
        assert!(model.accepts_key(after["apiKey"].as_str().unwrap()) && !model.accepts_key(former.as_str().unwrap()));
        assert_eq!(device.run(&["run", "--once"]).expect(0).out.matches("rotated").count(), 0, "once is enough");
    }
}

#[test]
fn a_rotation_can_be_switched_off_and_a_refused_one_is_no_failure_of_the_heartbeat() {
    let device = Device::certified(1, Life::days(0, 90));
    beat(&device, false);
    let end = device.age_api_key();
    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &examples::approved(end)));
    let rotate = format!("POST /api/devices/{DEVICE_ID}/rotate-api-key");
    device.server.reply(&rotate, Reply::json(409, &examples::problem(409, "INVALID_STATE")));
    assert!(device.run(&["run", "--once"]).expect(0).err.contains("INVALID_STATE"));
    assert_eq!(device.server.seen(&heartbeat_route()).len(), 1);
    let settings = device.credentials_path().with_file_name("agent.toml");
    fs::write(&settings, "[api_key]\nauto_rotation = false\n").unwrap();
    device.run(&["run", "--once"]).expect(0);
    assert_eq!(device.server.seen(&rotate).len(), 1);
}

#[test]
fn a_clock_that_differs_from_the_servers_is_named() {
    let device = Device::certified(1, Life::days(0, 90));
    let answer = Reply::json(200, &examples::heartbeat(false));
    device.server.reply(&heartbeat_route(), answer.clone().dated(in_days(0)));
    assert!(!device.run(&["run", "--once"]).expect(0).err.contains("clock"));
    device.server.forget(&heartbeat_route()).reply(&heartbeat_route(), answer.dated(in_days(3)));
    assert!(device.run(&["run", "--once"]).expect(0).err.contains("clock is wrong"));
}

#[test]
fn credentials_that_were_edited_by_hand_are_reported_and_left_alone() {
    let device = Device::approved();
    let whole = device.credentials();
    for (field, value) in [
        ("apiKey", json!("sb_device_a1b2c3d4_short")),
        ("deviceId", json!("warehouse-01")),
        ("cloudUrl", json!("http://localhost")),
        ("apiKeyExpiresAt", json!("tomorrow")),
        ("caFingerprint", json!("SHA256:AB")),
        ("claimSecret", Value::Null),
    ] {
        let mut edited = whole.clone();
        edited[field] = value;
        fs::write(device.credentials_path(), edited.to_string()).unwrap();
        for arguments in [&["status"][..], &["run", "--once"], &["request-certificate"], &["register", "--force"]] {
            let ended = if arguments[0] == "register" { device.register(&["--force"]) } else { device.run(arguments) };
            let ended = ended.expect(1);
            assert!(ended.err.contains("damaged") && !ended.err.contains("a1b2c3d4"), "{field}: {ended:?}");
            assert_eq!(device.credentials(), edited, "{field}");
        }
    }
}

#[test]
fn recorded_paths_are_absolute() {
    let device = Device::approved();
    device.issue_on_request(1, Life::days(0, 90));
    let mut command = device.command(&["--cert-dir", "relative/certs", "request-certificate"]);
    let home = device.cert_dir().parent().unwrap().to_owned();
    Ended::from(command.current_dir(&home).output().unwrap()).expect(0);
    let recorded = device.credentials()["certificate"]["certificatePath"].clone();
    assert_eq!(recorded, home.join("relative/certs/client-cert.pem").to_str().unwrap());
}

//! `register` and `status`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::authority::{Life, serial_hex};
use crate::device::{API_KEY, Device, REGISTER, TOKEN, claim_route, in_days, status_route};
use crate::examples::{self, DEVICE_ID, TENANT_ID};
use crate::fake_server::{Reply, Seen};

const OTHER_TOKEN: &str = "sbt_zzzzzzzz_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OTHER_DEVICE: &str = "0198c5a0-7a3b-7c1e-9f00-000000000002";

#[test]
fn a_device_registers_with_a_claim_secret_of_its_own() {
    let device = Device::registered();
    let sent = &device.server.seen(REGISTER)[0].body;
    examples::assert_same_shape(sent, &examples::register_request());
    assert_eq!((sent["token"].as_str(), sent["tenantId"].as_str()), (Some(TOKEN), Some(TENANT_ID)));
    let credentials = device.credentials();
    assert_eq!(credentials["claimSecret"], sent["claimSecret"]);
    assert_eq!(credentials["deviceId"], DEVICE_ID);
    assert_eq!(credentials["status"], "Pending");
    assert!(credentials.get("registrationToken").is_none(), "a used token is not kept");
    assert_eq!(fs::metadata(device.credentials_path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_lost_answer_is_repeated_with_the_same_claim_secret() {
    let device = Device::new();
    let answer = |seen: &Seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"]));
    device.server.on(REGISTER, move |seen| answer(seen).lost());
    device.server.on(REGISTER, move |seen| answer(seen).cut_after(40));
    device.server.on(REGISTER, answer);

    for _ in 0..2 {
        let ended = device.register(&[]).expect(1);
        assert!(ended.err.contains("again"), "{ended:?}");
        assert_eq!(device.credentials()["status"], "Unregistered");
        device.run(&["status"]).expect(5);
    }
    device.register(&[]).expect(0);
    let seen = device.server.seen(REGISTER);
    assert!(seen.iter().all(|request| request.body == seen[0].body), "three times the same request");
    assert_eq!(device.credentials()["deviceId"], DEVICE_ID);
}

#[test]
fn another_token_after_a_lost_answer_is_another_registration() {
    let device = Device::new();
    device.server.on(REGISTER, |seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"])).lost());
    device.server.on(REGISTER, |seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"])));
    device.register(&[]).expect(1);
    device.register(&["--token", OTHER_TOKEN]).expect(0);
    let seen = device.server.seen(REGISTER);
    assert_ne!(seen[0].body["claimSecret"], seen[1].body["claimSecret"]);
}

#[test]
fn an_identity_is_replaced_only_by_force_and_only_once_the_server_has_answered() {
    let device = Device::registered();
    let before = device.credentials();
    let attempt = device.credentials_path().with_file_name("credentials.json.registering");
    let ended = device.register(&[]).expect(1);
    assert!(ended.err.contains("--force") && ended.err.contains(DEVICE_ID), "{ended:?}");
    assert_eq!(device.server.seen(REGISTER).len(), 1, "nothing was sent");

    let refusal = Reply::json(409, &examples::problem(409, "REGISTRATION_TOKEN_USED"));
    device.server.forget(REGISTER).reply(REGISTER, refusal);
    let ended = device.register(&["--force"]).expect(1);
    assert!(ended.err.contains("goes on by the identity it has"), "{ended:?}");
    assert_eq!(device.credentials(), before);
    assert!(!attempt.exists(), "that token will not do any more");
    device.register(&["--force", "--cloud-url", "https://127.0.0.1:1"]).expect(1);
    assert_eq!(device.credentials(), before);

    let replacing = |seen: &Seen| {
        let mut answer = examples::registered(&seen.body["claimSecret"]);
        answer["deviceId"] = json!(OTHER_DEVICE);
        Reply::json(201, &answer)
    };
    device.server.forget(REGISTER).on(REGISTER, move |seen| replacing(seen).lost());
    device.server.reply(REGISTER, Reply::json(429, &examples::problem(429, "RATE_LIMITED")));
    device.server.on(REGISTER, replacing);
    device.register(&["--force", "--token", OTHER_TOKEN]).expect(1);
    device.register(&["--force", "--token", OTHER_TOKEN]).expect(1);
    assert_eq!(device.credentials(), before, "the identity stays in force after a lost answer");
    assert_eq!(fs::metadata(&attempt).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kept_copies(&device), 0);

    let ended = device.register(&["--force", "--token", OTHER_TOKEN]).expect(0);
    let secrets: Vec<_> = device.server.seen(REGISTER).iter().map(|seen| seen.body["claimSecret"].clone()).collect();
    assert!(secrets[secrets.len() - 3..].windows(2).all(|pair| pair[0] == pair[1]), "the same registration goes on");
    assert_eq!(device.credentials()["deviceId"], OTHER_DEVICE);
    assert!(!attempt.exists());
    let copy = device.credentials_path().with_file_name(format!("credentials-{DEVICE_ID}.json"));
    assert!(ended.out.contains(&format!("To go back: cp {}", copy.display())), "{ended:?}");
    assert_eq!(kept_copies(&device), 1);
    fs::copy(copy, device.credentials_path()).unwrap();
    assert_eq!(device.credentials(), before);
}

fn kept_copies(device: &Device) -> usize {
    let folder = fs::read_dir(device.credentials_path().parent().unwrap()).unwrap();
    folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("credentials-")).count()
}

#[test]
fn refusals_carry_code_detail_fields_and_advice() {
    let device = Device::new();
    device.server.reply(REGISTER, Reply::json(400, &examples::invalid_request()));
    let ended = device.register(&[]).expect(1);
    for wanted in
        ["INVALID_REQUEST", "/deviceName: must have at most 128 characters", "0198c5a1-0000-7000-8000-000000000001"]
    {
        assert!(ended.err.contains(wanted), "{wanted} in {ended:?}");
    }
    device
        .server
        .forget(REGISTER)
        .reply(REGISTER, Reply::json(401, &examples::problem(401, "INVALID_REGISTRATION_TOKEN")));
    let ended = device.register(&["--output", "json"]).expect(1);
    let error: serde_json::Value = serde_json::from_str(ended.err.lines().last().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "INVALID_REGISTRATION_TOKEN");
    assert!(error["error"]["advice"].as_str().unwrap().contains("administrator"));
}

#[test]
fn a_malformed_token_or_url_is_a_usage_error_that_shows_no_secret() {
    let device = Device::new();
    let ended = device.register(&["--token", &TOKEN[..50]]).expect(2);
    assert!(!ended.err.contains("T0ken"), "{ended:?}");
    let plain = [
        "register",
        "--tenant-id",
        TENANT_ID,
        "--token",
        TOKEN,
        "--device-name",
        "a",
        "--cloud-url",
        "http://localhost",
    ];
    device.run(&plain).expect(2);
    let ended = device.run(&plain[..7]).expect(2);
    assert!(ended.err.contains("--cloud-url") && ended.err.contains("SIGNALBEAM_CLOUD_URL"), "{ended:?}");
    device.run(&["register"]).expect(2);
    assert!(device.server.all_seen().is_empty());
    for arguments in [&["--output", "json", "register"][..], &["status", "--output=json", "--nonsense"]] {
        let ended = device.run(arguments).expect(2);
        let error: serde_json::Value = serde_json::from_str(&ended.err).unwrap();
        assert_eq!((&error["error"]["code"], &error["error"]["exitCode"]), (&json!("USAGE"), &json!(2)));
    }
}

#[test]
fn everything_of_register_may_come_from_the_environment() {
    let device = Device::new();
    device.server.on(REGISTER, |seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"])));
    let mut command = device.command(&["register", "--ca-fingerprint", device.authority.fingerprint()]);
    device.server.reply("GET /api/certificates/ca", Reply::text(200, "application/x-pem-file", device.authority.pem()));
    command.env("SIGNALBEAM_TENANT_ID", TENANT_ID).env("SIGNALBEAM_TOKEN", TOKEN);
    command.env("SIGNALBEAM_DEVICE_NAME", "warehouse-01").env("SIGNALBEAM_CLOUD_URL", device.server.url());
    command.env("SIGNALBEAM_CREDENTIALS", device.cert_dir().join("c.json"));
    let ended = crate::device::Ended::from(command.output().unwrap()).expect(0);
    assert!(!ended.out.contains("T0ken"));
    assert!(device.cert_dir().join("c.json").is_file());

    let mut help = device.command(&["register", "--help"]);
    let help = crate::device::Ended::from(help.env("SIGNALBEAM_TOKEN", TOKEN).output().unwrap()).expect(0);
    assert!(!help.out.contains("T0ken"), "help shows no secret of the environment");
}

#[test]
fn status_waits_claims_once_and_shows_no_secret() {
    let device = Device::registered();
    device.server.reply(&status_route(), Reply::json(200, &examples::pending()));
    let ended = device.run(&["status"]).expect(3);
    assert!(ended.out.contains("⏳ Pending"), "{ended:?}");
    assert!(device.server.seen(&claim_route()).is_empty());

    let end = in_days(90);
    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &examples::approved(end)));
    device.server.reply(&claim_route(), Reply::json(200, &examples::claimed(end)));
    let ended = device.run(&["status"]).expect(0);
    for line in [
        "📋 Device Registration Status",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        &format!("Device ID:      {DEVICE_ID}"),
        &format!("Tenant ID:      {TENANT_ID}"),
        "Status:         ✅ Approved",
        "API Key:        sb_device_e5f6g7h8... (truncated for security)",
        &format!("Expires:        {} (90 days)", end.date()),
        "✅ Device is ready!",
        "   Run 'signalbeam-agent run' to start the agent.",
    ] {
        assert!(ended.out.lines().any(|printed| printed == line), "{line} in {ended:?}");
    }
    assert!(!ended.out.contains("Key-Example") && !ended.err.contains("Key-Example"));
    assert_eq!(device.credentials()["apiKey"], API_KEY);

    let claim_secret = device.credentials()["claimSecret"].as_str().unwrap().to_owned();
    for seen in device.server.seen(&status_route()).iter().chain(&device.server.seen(&claim_route())) {
        assert_eq!(seen.authorization.as_deref(), Some(format!("Bearer {claim_secret}").as_str()));
    }
    device.run(&["status"]).expect(0);
    assert_eq!(device.server.seen(&claim_route()).len(), 1, "a key that is there is not claimed again");
}

#[test]
fn status_in_json_has_the_documented_fields() {
    let device = Device::approved();
    let report = device.run(&["--output", "json", "status"]).expect(0).json();
    let names: Vec<_> = report.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["apiKeyExpiresAt", "apiKeyPrefix", "deviceId", "deviceName", "status", "tenantId"]);
    assert_eq!(report["apiKeyPrefix"], "e5f6g7h8");
}

#[test]
fn a_lost_claim_is_claimed_again_and_a_rotated_key_too() {
    let device = Device::registered();
    let (first, second) = (in_days(90), in_days(200));
    device.server.reply(&status_route(), Reply::json(200, &examples::approved(first)));
    device.server.reply(&claim_route(), Reply::json(200, &examples::claimed(first)).lost());
    device.server.reply(&claim_route(), Reply::json(200, &examples::claimed(first)));
    device.run(&["status"]).expect(1);
    assert!(device.credentials().get("apiKey").is_none());
    device.run(&["status"]).expect(0);

    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &examples::approved(second)));
    device.server.forget(&claim_route()).reply(&claim_route(), Reply::json(200, &examples::claimed(second)));
    let ended = device.run(&["status"]).expect(0);
    assert!(ended.out.contains("(200 days)"), "{ended:?}");
}

#[test]
fn a_device_that_may_not_authenticate_exits_with_4_and_one_without_credential_with_5() {
    let device = Device::registered();
    device.server.reply(&status_route(), Reply::json(200, &examples::rejected()));
    let ended = device.run(&["status"]).expect(4);
    assert!(ended.out.contains("❌ Rejected") && ended.out.contains("not one of ours"), "{ended:?}");

    let mut suspended = examples::pending();
    suspended["status"] = json!("Suspended");
    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &suspended));
    let (status, run) = (device.run(&["status"]).expect(4).out, device.run(&["run"]).expect(4).err);
    for said in [&status, &run] {
        assert!(said.contains("lift") && !said.contains("--force"), "{said}");
    }

    let mut quarantined = examples::pending();
    quarantined["status"] = json!("Quarantined\u{1b}[2J");
    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &quarantined));
    let ended = device.run(&["status"]).expect(4);
    assert!(!ended.out.contains('\u{1b}'), "{ended:?}");

    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &examples::approved(in_days(9))));
    device.server.reply(&claim_route(), Reply::json(409, &examples::problem(409, "API_KEY_ALREADY_CLAIMED")));
    let ended = device.run(&["status"]).expect(5);
    assert!(ended.out.contains("rotate"), "{ended:?}");
}

#[test]
fn credentials_that_the_server_does_not_accept_any_more_are_not_called_ready() {
    let device = Device::certified(1, Life::days(0, 90));
    let mut answer = examples::approved(in_days(90));
    answer["certificate"]["serialNumber"] = json!(serial_hex(1));
    let says = |answer: &serde_json::Value| {
        device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, answer));
    };
    says(&answer);
    assert!(!device.run(&["status"]).expect(0).out.contains("does not accept"));

    answer.as_object_mut().unwrap().remove("apiKeyExpiresAt");
    says(&answer);
    let ended = device.run(&["status"]).expect(0);
    assert!(ended.out.contains("❌ The server does not accept it any more: ask an administrator"), "{ended:?}");
    assert!(!ended.out.contains("Device is ready!") && ended.out.contains("not by all that it has"), "{ended:?}");

    answer.as_object_mut().unwrap().remove("certificate");
    says(&answer);
    let ended = device.run(&["status"]).expect(5);
    assert!(ended.out.contains("request-certificate") && ended.out.contains("no credential in force"), "{ended:?}");
}

#[test]
fn a_damaged_or_missing_credentials_file_is_reported_and_never_replaced() {
    let device = Device::new();
    let ended = device.run(&["status"]).expect(5);
    assert!(ended.err.contains("signalbeam-agent register"), "{ended:?}");

    let device = Device::approved();
    let whole = fs::read(device.credentials_path()).unwrap();
    fs::write(device.credentials_path(), &whole[..whole.len() / 2]).unwrap();
    for arguments in [&["status"][..], &["run", "--once"], &["request-certificate"], &["renew-certificate"]] {
        let ended = device.run(arguments).expect(1);
        assert!(ended.err.contains("damaged"), "{ended:?}");
    }
    device.register(&["--force"]).expect(1);
    assert_eq!(fs::read(device.credentials_path()).unwrap(), whole[..whole.len() / 2]);
}

#[test]
fn credentials_that_others_can_read_are_warned_of() {
    let device = Device::approved();
    assert!(!device.run(&["status"]).expect(0).err.contains("chmod"));
    fs::set_permissions(device.credentials_path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(device.run(&["status"]).expect(0).err.contains("chmod 600"));
}

#[test]
fn version_and_help_need_nothing() {
    let device = Device::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(device.run(&["version"]).expect(0).out, format!("signalbeam-agent {version}\n"));
    assert_eq!(device.run(&["--output", "json", "version"]).expect(0).json()["version"], version);
    assert!(device.run(&["--help"]).expect(0).out.contains("Examples:"));
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef signalbeam-agent"), ("fish", "complete -c")] {
        assert!(device.run(&["completions", shell]).expect(0).out.contains(words), "{shell}");
    }
}

//! Whom the agent believes, and what it says when somebody else answers.

use std::fs;

use crate::authority::{Authority, Life};
use crate::device::{Device, REGISTER, TOKEN, status_route};
use crate::examples::{self, TENANT_ID};
use crate::fake_server::{FakeServer, Reply};

const CA: &str = "GET /api/certificates/ca";

fn register(device: &Device, url: &str, fingerprint: &str) -> crate::device::Ended {
    let mut arguments = vec!["register", "--tenant-id", TENANT_ID, "--token", TOKEN, "--device-name", "warehouse-01"];
    arguments.extend(["--cloud-url", url, "--ca-fingerprint", fingerprint]);
    device.run(&arguments)
}

#[test]
fn a_fingerprint_pins_the_ca_for_this_and_later_commands() {
    let device = Device::new();
    let pem = device.authority.pem();
    device.server.reply(CA, Reply::text(200, "application/x-pem-file", pem));
    device.server.on(REGISTER, |seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"])));
    device.server.reply(&status_route(), Reply::json(200, &examples::pending()));
    register(&device, device.server.url(), &device.authority.fingerprint().to_lowercase()).expect(0);
    assert_eq!(device.credentials()["caFingerprint"], device.authority.fingerprint());
    device.run(&["status"]).expect(3);
    assert_eq!(device.server.seen(CA).len(), 1, "the stored copy is used");
}

#[test]
fn a_server_with_another_ca_gets_no_secret() {
    let device = Device::new();
    let impostor = Authority::new();
    device.server.reply(CA, Reply::text(200, "application/x-pem-file", impostor.pem()));
    let ended = register(&device, device.server.url(), device.authority.fingerprint()).expect(1);
    assert!(ended.err.contains(impostor.fingerprint()), "{ended:?}");

    // The right CA certificate is public: an impostor can show it, but cannot speak under it.
    let other = FakeServer::start(impostor.server_certificate(Life::days(-1, 90)));
    other.reply(CA, Reply::text(200, "application/x-pem-file", device.authority.pem()));
    let ended = register(&device, other.url(), device.authority.fingerprint()).expect(1);
    assert!(ended.err.contains("cannot be trusted"), "{ended:?}");
    assert_eq!((other.all_seen().len(), device.server.all_seen().len()), (1, 1), "only the public CA was asked for");
    assert!(other.all_seen()[0].authorization.is_none() && other.all_seen()[0].api_key.is_none());
}

#[test]
fn without_a_pinned_ca_a_private_server_is_not_believed() {
    let device = Device::new();
    let mut arguments = vec!["register", "--tenant-id", TENANT_ID, "--token", TOKEN, "--device-name", "warehouse-01"];
    arguments.extend(["--cloud-url", device.server.url()]);
    let roots = device.cert_dir().with_file_name("roots.pem");
    fs::write(&roots, Authority::new().pem()).unwrap();
    let mut command = device.command(&arguments);
    let ended = crate::device::Ended::from(command.env("SSL_CERT_FILE", &roots).output().unwrap()).expect(1);
    assert!(ended.err.contains("--ca-fingerprint"), "{ended:?}");
    assert!(device.server.all_seen().is_empty());

    fs::write(&roots, device.authority.pem()).unwrap();
    device.server.on(REGISTER, |seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"])));
    let mut command = device.command(&arguments);
    crate::device::Ended::from(command.env("SSL_CERT_FILE", &roots).output().unwrap()).expect(0);
}

#[test]
fn a_captive_portal_and_half_an_answer_are_named_and_change_nothing() {
    let device = Device::new();
    device.server.reply(CA, Reply::captive_portal());
    let ended = register(&device, device.server.url(), device.authority.fingerprint()).expect(1);
    assert!(ended.err.contains("captive portal"), "{ended:?}");
    assert!(!device.credentials_path().exists());

    let device = Device::registered();
    let before = fs::read(device.credentials_path()).unwrap();
    let whole = Reply::json(200, &examples::pending());
    let redirection = Reply::text(302, "text/plain", "");
    let half_json = Reply::text(200, "application/json", "{\"deviceId\": \"0198c5a0");
    for (reply, words) in [
        (Reply::captive_portal(), "captive portal"),
        (Reply::text(511, "text/html", "<html>"), "captive portal"),
        (redirection, "captive portal"),
        (half_json, "not an answer of a SignalBeam server"),
        (whole.clone().cut_after(30), "again"),
        (whole.lost(), "again"),
    ] {
        device.server.forget(&status_route()).reply(&status_route(), reply);
        let ended = device.run(&["status"]).expect(1);
        assert!(ended.err.contains(words), "{words} in {ended:?}");
        assert_eq!(fs::read(device.credentials_path()).unwrap(), before);
    }
}

#[test]
fn a_slow_clock_and_a_dead_server_are_told_apart() {
    let device = Device::registered();
    let later = FakeServer::start(device.authority.server_certificate(Life::days(30, 90)));
    device.edit_credentials("cloudUrl", later.url().into());
    let ended = device.run(&["status"]).expect(1);
    assert!(ended.err.contains("clock"), "{ended:?}");

    let over = FakeServer::start(device.authority.server_certificate(Life::days(-30, -1)));
    device.edit_credentials("cloudUrl", over.url().into());
    assert!(device.run(&["status"]).expect(1).err.contains("has ended"));

    // A label of 64 characters (RFC 1035 allows 63) fails without a question to any name server.
    for nowhere in ["https://localhost:1".to_owned(), format!("https://{}.invalid", "a".repeat(64))] {
        device.edit_credentials("cloudUrl", nowhere.into());
        let ended = device.run(&["status"]).expect(1);
        assert!(ended.err.contains("cannot reach"), "{ended:?}");
    }
}

#[test]
fn an_exchanged_ca_copy_stops_every_command() {
    let device = Device::registered();
    let copy = fs::read_dir(device.credentials_path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .unwrap();
    fs::write(&copy, Authority::new().pem()).unwrap();
    let asked = device.server.all_seen().len();
    let ended = device.run(&["status"]).expect(1);
    assert!(ended.err.contains(copy.to_str().unwrap()), "{ended:?}");
    assert_eq!(device.server.all_seen().len(), asked);
}

#[test]
fn a_ca_file_that_holds_none_is_a_usage_error() {
    let device = Device::new();
    let file = device.cert_dir().with_file_name("no-ca.pem");
    fs::write(&file, "<html>").unwrap();
    let arguments = ["register", "--tenant-id", TENANT_ID, "--token", TOKEN, "--device-name", "a", "--ca-cert"];
    device.run(&[&arguments[..], &[file.to_str().unwrap()]].concat()).expect(2);
}

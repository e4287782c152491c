//! `request-certificate`, `certificate-status`, `renew-certificate`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateSigningRequestParams, KeyPair, PublicKeyData};
use signalbeam_agent::cli::Cli;
use signalbeam_agent::clock::Clock;
use time::OffsetDateTime;

use crate::authority::{Authority, Life, serial_hex};
use crate::device::{API_KEY, Device, in_days, issue_route, renew_route, status_route};
use crate::examples::{self, DEVICE_ID};
use crate::fake_server::{Reply, Seen};

/// Signs what a renewal sends.
fn signed(authority: &Authority, seen: &Seen, serial: u8) -> Reply {
    let pem = authority.certify_request(seen.body["csrPem"].as_str().unwrap(), serial, Life::days(0, 90));
    Reply::json(201, &examples::renewed(&pem, authority.pem()))
}

fn public_key(seen: &Seen) -> Vec<u8> {
    let request = CertificateSigningRequestParams::from_pem(seen.body["csrPem"].as_str().unwrap()).unwrap();
    request.public_key.der_bytes().to_vec()
}

#[test]
fn a_certificate_is_requested_by_api_key_and_reported() {
    let device = Device::approved();
    device.issue_on_request(1, Life::days(0, 90));
    let ended = device.run(&["request-certificate"]).expect(0);
    let certs = device.cert_dir();
    for line in [
        "✅ Certificate issued successfully!",
        &format!("Serial Number: {}", serial_hex(1)),
        &format!("Expires: {} (90 days)", in_days(90).date()),
        "Certificate files saved:",
        &format!("  - {}", certs.join("client-cert.pem").display()),
        &format!("  - {}", certs.join("client-key.pem").display()),
        &format!("  - {}", certs.join("ca-cert.pem").display()),
    ] {
        assert!(ended.out.lines().any(|printed| printed == line), "{line} in {ended:?}");
    }
    let seen = &device.server.seen(&issue_route())[0];
    examples::assert_same_shape(&seen.body, &examples::issue_request());
    assert_eq!((seen.api_key.as_deref(), &seen.certificate), (Some(API_KEY), &None));
    assert_eq!(fs::metadata(certs.join("client-key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let recorded = &device.credentials()["certificate"];
    assert_eq!(recorded["serialNumber"], serial_hex(1));
    assert_eq!(recorded["certificatePath"], certs.join("client-cert.pem").to_str().unwrap());
}

#[test]
fn a_lost_issuance_is_repeated_with_the_same_key() {
    let device = Device::approved();
    let authority = Authority::new();
    device.server.on(&issue_route(), |_| Reply::json(201, &examples::pending()).lost());
    device.server.on(&issue_route(), move |seen| signed(&authority, seen, 2));
    device.run(&["request-certificate"]).expect(1);
    device.run(&["request-certificate"]).expect(0);
    let seen = device.server.seen(&issue_route());
    assert_eq!(public_key(&seen[0]), public_key(&seen[1]));
    assert_eq!(device.installed_serial(), Some(serial_hex(2)));

    device.issue_on_request(3, Life::days(0, 90));
    device.run(&["request-certificate"]).expect(0);
    let seen = device.server.seen(&issue_route());
    assert_ne!(public_key(&seen[1]), public_key(&seen[2]), "a new certificate gets a new key");
}

#[test]
fn a_key_of_the_server_is_installed_when_asked_for() {
    let device = Device::approved();
    let authority = Authority::new();
    device.server.on(&issue_route(), move |_| {
        let key = KeyPair::generate().unwrap();
        let mut answer = examples::issued(&authority.certify(&key, DEVICE_ID, 4, Life::days(0, 90)), authority.pem());
        answer["privateKeyPem"] = key.serialize_pem().into();
        Reply::json(201, &answer)
    });
    device.run(&["request-certificate", "--server-key"]).expect(0);
    let sent = &device.server.seen(&issue_route())[0].body;
    examples::assert_same_shape(sent, &examples::issue_server_key_request());
    assert_eq!(device.installed_serial(), Some(serial_hex(4)));
}

#[test]
fn a_certificate_for_another_key_or_device_is_not_installed() {
    let device = Device::certified(1, Life::days(0, 90));
    let authority = Authority::new();
    let stranger = KeyPair::generate().unwrap();
    let for_other_key = authority.certify(&stranger, DEVICE_ID, 9, Life::days(0, 90));
    let ca_pem = authority.pem().to_owned();
    device.server.forget(&issue_route());
    device.server.reply(&issue_route(), Reply::json(201, &examples::issued(&for_other_key, &ca_pem)));
    device.server.on(&issue_route(), move |seen| {
        let request = CertificateSigningRequestParams::from_pem(seen.body["csrPem"].as_str().unwrap()).unwrap();
        let pem = authority.certify(&request.public_key, "somebody-else", 9, Life::days(0, 90));
        Reply::json(201, &examples::issued(&pem, authority.pem()))
    });
    for words in ["not for this private key", "somebody-else"] {
        let ended = device.run(&["request-certificate"]).expect(1);
        assert!(ended.err.contains(words), "{ended:?}");
        assert_eq!(device.installed_serial(), Some(serial_hex(1)));
    }
}

#[test]
fn an_unapproved_device_is_told_so_before_it_asks() {
    let device = Device::registered();
    device.server.reply(&status_route(), Reply::json(200, &examples::pending()));
    device.run(&["request-certificate"]).expect(3);
    device.server.forget(&status_route()).reply(&status_route(), Reply::json(200, &examples::rejected()));
    device.run(&["request-certificate"]).expect(4);
    assert!(device.server.seen(&issue_route()).is_empty());
}

#[test]
fn certificate_status_reports_valid_expired_and_missing() {
    let device = Device::approved();
    assert!(device.run(&["certificate-status"]).expect(5).err.contains("request-certificate"));

    let device = Device::certified(7, Life::days(-15, 75));
    let ended = device.run(&["certificate-status"]).expect(0);
    for line in [
        "📜 Certificate Status",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        &format!("Serial Number:  {}", serial_hex(7)),
        &format!("Subject:        CN=device-{DEVICE_ID}, O=SignalBeam"),
        &format!("Issued:         {}", in_days(-15).date()),
        &format!("Expires:        {} (75 days remaining)", in_days(75).date()),
        "Status:         ✅ Valid",
        &format!("Certificate Path: {}", device.cert_dir().join("client-cert.pem").display()),
    ] {
        assert!(ended.out.lines().any(|printed| printed == line), "{line} in {ended:?}");
    }
    let report = device.run(&["--output", "json", "certificate-status"]).expect(0).json();
    assert_eq!(report["status"], "Valid");
    assert!(report["notBefore"].as_str().unwrap().starts_with(&in_days(-15).date().to_string()), "{report}");
    assert!(report.get("issuedAt").is_none(), "the certificate does not say when it was issued: it is back-dated");

    let device = Device::certified(8, Life::days(-90, -1));
    assert!(device.run(&["certificate-status"]).expect(5).out.contains("❌ Expired"));
}

#[test]
fn a_clock_in_1970_is_named_and_changes_nothing() {
    struct Epoch;
    impl Clock for Epoch {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH
        }
    }
    let device = Device::certified(7, Life::days(-15, 75));
    let before = fs::read(device.credentials_path()).unwrap();
    let arguments = ["signalbeam-agent", "certificate-status"].map(str::to_owned);
    let paths = [
        "--credentials",
        device.credentials_path().to_str().unwrap(),
        "--cert-dir",
        device.cert_dir().to_str().unwrap(),
    ]
    .map(str::to_owned);
    let cli = <Cli as clap::Parser>::parse_from(arguments.into_iter().chain(paths));
    let mut out = Vec::new();
    let exit = signalbeam_agent::execute(cli, None, &Epoch, &mut out).unwrap();
    assert_eq!(exit.code(), 1);
    assert!(String::from_utf8(out).unwrap().contains("clock"));
    assert_eq!(fs::read(device.credentials_path()).unwrap(), before);
    assert_eq!(device.installed_serial(), Some(serial_hex(7)));
}

#[test]
fn a_renewal_goes_by_certificate_alone_and_replaces_it() {
    let device = Device::certified(1, Life::days(-70, 20));
    let authority = Authority::new();
    device.server.on(&renew_route(1), move |seen| signed(&authority, seen, 2));
    let ended = device.run(&["renew-certificate"]).expect(0);
    assert!(ended.out.contains("✅ Certificate renewed successfully!"), "{ended:?}");
    let seen = &device.server.seen(&renew_route(1))[0];
    examples::assert_same_shape(&seen.body, &examples::renew_request());
    assert_eq!((&seen.certificate, &seen.api_key), (&Some(serial_hex(1)), &None));
    assert_eq!(device.installed_serial(), Some(serial_hex(2)));
    assert_eq!(device.credentials()["certificate"]["serialNumber"], serial_hex(2));
}

#[test]
fn a_lost_renewal_is_repeated_with_the_same_key_however_often() {
    let device = Device::certified(1, Life::days(-70, 20));
    let authority = Authority::new();
    device.server.on(&renew_route(1), |_| Reply::json(201, &examples::pending()).lost());
    device.server.on(&renew_route(1), |_| Reply::json(201, &examples::renewed("cut", "cut")).cut_after(100));
    device.server.on(&renew_route(1), |_| Reply::captive_portal());
    device.server.on(&renew_route(1), move |seen| signed(&authority, seen, 2));
    for _ in 0..3 {
        device.run(&["renew-certificate"]).expect(1);
        assert_eq!(device.installed_serial(), Some(serial_hex(1)));
    }
    device.run(&["renew-certificate"]).expect(0);
    let seen = device.server.seen(&renew_route(1));
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|request| public_key(request) == public_key(&seen[0])));
    assert_eq!(device.installed_serial(), Some(serial_hex(2)));
}

#[test]
fn a_refused_certificate_renews_by_api_key() {
    let device = Device::certified(1, Life::days(-70, 20));
    let authority = Authority::new();
    device.server.on(&renew_route(1), |_| Reply::json(401, &examples::problem(401, "CERTIFICATE_NOT_FOUND")));
    device.server.on(&renew_route(1), move |seen| signed(&authority, seen, 2));
    let ended = device.run(&["renew-certificate"]).expect(0);
    assert!(ended.err.contains("CERTIFICATE_NOT_FOUND"), "{ended:?}");
    let seen = device.server.seen(&renew_route(1));
    assert_eq!((&seen[1].certificate, seen[1].api_key.as_deref()), (&None, Some(API_KEY)));
    assert_eq!(device.installed_serial(), Some(serial_hex(2)));
}

#[test]
fn a_renewal_before_its_time_says_from_when_and_leaves_nothing_behind() {
    let device = Device::certified(1, Life::days(-10, 80));
    let from = in_days(50);
    device.server.reply(&renew_route(1), Reply::json(409, &examples::not_renewable(from)));
    let ended = device.run(&["renew-certificate"]).expect(1);
    assert!(ended.err.contains(&from.date().to_string()), "{ended:?}");
    assert_eq!(fs::read_dir(device.cert_dir().join("pending")).unwrap().count(), 0);
    device.run(&["certificate-status"]).expect(0);
}

#[test]
fn a_crash_between_certificate_and_credentials_is_healed() {
    let device = Device::certified(1, Life::days(-10, 80));
    let mut stale = device.credentials()["certificate"].clone();
    stale["serialNumber"] = serial_hex(0).into();
    device.edit_credentials("certificate", stale);
    assert!(device.run(&["status"]).expect(0).out.contains(&serial_hex(1)));
    assert_eq!(device.credentials()["certificate"]["serialNumber"], serial_hex(1));
}

#[test]
fn there_is_nothing_to_renew_without_a_certificate() {
    let device = Device::approved();
    assert!(device.run(&["renew-certificate"]).expect(5).err.contains("request-certificate"));
}

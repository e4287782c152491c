//! Certificate profiles on a real server: what they refuse at start, what they decide, and keys of every type in TLS.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
};
use serde_json::{Value, json};

use crate::client::Client;
use crate::device::{Device, by_certificate, identity};
use crate::keys::{request_by, signing_request};
use crate::server::{Server, Site};
use crate::waiting::eventually;

const PROFILES: &str = "
[profiles.gateway]
key_types = ['ecdsa-p256', 'ecdsa-p384', 'ed25519']
server_key_type = 'ed25519'
validity_days = 30
renewal_window_days = 10
extended_key_usages = ['client_auth', 'server_auth']
subject = 'CN=gateway {deviceId}, O=Example'
dns_names = ['{deviceId}.gateways.example.com']
";

fn with_profile(server: &Server<'_>, admin: &Client) -> Device {
    let mut device = Device::pending(server, admin);
    admin.post(&device.path("approve"), &json!({"certificateProfile": "gateway"})).expect(200);
    device.claim(server).expect(200)["apiKey"].as_str().unwrap().clone_into(&mut device.api_key);
    device
}

fn issue(server: &Server<'_>, device: &Device, body: &Value) -> crate::client::Answer {
    device.by_key(server).post(&format!("/api/certificates/{}/issue", device.id), body)
}

#[test]
fn devices_authenticate_with_keys_of_every_type_that_their_profile_allows() {
    let site = Site::new();
    site.configure(PROFILES);
    let server = site.start();
    let admin = server.admin();
    let device = with_profile(&server, &admin);
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let request = signing_request(&key).pem().unwrap();
        let issued = issue(&server, &device, &json!({"csrPem": request})).expect(201);
        let certificate = by_certificate(&server, &identity(&issued, &key.serialize_pem()));
        device.beat(&certificate).expect(200);
    }
    let issued = issue(&server, &device, &json!({})).expect(201);
    let made_here = issued["privateKeyPem"].as_str().unwrap();
    site.note_secret(made_here);
    assert!(KeyPair::from_pem(made_here).unwrap().is_compatible(&PKCS_ED25519));
    device.beat(&by_certificate(&server, &identity(&issued, made_here))).expect(200);

    let shown = admin.get(&format!("/api/devices/{}", device.id)).expect(200);
    assert_eq!(shown["certificateProfile"], "gateway");
    assert_eq!(shown["certificate"]["profile"], "gateway");
    assert_eq!(shown["certificate"]["subject"], format!("CN=gateway {}, O=Example", device.id));
    let approved = site.export().into_iter().find(|event| event["type"] == "device.approved").unwrap();
    assert_eq!(approved["data"]["certificateProfile"], "gateway");
}

#[test]
fn profiles_change_on_sighup_and_one_that_is_gone_is_missed_at_the_next_start() {
    let site = Site::new();
    site.configure(PROFILES);
    let server = site.start();
    let admin = server.admin();
    let device = with_profile(&server, &admin);
    let request = || json!({"csrPem": request_by(&PKCS_ECDSA_P384_SHA384)});
    issue(&server, &device, &request()).expect(201);
    site.configure(&PROFILES.replace("'ecdsa-p384', ", ""));
    server.hang_up();
    eventually("the profile allows no P-384", || {
        (issue(&server, &device, &request()).json()["code"] == "WEAK_KEY").then_some(())
    });
    server.stop();
    site.configure("");
    let server = site.start();
    assert!(site.said().contains("devices have a certificate profile that is not configured"), "{}", site.said());
    issue(&server, &device, &request()).refused(503, "PROFILE_UNAVAILABLE");
    assert!(site.said().contains("the device's certificate profile is not configured"), "{}", site.said());
}

#[test]
fn a_profile_that_would_make_bad_certificates_stops_the_start_and_the_check() {
    let site = Site::new();
    for (profile, said) in [
        ("[profiles.x]\nvalidity_days = 10\nrenewal_window_days = 10\n", "`profiles.x.renewal_window_days` is 10"),
        ("[profiles.x]\nsubject = 'O=x'\n", "`profiles.x.subject` is `O=x`"),
        ("[profiles.x]\nsubjct = 'O=x'\n", "did you mean `profiles.x.subject`?"),
    ] {
        site.configure(profile);
        let checked = site.run(&["config", "check"]);
        assert_eq!(checked.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&checked.stderr).contains(said), "{checked:?}");
        let ended = site.try_start().err().expect("it must not start");
        assert_eq!(ended.code, Some(2), "{}", ended.said);
    }
}

/// A request over a new P-256 key that asks for what `change` says.
fn asking(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn named(common_name: &str) -> String {
    asking(|params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
    })
}

#[test]
fn whatever_a_request_wishes_for_the_certificate_says_what_the_profile_does() {
    let site = Site::new();
    let server = site.start();
    let device = Device::approved(&server, &server.admin());
    let century = [0x30, 0x22].iter().chain(b"\x18\x0f20260101000000Z\x18\x0f21260101000000Z").copied().collect();
    for request in [
        asking(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        asking(|params| {
            let names = ["hub.example.com", "localhost"].map(|name| SanType::DnsName(name.try_into().unwrap()));
            params.subject_alt_names = names.to_vec();
        }),
        named("admin\0.example.com"),
        named("two\nlines\r\n"),
        // A hundred years, under the identifier of private key usage periods; and an extension twice.
        asking(|params| params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 16], century)]),
        asking(|params| {
            let twice = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            params.custom_extensions = vec![twice.clone(), twice];
        }),
    ] {
        let issued = issue(&server, &device, &json!({"csrPem": request})).expect(201);
        let pem = issued["certificatePem"].as_str().unwrap().as_bytes().to_vec();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.subject().to_string(), format!("CN=device-{}, O=SignalBeam", device.id));
        assert!(!certificate.is_ca());
        let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names.len(), 1, "{names:?}");
        let life = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
        assert_eq!(life, 90 * 86_400 + 300);
    }
}

#[test]
fn a_bad_request_is_refused_by_its_code_and_nothing_is_issued() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let good = request_by(&PKCS_ECDSA_P256_SHA256);
    let invalid = |body: Value| (body, 422, "INVALID_CSR");
    let der = pem_der(&good);
    let malformed = |body: Value| (body, 400, "INVALID_REQUEST");
    for (body, status, code) in [
        invalid(json!({"csrPem": ""})),
        invalid(json!({"csrPem": "\u{0}"})),
        invalid(json!({"csrPem": good.replace("CERTIFICATE REQUEST", "CERTIFICATE")})),
        invalid(json!({"csrPem": good.repeat(2)})),
        invalid(json!({"csrPem": armoured(&der[..der.len() - 1])})),
        invalid(json!({"csrPem": armoured(&[&der[..], &[0]].concat())})),
        invalid(json!({"csrPem": armoured(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff])})),
        invalid(json!({"csrPem": armoured(&[])})),
        invalid(json!({"csrPem": format!("{good}{}", "\n".repeat(16 * 1024))})),
        invalid(json!({"csrPem": tampered(&der)})),
        (json!({"csrPem": request_by(&PKCS_ECDSA_P384_SHA384)}), 422, "WEAK_KEY"),
        (json!({"csrPem": request_by(&PKCS_ED25519)}), 422, "WEAK_KEY"),
        malformed(json!({"csrPem": good, "validityDays": -1})),
        malformed(json!({"csrPem": good, "validityDays": 0})),
        malformed(json!({"csrPem": good, "validityDays": 36_525})),
        malformed(json!({"csrPem": good, "validityDays": 1.5})),
        malformed(json!({"csrPem": good, "profile": "ca"})),
        malformed(json!({"csrPem": good, "profile": "device\u{0}"})),
        malformed(json!({"csrPem": good, "notAfter": "2126-01-01T00:00:00Z"})),
        malformed(json!({"csrPem": 7})),
        (json!({"csrPem": "x".repeat(300_000)}), 413, "BODY_TOO_LARGE"),
    ] {
        issue(&server, &device, &body).refused(status, code);
    }
    assert!(device.certificates(&admin).is_empty());
    assert!(!site.export().iter().any(|event| event["type"].as_str().unwrap().starts_with("certificate.")));
}

fn pem_der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
}

fn armoured(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

/// The same with another last octet of its signature.
fn tampered(der: &[u8]) -> String {
    let mut der = der.to_vec();
    *der.last_mut().unwrap() ^= 1;
    armoured(&der)
}

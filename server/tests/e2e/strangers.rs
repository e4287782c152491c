//! What a stranger pretends to be counts for nothing: stolen certificates, forged headers.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use serde_json::json;

use crate::device::{Device, by_certificate};
use crate::keys::{Identity, key_and_request};
use crate::server::Site;
use crate::wire::{Wire, config};

#[test]
fn a_certificate_without_its_key_is_refused_in_the_handshake() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let real = device.issue(&server, 90);
    for version in [&TLS12, &TLS13] {
        // rustls refuses to be configured with a pair that does not match, so the pair comes from a resolver.
        let mismatched = Arc::new(Thief::new(&real));
        let mut stolen = (*config(&site.ca_pem(), None, &[version])).clone();
        stolen.client_auth_cert_resolver = mismatched;
        let outcome =
            Wire::open(server.address, &Arc::new(stolen)).and_then(|mut wire| wire.post(&device.path("heartbeat")));
        let error = outcome.expect_err("the handshake must fail");
        assert!(error.to_string().contains("alert"), "{error}");
    }
    let log = device.log(&admin);
    assert!(log.iter().all(|entry| entry["authenticationMethod"] != "Certificate"), "{log:?}");
    device.beat(&by_certificate(&server, &real)).expect(200);
}

/// Shows somebody else's certificate and signs with a key of its own.
#[derive(Debug)]
struct Thief(Arc<rustls::sign::CertifiedKey>);

impl Thief {
    fn new(stolen: &Identity) -> Self {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let own_key = key_and_request().0;
        let key = PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let certificate = CertificateDer::from_pem_slice(stolen.certificate_pem.as_bytes()).unwrap();
        Self(Arc::new(rustls::sign::CertifiedKey::new(vec![certificate], key)))
    }
}

impl rustls::client::ResolvesClientCert for Thief {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn headers_of_proxies_from_a_stranger_are_ignored() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    let one_line = identity.certificate_pem.replace('\n', "%0A");
    let claims = [
        ("x-forwarded-client-cert", format!("Cert=\"{one_line}\"")),
        ("x-ssl-client-cert", one_line.clone()),
        ("x-ssl-client-verify", "SUCCESS".to_owned()),
        ("ssl-client-cert", one_line.clone()),
        (
            "client-cert",
            format!(":{}:", identity.certificate_pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()),
        ),
        ("x-user-id", "admin".to_owned()),
        ("x-tenant-id", crate::device::TENANT.to_owned()),
        ("x-device-id", device.id.clone()),
        ("x-role", "admin".to_owned()),
    ];
    let mut pretender = server.anonymous();
    for (name, value) in &claims {
        pretender = pretender.header(name, value);
    }
    device.beat(&pretender).refused(401, "AUTHENTICATION_REQUIRED");
    pretender.get("/api/devices").refused(401, "AUTHENTICATION_REQUIRED");

    let forged = device.by_key(&server).header("x-forwarded-for", "203.0.113.9").header("x-real-ip", "203.0.113.9");
    device.beat(&forged.header("forwarded", "for=203.0.113.9").header("x-correlation-id", "forged")).expect(200);
    let entry = device.log(&admin).into_iter().find(|entry| entry["correlationId"] == "forged").unwrap();
    assert_eq!(entry["ipAddress"], "127.0.0.1", "{entry}");
}

#[test]
fn a_trusted_proxy_is_believed_for_the_address_nearest_to_it_and_for_nothing_else() {
    let site = Site::new().with("proxy.trusted", "127.0.0.0/8");
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let forged = device.by_key(&server).header("x-forwarded-for", "198.51.100.1, 203.0.113.9");
    device.beat(&forged.header("x-correlation-id", "through-proxy")).expect(200);
    let entry = device.log(&admin).into_iter().find(|entry| entry["correlationId"] == "through-proxy").unwrap();
    assert_eq!(entry["ipAddress"], "203.0.113.9", "{entry}");
    let pretender = server.anonymous().header("x-ssl-client-verify", "SUCCESS").header("x-device-id", &device.id);
    device.beat(&pretender).refused(401, "AUTHENTICATION_REQUIRED");
}

#[test]
fn what_strangers_write_into_the_log_stays_in_one_row() {
    let site = Site::new().with("log.level", "debug");
    let server = site.start();
    let admin = server.admin();
    let agent = format!("evil\u{1b}[2J {}", "x".repeat(2_000));
    let wire_config = config(&site.ca_pem(), None, &[&TLS13]);
    let mut wire = Wire::open(server.address, &wire_config).unwrap();
    let path = format!("/api/devices/{}/heartbeat", uuid::Uuid::nil());
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nuser-agent: {agent}\r\nx-api-key: sb_device_\u{fffd}\r\ncontent-length: 0\r\n\r\n"
    );
    wire.send(request.as_bytes()).unwrap();
    let answer = wire.answer().unwrap();
    assert!(matches!(answer.status, 400 | 401), "{answer:?}");
    let mut wire = Wire::open(server.address, &wire_config).unwrap();
    wire.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-correlation-id: a b\r\nx-api-key: sb_device_1\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
    let answer = wire.answer().unwrap();
    let problem = answer.refused(401, "INVALID_API_KEY");
    assert_ne!(problem["correlationId"], "a b");
    let log = admin.get("/api/authentication-logs?successOnly=false").expect(200);
    for entry in log["items"].as_array().unwrap() {
        assert!(entry["userAgent"].as_str().unwrap_or_default().len() <= 512, "{entry}");
    }
    server.stop();
    assert!(!site.said().contains("\u{1b}[2J"), "control characters reach the operator's terminal");
    admin_names_are_labels(&site);
}

/// A device's name may hold anything printable; what it may not is refused.
fn admin_names_are_labels(site: &Site) {
    let server = site.start();
    let admin = server.admin();
    let register = |name: &str| {
        let token = crate::device::new_token(site, &admin);
        server
            .anonymous()
            .post("/api/devices", &json!({"tenantId": crate::device::TENANT, "token": token, "deviceName": name}))
    };
    register("a\nb").refused(400, "INVALID_REQUEST");
    register(&"x".repeat(129)).refused(400, "INVALID_REQUEST");
    register("'; DROP TABLE devices; --").expect(201);
    admin.get("/api/devices?q=%27%3B%20DROP").expect(200);
}

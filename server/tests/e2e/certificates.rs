//! The scenarios of certificates, by the API alone.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::client::Client;
use crate::device::{Device, TENANT, by_certificate, identity};
use crate::keys::key_and_request;
use crate::server::{Server, Site};

#[test]
fn a_certificate_with_a_key_made_by_the_server_is_shown_once() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let issue = format!("/api/certificates/{}/issue", device.id);
    let once = device.by_key(&server).header("idempotency-key", "issue-1");
    let issued = once.post(&issue, &json!({"validityDays": 90})).expect(201);
    let key_pem = issued["privateKeyPem"].as_str().unwrap();
    site.note_secret(key_pem);
    let identity = identity(&issued, key_pem);

    let subject = openssl(&["x509", "-noout", "-subject", "-nameopt", "RFC2253"], &identity.certificate_pem);
    assert_eq!(subject.trim(), format!("subject=O=SignalBeam,CN=device-{}", device.id));
    let text = openssl(&["x509", "-noout", "-text"], &identity.certificate_pem);
    assert!(text.contains("TLS Web Client Authentication") && text.contains("2048 bit"), "{text}");
    let answer = device.beat(&by_certificate(&server, &identity)).expect(200);
    assert_eq!(answer["certificate"]["serialNumber"], identity.serial_number.as_str());

    once.post(&issue, &json!({"validityDays": 90})).refused(409, "ALREADY_PROCESSED");
    for entry in device.certificates(&admin) {
        assert!(!entry.to_string().contains("PRIVATE KEY"), "{entry}");
    }
}

#[test]
fn the_certificate_comes_first_and_each_credential_works_alone() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    let certificate = by_certificate(&server, &identity);
    let tries = [
        ("both", certificate.api_key(&device.api_key), "Certificate"),
        ("key", device.by_key(&server), "ApiKey"),
        ("certificate", certificate.clone(), "Certificate"),
        ("certificate-and-wrong-key", certificate.api_key("sb_device_wrong"), "Certificate"),
    ];
    for (correlation_id, client, method) in tries {
        device.beat(&client.header("x-correlation-id", correlation_id)).expect(200);
        let log = device.log(&admin);
        let entry = log.iter().find(|entry| entry["correlationId"] == correlation_id).unwrap();
        assert_eq!(entry["authenticationMethod"], method, "{entry}");
        assert_eq!(entry["success"], true, "{entry}");
        assert_eq!((&entry["deviceId"], &entry["tenantId"]), (&json!(device.id), &json!(TENANT)), "{entry}");
    }
}

#[test]
fn a_certificate_is_renewed_inside_its_window_and_not_before() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let long = device.issue(&server, 90);
    let (key, request) = key_and_request();
    let body = json!({"csrPem": request});
    let early = by_certificate(&server, &long).post(&renewal(&long.serial_number), &body);
    assert!(early.refused(409, "CERTIFICATE_NOT_RENEWABLE")["renewableFrom"].is_string());
    device.beat(&by_certificate(&server, &long)).expect(200);

    let short = device.issue(&server, 20);
    device.beat(&by_certificate(&server, &long)).refused(401, "CERTIFICATE_REVOKED");
    let beaten = device.beat(&by_certificate(&server, &short)).expect(200);
    assert_eq!(beaten["certificate"]["renewalRequired"], true);
    let by_short = by_certificate(&server, &short);
    by_short.post(&renewal(&short.serial_number), &json!({})).refused(422, "CSR_REQUIRED");
    let renewed = by_short.post(&renewal(&short.serial_number), &body).expect(201);
    let renewed = identity(&renewed, &key.serialize_pem());
    device.beat(&by_certificate(&server, &renewed)).expect(200);
    device.beat(&by_short).refused(401, "CERTIFICATE_REVOKED");

    let statuses: Vec<_> = device.certificates(&admin).iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses.iter().filter(|status| *status == "active").count(), 1, "{statuses:?}");
    assert_eq!(statuses.len(), 3);
}

#[test]
fn a_revoked_certificate_is_refused_and_a_new_one_can_be_had() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let first = device.issue(&server, 90);
    device.beat(&by_certificate(&server, &first)).expect(200);
    let path = format!("/api/certificates/{}", first.serial_number.to_uppercase());
    assert_eq!(admin.delete(&path).status, 204);
    assert_eq!(admin.delete(&path).status, 204, "again");
    device.beat(&by_certificate(&server, &first)).refused(401, "CERTIFICATE_REVOKED");
    let second = device.issue(&server, 90);
    device.beat(&by_certificate(&server, &second)).expect(200);
    device.beat(&by_certificate(&server, &first)).refused(401, "CERTIFICATE_REVOKED");
}

#[test]
fn an_unapproved_device_gets_no_certificate_and_no_key() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::pending(&server, &admin);
    let issue = format!("/api/certificates/{}/issue", device.id);
    admin.post(&issue, &json!({})).refused(403, "DEVICE_NOT_APPROVED");
    device.claim(&server).refused(403, "DEVICE_NOT_APPROVED");
    admin.post(&device.path("reject"), &json!({"reason": "unknown serial"})).expect(200);
    admin.post(&issue, &json!({})).refused(403, "DEVICE_NOT_APPROVED");

    let suspended = Device::approved(&server, &admin);
    let identity = suspended.issue(&server, 90);
    admin.post(&suspended.path("suspend"), &json!({})).expect(200);
    suspended.beat(&by_certificate(&server, &identity)).refused(403, "DEVICE_NOT_APPROVED");
    suspended.beat(&suspended.by_key(&server)).refused(403, "DEVICE_NOT_APPROVED");
    admin.post(&suspended.path("reinstate"), &json!({})).expect(200);
    suspended.beat(&by_certificate(&server, &identity)).expect(200);
}

#[test]
fn the_authority_is_public_in_both_forms_and_verifies_the_server() {
    let site = Site::new();
    let server = site.start();
    let pem = server.anonymous().get("/api/certificates/ca");
    assert_eq!((pem.status, pem.header("content-type")), (200, "application/x-pem-file"));
    assert_eq!(pem.text().trim(), site.ca_pem().trim());
    let der = server.anonymous().header("accept", "application/pkix-cert").get("/api/certificates/ca");
    assert_eq!((der.status, der.header("content-type")), (200, "application/pkix-cert"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.der");
    std::fs::write(&path, &der.body).unwrap();
    let again = openssl(&["x509", "-inform", "DER", "-in", path.to_str().unwrap()], "");
    assert_eq!(again.trim(), site.ca_pem().trim());
    let described = openssl(&["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-text"], &pem.text());
    assert!(described.contains("CA:TRUE") && described.contains("Certificate Sign"), "{described}");
    let trusting = Client::new(server.address, &pem.text(), None);
    assert_eq!(trusting.get("/api/certificates/ca").status, 200, "the CA verifies the server");
    admin_alone_lists(&server);
}

fn admin_alone_lists(server: &Server<'_>) {
    server.anonymous().get("/api/certificates").refused(401, "AUTHENTICATION_REQUIRED");
    server.admin().get("/api/certificates").expect(200);
}

fn renewal(serial_number: &str) -> String {
    format!("/api/certificates/{serial_number}/renew")
}

pub(crate) fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

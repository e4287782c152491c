//! Every error code that can be had over the wire without waiting for a day.

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;

use crate::device::{Device, OTHER_TENANT, TENANT, by_certificate, draw_claim_secret, new_token, registration};
use crate::keys::{Forgery, Identity, key_and_request, request_by};
use crate::server::{Server, Site};

#[test]
fn certificates_that_are_not_ours_or_not_in_force_are_refused_each_by_its_code() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let real = device.issue(&server, 90);
    let (ca, key) = (site.ca_pem(), site.ca_key_pem());
    let forged = || Forgery::of(&device.id, &real);
    let server_usage = Forgery { usage: ExtendedKeyUsagePurpose::ServerAuth, ..forged() };
    let cases: [(&str, Identity); 6] = [
        ("CERTIFICATE_EXPIRED", Forgery { life_days: (-90, -1), ..forged() }.signed_by(&ca, &key)),
        ("CERTIFICATE_NOT_YET_VALID", Forgery { life_days: (1, 90), ..forged() }.signed_by(&ca, &key)),
        ("CERTIFICATE_NOT_FOUND", forged().signed_by(&ca, &key)),
        ("INVALID_CERTIFICATE_CHAIN", forged().signed_by_a_stranger(&ca)),
        ("INVALID_CERTIFICATE_CHAIN", forged().self_signed()),
        ("INVALID_CERTIFICATE_CHAIN", server_usage.signed_by(&ca, &key)),
    ];
    for (code, identity) in &cases {
        let client = by_certificate(&server, identity);
        device.beat(&client).refused(401, code);
        // The API key stands in, and both attempts are on record.
        let attempt = format!("fallback-{code}");
        device.beat(&client.api_key(&device.api_key).header("x-correlation-id", &attempt)).expect(200);
        let log = admin.get("/api/authentication-logs?limit=500").expect(200);
        let entries =
            log["items"].as_array().unwrap().iter().filter(|entry| entry["correlationId"] == attempt.as_str());
        let codes: Vec<_> = entries.map(|entry| (entry["success"].clone(), entry["failureCode"].clone())).collect();
        assert!(codes.contains(&(json!(false), json!(code))), "{code}: {codes:?}");
        assert!(codes.iter().any(|(success, _)| success == true), "{code}: {codes:?}");
    }
    device.beat(&by_certificate(&server, &real)).expect(200);
    let both_wrong = by_certificate(&server, &cases[0].1).api_key("sb_device_wrong");
    device.beat(&both_wrong).refused(401, "INVALID_API_KEY");
}

#[test]
fn who_may_not_is_told_why() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let other = Device::approved(&server, &admin);
    let anonymous = server.anonymous();

    device.beat(&anonymous).refused(401, "AUTHENTICATION_REQUIRED");
    device.beat(&anonymous.api_key("sb_device_")).refused(401, "INVALID_API_KEY");
    let wrong_secret = format!("{}{}", &device.api_key[..20], &other.api_key[20..]);
    device.beat(&anonymous.api_key(&wrong_secret)).refused(401, "INVALID_API_KEY");
    device.beat(&other.by_key(&server)).refused(404, "NOT_FOUND");
    device.beat(&device.by_key(&server)).expect(200);
    device.claim(&server).refused(409, "API_KEY_ALREADY_CLAIMED");
    assert_eq!(admin.post(&device.path("revoke-api-key"), &json!({})).status, 204);
    device.beat(&device.by_key(&server)).refused(401, "API_KEY_REVOKED");
    let claim = anonymous.bearer(&other.claim_secret).post(&device.path("api-key/claim"), &json!({}));
    claim.refused(401, "INVALID_CLAIM_SECRET");

    admin.get(&format!("/api/devices/{}", uuid::Uuid::nil())).refused(404, "NOT_FOUND");
    anonymous.bearer("eyJhbGciOiJub25lIn0.e30.").get("/api/devices").refused(401, "INVALID_TOKEN");
    let auditor = server.admin_with(&["--role", "auditor"]);
    auditor.get("/api/devices").expect(200);
    auditor.post("/api/registration-tokens", &json!({"tenantId": TENANT})).refused(403, "FORBIDDEN");
    let operator = server.admin_with(&["--role", "operator"]);
    operator.post(&format!("/api/certificates/{}/issue", other.id), &json!({})).refused(403, "FORBIDDEN");
    let foreign = server.admin_with(&["--tenant-id", OTHER_TENANT]);
    foreign.get(&format!("/api/devices/{}", device.id)).refused(404, "NOT_FOUND");
    foreign.post(&device.path("suspend"), &json!({})).refused(404, "NOT_FOUND");
    foreign.post("/api/registration-tokens", &json!({"tenantId": TENANT})).refused(403, "FORBIDDEN");
}

#[test]
fn tokens_are_used_once_and_states_are_kept() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let anonymous = server.anonymous();
    let device = Device::pending(&server, &admin);
    let again = |token: &str| anonymous.post("/api/devices", &registration(token, &draw_claim_secret(&site)));
    again(&device.token).refused(409, "REGISTRATION_TOKEN_USED");
    again("sbt_00000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").refused(401, "INVALID_REGISTRATION_TOKEN");
    again("nonsense").refused(401, "INVALID_REGISTRATION_TOKEN");
    let mut elsewhere = registration(&new_token(&site, &admin), &draw_claim_secret(&site));
    elsewhere["tenantId"] = json!(OTHER_TENANT);
    anonymous.post("/api/devices", &elsewhere).refused(401, "INVALID_REGISTRATION_TOKEN");

    let revoked = admin.post("/api/registration-tokens", &json!({"tenantId": TENANT})).expect(201);
    let path = format!("/api/registration-tokens/{}", revoked["id"].as_str().unwrap());
    assert_eq!(admin.delete(&path).status, 204);
    again(revoked["token"].as_str().unwrap()).refused(409, "REGISTRATION_TOKEN_REVOKED");

    admin.post(&device.path("approve"), &json!({})).expect(200);
    admin.post(&device.path("approve"), &json!({})).refused(409, "INVALID_STATE");
    admin.post(&device.path("reject"), &json!({})).refused(409, "INVALID_STATE");

    let once = admin.header("idempotency-key", "token-1");
    once.post("/api/registration-tokens", &json!({"tenantId": TENANT})).expect(201);
    once.post("/api/registration-tokens", &json!({"tenantId": TENANT})).refused(409, "ALREADY_PROCESSED");
    let other_body = once.post("/api/registration-tokens", &json!({"tenantId": TENANT, "validityDays": 5}));
    other_body.refused(409, "IDEMPOTENCY_KEY_REUSED");
}

#[test]
fn requests_for_certificates_are_judged() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let issue =
        |body: &serde_json::Value| device.by_key(&server).post(&format!("/api/certificates/{}/issue", device.id), body);
    issue(&json!({"csrPem": "no request"})).refused(422, "INVALID_CSR");
    issue(&json!({"csrPem": tampered_request()})).refused(422, "INVALID_CSR");
    issue(&json!({"csrPem": request_by(&rcgen::PKCS_ED25519)})).refused(422, "WEAK_KEY");
    let problem = issue(&json!({"validityDays": 398})).refused(400, "INVALID_REQUEST");
    assert_eq!(problem["errors"][0]["pointer"], "/validityDays");
    issue(&json!({"validityDays": 0})).refused(400, "INVALID_REQUEST");
    issue(&json!({"subject": "CN=root"})).refused(400, "INVALID_REQUEST");
    let unknown = "0".repeat(39) + "1";
    admin.delete(&format!("/api/certificates/{unknown}")).refused(404, "NOT_FOUND");
    admin.delete("/api/certificates/xyz").refused(400, "INVALID_REQUEST");
    assert_nothing_issued(&server, &device);
}

fn assert_nothing_issued(server: &Server<'_>, device: &Device) {
    assert_eq!(device.certificates(&server.admin()).len(), 0);
}

/// A request whose signature does not prove possession: its last octet is another.
fn tampered_request() -> String {
    let (_, pem) = key_and_request();
    let mut lines: Vec<String> = pem.lines().map(str::to_owned).collect();
    let last = lines.len() - 2;
    let first_letter = if lines[last].starts_with('A') { "B" } else { "A" };
    lines[last].replace_range(0..1, first_letter);
    lines.join("\n")
}

//! The JSON examples that the agent is built against: what they send is accepted, what they expect is what is answered.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::{ApiKey, ClaimSecret, Fingerprint, Prefix, RegistrationToken, SerialNumber, Timestamp};

use crate::world::fleet::{DeviceCertificate, TestDevice, csr};
use crate::world::{TENANT_A, World};

/// The examples that routes of this crate accept or answer.
const OURS: [&str; 14] = [
    "claim-api-key.response.json",
    "heartbeat.request.json",
    "heartbeat.response.json",
    "issue-certificate.request.json",
    "issue-certificate.response.json",
    "issue-certificate.server-key.request.json",
    "problem.certificate-not-renewable.json",
    "problem.certificate-revoked.json",
    "problem.device-not-approved.json",
    "problem.invalid-request.json",
    "register-device.request.json",
    "register-device.response.json",
    "renew-certificate.request.json",
    "renew-certificate.response.json",
];
/// The examples of routes that only read.
const OF_QUERIES: [&str; 2] = ["registration-status.", "ca-certificate."];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api/examples")
}

fn example(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

/// What kind of text it is.
fn kind(text: &str) -> &'static str {
    if Timestamp::parse(text).is_ok() {
        "time"
    } else if uuid(text) {
        "id"
    } else if SerialNumber::from_hex(text).is_ok() {
        "serial number"
    } else if text.starts_with("SHA256:") && Fingerprint::parse(text).is_ok() {
        "fingerprint"
    } else if ApiKey::parse(text).is_ok() {
        "API key"
    } else if ClaimSecret::parse(text).is_ok() {
        "claim secret"
    } else if RegistrationToken::parse(text).is_ok() {
        "token"
    } else if Prefix::parse(text).is_ok() {
        "prefix"
    } else if text.starts_with("-----BEGIN CERTIFICATE-----\n") && text.ends_with("-----END CERTIFICATE-----\n") {
        "certificate"
    } else {
        "text"
    }
}

fn uuid(text: &str) -> bool {
    signalbeam_domain::DeviceId::parse(text).is_ok()
}

/// The same names, with the same kinds of values under them.
#[track_caller]
fn assert_same_shape(answered: &Value, example: &Value) {
    match (answered, example) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
            a.iter().for_each(|(name, value)| assert_same_shape(value, &b[name]));
        }
        (Value::Array(a), Value::Array(b)) => a.iter().zip(b).for_each(|(a, b)| assert_same_shape(a, b)),
        (Value::String(a), Value::String(b)) => assert_eq!(kind(a), kind(b), "{a} against {b}"),
        (a, b) => assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b), "{a} against {b}"),
    }
}

/// The same problem, its correlation id aside, and the moment that it names.
#[track_caller]
fn assert_same_problem(answered: &Value, example: &Value) {
    assert_same_shape(answered, example);
    let plain = |problem: &Value| {
        let mut problem = problem.clone();
        if let Some(moment) = problem["renewableFrom"].as_str().map(str::to_owned) {
            problem["detail"] = json!(problem["detail"].as_str().unwrap().replace(&moment, "then"));
            problem["renewableFrom"] = json!("then");
        }
        problem["correlationId"] = Value::Null;
        problem
    };
    assert_eq!(plain(answered), plain(example));
}

/// The example's registration with a token of this world.
async fn registered(world: &World) -> (TestDevice, Value) {
    let mut request = example("register-device.request.json");
    assert_eq!(kind(request["token"].as_str().unwrap()), "token");
    let tenant_id = request["tenantId"].as_str().unwrap().to_owned();
    request["token"] = world.token(&tenant_id).await["token"].clone();
    let answer = world.post("/api/devices").json(&request).send().await.expect(201);
    let id = answer["deviceId"].as_str().unwrap().to_owned();
    let claim_secret = answer["claimSecret"].as_str().unwrap().to_owned();
    (TestDevice { id, tenant_id, claim_secret, api_key: String::new() }, answer)
}

#[test]
fn every_example_is_held_against_a_route() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_known = OURS.contains(&name.as_str()) || OF_QUERIES.iter().any(|prefix| name.starts_with(prefix));
        assert!(is_known, "{name} is held against nothing");
    }
}

#[tokio::test]
async fn a_device_s_life_goes_by_the_examples() {
    let world = World::new().await;
    let (mut device, answer) = registered(&world).await;
    let expected = example("register-device.response.json");
    assert_same_shape(&answer, &expected);
    for name in ["tenantId", "deviceName", "status", "claimSecret"] {
        assert_eq!(answer[name], expected[name]);
    }

    world.decide(&device, "approve").await.expect(200);
    let claimed = world.claim(&device).await.expect(200);
    assert_same_shape(&claimed, &example("claim-api-key.response.json"));
    device.api_key = claimed["apiKey"].as_str().unwrap().to_owned();

    let issue = |name: &str| world.post(device.issue_route()).device(&device).json(&example(name));
    let made_here = issue("issue-certificate.server-key.request.json").send().await.expect(201);
    let mut expected = example("issue-certificate.response.json");
    expected["privateKeyPem"] = made_here["privateKeyPem"].clone();
    assert_same_shape(&made_here, &expected);
    let issued = issue("issue-certificate.request.json").send().await.expect(201);
    assert_same_shape(&issued, &example("issue-certificate.response.json"));

    let heartbeat = world.post(device.route("heartbeat")).device(&device).json(&example("heartbeat.request.json"));
    assert_same_shape(&heartbeat.send().await.expect(200), &example("heartbeat.response.json"));

    world.clock.advance_days(60);
    let certificate = DeviceCertificate::shown(issued);
    let renew = world.post(certificate.renew_route()).certificate(&certificate);
    let renewed = renew.json(&example("renew-certificate.request.json")).send().await.expect(201);
    assert_same_shape(&renewed, &example("renew-certificate.response.json"));
}

#[tokio::test]
async fn problems_are_those_of_the_examples() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let renew = || world.post(certificate.renew_route()).certificate(&certificate).json(&json!({"csrPem": csr()}));
    let early = renew().send().await.problem(ErrorCode::CertificateNotRenewable);
    assert_same_problem(&early, &example("problem.certificate-not-renewable.json"));
    world.decide(&device, "suspend").await.expect(200);
    let suspended = world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::DeviceNotApproved);
    assert_same_problem(&suspended, &example("problem.device-not-approved.json"));
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    let revoked = renew().send().await.problem(ErrorCode::CertificateRevoked);
    assert_same_problem(&revoked, &example("problem.certificate-revoked.json"));
    let mut long = example("register-device.request.json");
    long["deviceName"] = json!("x".repeat(129));
    let invalid = world.post("/api/devices").json(&long).send().await.problem(ErrorCode::InvalidRequest);
    assert_same_problem(&invalid, &example("problem.invalid-request.json"));
}

#[test]
fn the_example_certificates_are_what_is_said_of_them() {
    for name in ["issue-certificate.response.json", "renew-certificate.response.json"] {
        let answer = example(name);
        let certificate = DeviceCertificate::shown(answer.clone());
        assert_eq!(answer["fingerprint"], signalbeam_pki::fingerprint(&certificate.der).to_string(), "{name}");
        let validity = signalbeam_pki::peek_validity(&certificate.der).unwrap();
        let end = Timestamp::from_offset_date_time(validity.not_after);
        assert_eq!(Timestamp::parse(answer["expiresAt"].as_str().unwrap()).unwrap(), end, "{name}");
        let serial = certificate.serial_number();
        assert!(certificate.der.windows(20).any(|window| window == serial.as_octets()), "{name}");
    }
}

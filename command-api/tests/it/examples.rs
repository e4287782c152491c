//! The JSON examples that the agent is built against: what they send is accepted, what they expect is what is answered.

mod shape;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::Timestamp;

use self::shape::{assert_same_shape, example, folder, kind};
use crate::world::call::Call;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr};
use crate::world::{TENANT_A, World};

/// The examples of what devices send and get, by the tests that hold them.
const OF_DEVICES: [&str; 15] = [
    "claim-api-key.request.json",
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
/// What admins do that is answered.
const ANSWERED: &[&str] = &[
    "import-certificates",
    "revoke-certificates",
    "activate-certificate-authority",
    "prepare-certificate-authority",
    "retire-certificate-authority",
    "create-registration-token",
    "approve-device",
    "reject-device",
    "suspend-device",
    "reinstate-device",
    "decommission-device",
    "decide-devices",
    "rename-device",
    "request-renewal",
    "rotate-api-key",
];
/// What admins do that is answered with nothing.
const DONE: &[&str] = &[
    "revoke-registration-token",
    "revoke-api-key",
    "revoke-certificate",
    "revoke-admin-tokens.one",
    "revoke-admin-tokens.all",
];
/// What is answered where the work goes on: the answer of the same name without the part in the middle, as far as it has come.
const ACCEPTED: &str = "revoke-certificates.accepted.response.json";
/// The examples of routes that only read; that crate's tests hold them.
const OF_QUERIES: [&str; 4] = ["list-", "get-", "registration-status.", "ca-certificate."];

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
    let requests = ANSWERED.iter().chain(DONE).map(|name| format!("{name}.request.json"));
    let responses = ANSWERED.iter().map(|name| format!("{name}.response.json"));
    let held: BTreeSet<_> = OF_DEVICES
        .map(ToOwned::to_owned)
        .into_iter()
        .chain(requests)
        .chain(responses)
        .chain([ACCEPTED.to_owned()])
        .collect();
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ours: BTreeSet<_> = names.filter(|name| !OF_QUERIES.iter().any(|prefix| name.starts_with(prefix))).collect();
    assert_eq!(ours, held);
}

/// Sends the example of this name as an admin, with these of its fields replaced, and holds the answer against the example.
async fn follow(call: Call<'_>, name: &str, replaced: Value) -> Value {
    let mut request = example(&format!("{name}.request.json"));
    request.as_object_mut().unwrap().extend(replaced.as_object().unwrap().clone());
    let answer = call.admin(Role::Admin).json(&request).send().await;
    if DONE.contains(&name) {
        return answer.expect(204);
    }
    assert!(ANSWERED.contains(&name), "{name} is held against nothing");
    let expected = example(&format!("{name}.response.json"));
    assert!(answer.status.is_success(), "{name}: {answer:?}");
    assert_same_shape(&answer.body, &expected);
    assert_eq!(answer.body["status"], expected["status"], "{name}");
    answer.body
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
    let claim = world.post(device.route("api-key/claim")).bearer(&device.claim_secret);
    let claimed = claim.json(&example("claim-api-key.request.json")).send().await.expect(200);
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
async fn an_admin_decides_by_the_examples() {
    let world = World::new().await;
    let nothing = || json!({});
    let created = follow(world.post("/api/registration-tokens"), "create-registration-token", nothing()).await;
    let token = format!("/api/registration-tokens/{}", created["id"].as_str().unwrap());
    follow(world.delete(token), "revoke-registration-token", nothing()).await;

    let unwanted = world.pending_device(TENANT_A).await;
    follow(world.post(unwanted.route("reject")), "reject-device", nothing()).await;
    let device = world.pending_device(TENANT_A).await;
    let path = format!("/api/devices/{}", device.id);
    follow(world.post(device.route("approve")), "approve-device", nothing()).await;
    let renamed = follow(world.patch(&path), "rename-device", nothing()).await;
    let expected = example("rename-device.response.json");
    for name in ["deviceName", "metadata", "tags", "allowedNetworks"] {
        assert_eq!(renamed[name], expected[name]);
    }
    follow(world.post(device.route("suspend")), "suspend-device", nothing()).await;
    follow(world.post(device.route("reinstate")), "reinstate-device", nothing()).await;

    let pending = world.pending_device(TENANT_A).await;
    let both = json!({"deviceIds": [device.id, pending.id]});
    let decided = follow(world.post("/api/devices/bulk"), "decide-devices", both).await;
    let expected = example("decide-devices.response.json");
    assert_eq!(decided["results"][1]["code"], expected["results"][1]["code"]);
    assert_eq!(decided["results"][1]["detail"], expected["results"][1]["detail"]);
    follow(world.post(device.route("decommission")), "decommission-device", nothing()).await;
}

#[tokio::test]
async fn an_admin_renews_and_withdraws_credentials_by_the_examples() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let filter = json!({"filter": {"tenantId": TENANT_A}});
    let asked = follow(world.post("/api/certificates/request-renewal"), "request-renewal", filter).await;
    assert_eq!(asked["requested"], 1);
    follow(world.post(device.route("rotate-api-key")), "rotate-api-key", json!({})).await;
    follow(world.post(device.route("revoke-api-key")), "revoke-api-key", json!({})).await;
    follow(world.delete(certificate.route()), "revoke-certificate", json!({})).await;
    let imported = follow(world.post("/api/certificates/import"), "import-certificates", json!({})).await;
    let expected = example("import-certificates.response.json");
    assert_eq!(imported["results"][0]["fingerprint"], expected["results"][0]["fingerprint"]);
    assert_eq!(imported["results"][0]["serialNumber"], expected["results"][0]["serialNumber"]);
    let (device, _) = world.device_with_certificate(TENANT_A).await;
    let filter = json!({"filter": {"deviceIds": [device.id]}});
    let revoked = follow(world.post("/api/certificates/revoke"), "revoke-certificates", filter).await;
    let mut so_far = revoked.clone();
    so_far["complete"] = json!(false);
    so_far.as_object_mut().unwrap().remove("completeTo");
    assert_same_shape(&so_far, &example(ACCEPTED));
    let route = "/api/admin-tokens/revoke";
    follow(world.post(route), "revoke-admin-tokens.one", json!({})).await;
    follow(world.post(route), "revoke-admin-tokens.all", json!({})).await;
}

#[tokio::test]
async fn an_authority_comes_and_goes_by_the_examples() {
    let world = World::new().await;
    let first = world.authorities.current().signing().id();
    let all = || world.post("/api/certificate-authorities");
    let prepared = follow(all(), "prepare-certificate-authority", json!({"hierarchy": "root"})).await;
    let of = |id: &str, action: &str| world.post(format!("/api/certificate-authorities/{id}/{action}"));
    let prepared = prepared["authorityId"].as_str().unwrap();
    follow(of(prepared, "activate"), "activate-certificate-authority", json!({})).await;
    follow(of(&first.to_string(), "retire"), "retire-certificate-authority", json!({})).await;
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

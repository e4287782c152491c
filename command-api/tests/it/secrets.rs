//! Secrets are in the one answer that shows them, and nowhere else: not in what is logged at the finest level, not in
//! events, not in problems, not in the audit log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use signalbeam_authn::Role;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::fleet::{csr, new_claim_secret, with_another_secret};
use crate::world::{TENANT_A, World};

/// Everything that was logged.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The part of a credential that nobody may see.
fn secret_of(credential: &str) -> String {
    credential[credential.len() - 43..].to_owned()
}

#[tokio::test]
async fn a_whole_life_leaves_no_secret_behind() {
    let captured = Captured::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(captured.clone()).finish();
    // While there is a single subscriber, the first thread to reach a line of logging decides for all threads whether that
    // line is wanted, and the threads of other tests want none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let guard = tracing::subscriber::set_default(subscriber);
    let world = World::new().await;
    let mut secrets = vec![];
    let mut problems = String::new();

    let token = world.token(TENANT_A).await;
    secrets.push(secret_of(token["token"].as_str().unwrap()));
    let guess = with_another_secret(token["token"].as_str().unwrap());
    secrets.push(secret_of(&guess));
    let body = json!({"tenantId": TENANT_A, "token": guess, "deviceName": "sensor"});
    problems += &world.post("/api/devices").json(&body).send().await.body.to_string();
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    secrets.extend([secret_of(&device.claim_secret), secret_of(&device.api_key)]);
    world.heartbeat_by_key(&device).await.expect(200);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let wrong_key = with_another_secret(&device.api_key);
    let wrong_claim = new_claim_secret();
    secrets.extend([secret_of(&wrong_key), secret_of(&wrong_claim)]);
    problems += &world.post(device.route("heartbeat")).api_key(&wrong_key).send().await.body.to_string();
    problems += &world.post(device.route("api-key/claim")).bearer(&wrong_claim).send().await.body.to_string();
    problems += &world.claim(&device).await.body.to_string();
    let rotated = world.post(device.route("rotate-api-key")).admin(Role::Admin).send().await.expect(200);
    secrets.push(secret_of(rotated["apiKey"].as_str().unwrap()));
    problems += &world.heartbeat_by_key(&device).await.body.to_string();
    let with_key = world.post(device.issue_route()).admin(Role::Admin).send().await.expect(201);
    let pem = with_key["privateKeyPem"].as_str().unwrap();
    secrets.extend(pem.lines().filter(|line| line.len() == 64).map(str::to_owned));
    let admin = world.admin_token(Role::Admin, None);
    secrets.push(admin.rsplit('.').next().unwrap().to_owned());
    let forged = format!("{admin}x");
    problems += &world.post(device.route("approve")).bearer(&forged).send().await.body.to_string();
    world.store.appends_fail.set(true);
    problems +=
        &world.post(device.issue_route()).bearer(&admin).json(&json!({"csrPem": csr()})).send().await.body.to_string();
    problems += &world.post(device.route("rotate-api-key")).bearer(&admin).send().await.body.to_string();
    world.store.appends_fail.set(false);
    world.audit.writes_fail.set(true);
    problems += &world.heartbeat_by_key(&device).await.body.to_string();
    world.audit.writes_fail.set(false);
    world.keys.signing_fails.set(true);
    problems += &world.post(device.issue_route()).bearer(&admin).send().await.body.to_string();
    drop(guard);

    let logged = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    let said =
        ["certificate issued", "heartbeat", "the event store failed", "could not be recorded", "could not be signed"];
    for said in said {
        assert!(logged.contains(said), "the log was captured: {said}");
    }
    let attempts = format!("{:?}", world.attempts().await);
    let log = world.log().await;
    let events: Vec<_> = log.iter().map(|r| String::from_utf8_lossy(&r.envelope.data).into_owned()).collect();
    let events = format!("{log:?}{}", events.concat());
    for secret in &secrets {
        let hex = secret.bytes().fold(String::new(), |hex, octet| hex + &format!("{octet:02x}"));
        for (place, text) in [("log", &logged), ("problem", &problems), ("audit", &attempts), ("event", &events)] {
            assert!(!text.contains(secret.as_str()) && !text.contains(&hex), "a secret stands in a {place}");
        }
    }
    assert!(!logged.contains("$2b$"), "nor do verifiers");
}

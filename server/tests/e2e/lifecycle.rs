//! Devices and their API keys through their lives: tags, one decision on a whole fleet, warnings before the end, retirement.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbeam_domain::device::{DeviceEvent, DeviceRegistered};
use signalbeam_domain::{
    Actor, CorrelationId, DeviceId, DeviceName, Digest, Metadata, Prefix, StreamId, Tags, TenantId, Version,
};
use signalbeam_event_store::{
    Batch, CommandMetadata, EventStore, ExpectedVersion, SqliteEventStore, StreamWrite, SystemClock, new_events,
};
use uuid::Uuid;

use crate::device::{Device, OTHER_TENANT, TENANT, by_certificate, draw_claim_secret, new_token};
use crate::server::{Server, Site};
use crate::waiting::eventually;

const EVENTS_FILE: &str = "events.db";

/// Puts pending devices into the log of a server that is down: a thousand registrations over the wire take their time.
fn record_pending_devices(site: &Site, number: usize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = site.data_dir().join(EVENTS_FILE);
        let store = SqliteEventStore::open(&path, std::sync::Arc::new(SystemClock)).await.unwrap();
        let mut writes = vec![];
        let mut ids = vec![];
        for _ in 0..number {
            let device_id = DeviceId::from_uuid(Uuid::now_v7());
            let registered = DeviceRegistered {
                device_id,
                tenant_id: TenantId::parse(TENANT).unwrap(),
                device_name: DeviceName::parse("warehouse").unwrap(),
                metadata: Metadata::default(),
                tags: Tags::default(),
                token_prefix: Prefix::parse("a1B2c3D4").unwrap(),
                claim_secret_sha256: Digest([7; 32]),
            };
            writes.push(StreamWrite {
                stream: StreamId::device(device_id),
                expected: ExpectedVersion::Exact(Version(0)),
                events: new_events(Some(registered.tenant_id), [DeviceEvent::from(registered)]),
            });
            ids.push(device_id.to_string());
        }
        let metadata = CommandMetadata {
            actor: Actor::system("tests"),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            idempotency: None,
        };
        store.append(Batch { metadata, writes }).await.unwrap();
        store.close().await;
        ids
    })
}

#[test]
fn a_thousand_devices_are_decided_on_well_within_a_requests_time() {
    let site = Site::new();
    site.start().stop();
    let ids = record_pending_devices(&site, 1_000);
    let server = site.start();
    let admin = server.admin();
    for action in ["approve", "suspend", "decommission"] {
        let body = json!({"action": action, "deviceIds": ids});
        let named = admin.header("idempotency-key", action);
        let begun = Instant::now();
        let answer = named.post("/api/devices/bulk", &body);
        let elapsed = begun.elapsed();
        assert!(elapsed < Duration::from_secs(30), "half of the time that a request may take: {elapsed:?} to {action}");
        let position = answer.header("x-event-position").to_owned();
        let decided = answer.expect(200);
        assert_eq!((&decided["succeeded"], &decided["failed"]), (&json!(1_000), &json!(0)));
        let in_order: Vec<_> = decided["results"].as_array().unwrap().iter().map(|r| r["deviceId"].clone()).collect();
        assert_eq!(json!(in_order), json!(ids));
        let again = named.post("/api/devices/bulk", &body);
        assert_eq!(again.header("x-event-position"), position);
        assert_eq!(again.expect(200), decided);
        let other = json!({"action": action, "deviceIds": [ids[0]]});
        named.post("/api/devices/bulk", &other).refused(409, "IDEMPOTENCY_KEY_REUSED");
    }
    let path = "/api/devices/by-status/Decommissioned?limit=500";
    assert_eq!(admin.get(path).expect(200)["items"].as_array().unwrap().len(), 500);
    drop(server);
    let decided = site.export().iter().filter(|event| event["type"] == "device.approved").count();
    assert_eq!(decided, 1_000);
}

#[test]
fn a_tenants_admin_decides_on_its_own_devices_and_finds_them_by_tag() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let token = new_token(&site, &admin);
    let body = json!({
        "tenantId": TENANT, "token": token, "deviceName": "north", "claimSecret": draw_claim_secret(&site),
        "tags": ["site:north", "Halle 3"],
    });
    let id = server.anonymous().post("/api/devices", &body).expect(201)["deviceId"].as_str().unwrap().to_owned();
    let plain = Device::pending(&server, &admin);
    let listed = |query: &str| -> Vec<Value> {
        let answer = admin.get(&format!("/api/devices?{query}")).expect(200);
        answer["items"].as_array().unwrap().iter().map(|item| item["deviceId"].clone()).collect()
    };
    assert_eq!(listed("tag=site:north&tag=Halle%203"), [json!(id)]);
    assert!(listed("tag=site:north&tag=Halle%204").is_empty());
    let body = json!({"action": "approve", "deviceIds": [id, plain.id]});
    let stranger = server.admin_with(&["--tenant-id", OTHER_TENANT]);
    let nothing = stranger.post("/api/devices/bulk", &body).expect(200);
    assert_eq!((&nothing["succeeded"], &nothing["results"][0]["code"]), (&json!(0), &json!("NOT_FOUND")));
    let own = server.admin_with(&["--tenant-id", TENANT, "--role", "operator"]);
    assert_eq!(own.post("/api/devices/bulk", &body).expect(200)["succeeded"], 2);
    plain.claim(&server).expect(200);
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

#[test]
fn a_key_that_is_about_to_expire_is_warned_of_once() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::pending(&server, &admin);
    admin.post(&device.path("approve"), &json!({"apiKeyExpirationDays": 2})).expect(200);
    let prefix = device.claim(&server).expect(200)["keyPrefix"].as_str().unwrap().to_owned();
    server.stop();
    let warning = format!("API key sb_device_{prefix} for device {} expires in 2.0 days on 2", device.id);
    let server = site.start();
    eventually("the warning", || site.said().contains(&warning).then_some(()));
    server.stop();
    // A second round is over once a key that it finds, and has not told of, is told of.
    let server = site.start();
    let admin = server.admin();
    let other = Device::pending(&server, &admin);
    admin.post(&other.path("approve"), &json!({"apiKeyExpirationDays": 3})).expect(200);
    other.claim(&server).expect(200);
    server.stop();
    let server = site.start();
    eventually("the other's warning", || site.said().contains(&format!("{} expires in 3.0", other.id)).then_some(()));
    server.stop();
    assert_eq!(site.said().matches(&warning).count(), 1);
    assert_eq!(count(&site.export(), "api_key.expiry_noticed"), 2);
    assert!(!site.said().contains("EXPIRED"));
}

/// A device with a key and a certificate, both in use.
fn device_with_certificate(server: &Server<'_>) -> (Device, crate::keys::Identity) {
    let device = Device::approved(server, &server.admin());
    let certificate = device.issue(server, 90);
    device.beat(&by_certificate(server, &certificate)).expect(200);
    device.beat(&device.by_key(server)).expect(200);
    (device, certificate)
}

#[test]
fn a_key_is_retired_where_a_certificate_has_taken_its_place_and_nowhere_else() {
    let mut site = Site::new();
    let server = site.start();
    let (device, certificate) = device_with_certificate(&server);
    let keyed = Device::approved(&server, &server.admin());
    keyed.beat(&keyed.by_key(&server)).expect(200);
    server.stop();
    site.set("authentication.api_key_retirement_days", "0");
    let server = site.start();
    eventually("the key is refused", || (device.beat(&device.by_key(&server)).status == 401).then_some(()));
    device.beat(&device.by_key(&server)).refused(401, "API_KEY_REVOKED");
    device.beat(&by_certificate(&server, &certificate)).expect(200);
    keyed.beat(&keyed.by_key(&server)).expect(200);
    device.claim(&server).refused(409, "API_KEY_ALREADY_CLAIMED");
    // The way back, should the certificate be lost: an admin's rotation opens the claim again.
    let admin = server.admin();
    admin.post(&device.path("rotate-api-key"), &json!({})).expect(200);
    let api_key = device.claim(&server).expect(200)["apiKey"].as_str().unwrap().to_owned();
    site.note_secret(&api_key);
    let back = Device { api_key, ..device.clone() };
    back.beat(&back.by_key(&server)).expect(200);
    server.stop();
    let retired = site.export();
    let retired: Vec<_> = retired.iter().filter(|event| event["data"]["cause"] == "retired").collect();
    assert_eq!(retired.len(), 1);
    assert_eq!(retired[0]["actor"], json!({"kind": "system", "id": "api_key_retirement_monitor"}));
}

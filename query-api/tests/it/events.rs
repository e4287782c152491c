//! The event log: all there is to an event but its verifiers.

use signalbeam_authn::Role;
use signalbeam_domain::authority::{AuthorityActivated, AuthorityEvent};
use signalbeam_domain::event::NoDetails;
use signalbeam_domain::{AuthorityId, StreamId};
use signalbeam_event_store::EventReader as _;
use uuid::Uuid;

use crate::world::{World, day, tenant};

#[tokio::test]
async fn an_event_is_shown_whole() {
    let world = World::new().await;
    let device = world.register(tenant(1), "gateway").await;
    world.set_time(day(1));
    world.suspend(&device, "lost").await;
    let shown = world.get("/api/events?after=1", &world.admin()).await.items().remove(0);
    let recorded = world.store.read_stream(&StreamId::device(device.id)).await.unwrap().remove(1);
    let expected = serde_json::json!({
        "position": 2,
        "id": recorded.envelope.event_id.to_string(),
        "type": "device.suspended",
        "schemaVersion": 1,
        "stream": format!("device-{}", device.id),
        "version": 2,
        "recordedAt": day(1).to_string(),
        "tenantId": tenant(1).to_string(),
        "actor": {"kind": "admin", "id": "ada"},
        "correlationId": "test",
        "data": {"reason": "lost"},
        "hash": recorded.hash.to_string(),
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn verifiers_are_redacted_everywhere() {
    let world = World::new().await;
    world.issue_token(tenant(1), day(30)).await;
    let (device, _) = world.enrol(tenant(1), "gateway").await;
    let admin = world.admin();
    for path in ["/api/events".to_owned(), format!("/api/devices/{}/history", device.id)] {
        let items = world.get(&path, &admin).await.items();
        let text = serde_json::to_string(&items).unwrap();
        assert!(!text.contains("$2b$") && !text.contains(&"aa".repeat(32)), "{text}");
        let registered = items.iter().find(|item| item["type"] == "device.registered").unwrap();
        assert_eq!(registered["data"]["claimSecretSha256"], "[redacted]");
        assert_eq!(registered["data"]["metadata"]["mac"], "aa:bb:cc:dd:ee:ff", "a device may tell its address");
        let key = items.iter().find(|item| item["type"] == "api_key.issued").unwrap();
        assert_eq!(key["data"]["verifier"]["bcrypt"], "[redacted]");
        assert_eq!(key["data"]["verifier"]["mac"], "[redacted]");
        assert_ne!(key["data"]["verifier"]["macKeyId"], "[redacted]");
    }
}

#[tokio::test]
async fn the_log_is_narrowed_by_stream_type_and_device() {
    let world = World::new().await;
    let (one, _) = world.enrol(tenant(1), "one").await;
    let (two, _) = world.enrol(tenant(2), "two").await;
    let types = |query: String| {
        let world = &world;
        async move {
            let items = world.get(&format!("/api/events?{query}"), &world.admin()).await.items();
            items.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    let all = ["device.registered", "device.approved", "api_key.issued"];
    assert_eq!(types(format!("deviceId={}", one.id)).await, all);
    assert_eq!(types(format!("stream=device-{}", two.id)).await, all[..2]);
    assert_eq!(types("type=device.approved".to_owned()).await, ["device.approved"; 2]);
    assert_eq!(types(format!("type=device.approved&deviceId={}", two.id)).await, ["device.approved"]);
    assert_eq!(types(format!("deviceId={}&stream=api_key-{}", one.id, one.id)).await, ["api_key.issued"]);
    assert!(types(format!("deviceId={}&stream=device-{}", one.id, two.id)).await.is_empty());
    let unknown = format!("/api/devices/{}/history", tenant(9));
    assert_eq!(world.get(&unknown, &world.admin()).await.refusal(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn what_belongs_to_no_tenant_is_for_admins_of_all() {
    let world = World::new().await;
    let stream = StreamId::certificate_authority(AuthorityId::from_uuid(Uuid::from_u128(7)));
    world.record(None, stream, [AuthorityEvent::Activated(AuthorityActivated(NoDetails {}))]).await;
    let shown = world.get("/api/events", &world.admin()).await.items();
    assert!(shown[0]["tenantId"].is_null());
    let confined = world.admin_of(Role::Admin, Some(tenant(1)));
    assert!(world.get("/api/events", &confined).await.items().is_empty());
}

//! Devices: what is shown of one, and what whoever registered it learns of its registration.

use signalbeam_authn::Role;
use signalbeam_domain::DeviceId;
use uuid::Uuid;

use crate::world::facts::Registered;
use crate::world::{As, World, day, tenant};

#[tokio::test]
async fn one_device_is_shown_with_what_it_authenticates_by() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "gateway").await;
    let path = format!("/api/devices/{}", device.id);
    let before = world.get(&path, &world.admin()).await.ok();
    assert!(before.get("lastSeenAt").is_none() && before.get("certificate").is_none(), "{before}");
    assert_eq!(before["nameIsDuplicate"], false);
    let serial = world.certify(&device, 90, None).await;
    world.set_time(day(1));
    world.get(&path, &key).await.ok();
    world.set_time(day(2));
    world.get(&path, &As::ApiKey("sb_device_x".to_owned())).await;
    world.register(tenant(1), "gateway").await;
    let shown = world.get(&path, &world.admin()).await.ok();
    assert_eq!(shown["deviceId"], device.id.to_string());
    assert_eq!(shown["tenantId"], tenant(1).to_string());
    assert_eq!(shown["deviceName"], "gateway");
    assert_eq!(shown["status"], "Approved");
    assert_eq!(shown["metadata"]["mac"], "aa:bb:cc:dd:ee:ff");
    assert_eq!(shown["registeredAt"], day(0).to_string());
    assert_eq!(shown["approvedBy"], "admin:ada");
    assert_eq!(shown["lastSeenAt"], day(1).to_string());
    assert_eq!(shown["apiKey"]["expiresAt"], day(90).to_string());
    assert_eq!(shown["apiKey"]["firstUsedAt"], day(1).to_string());
    assert_eq!(shown["certificate"]["serialNumber"], serial.to_string());
    assert_eq!(shown["nameIsDuplicate"], true);
    assert!(shown.get("allowedNetworks").is_none(), "{shown}");
    world.restrict(&device, &["192.0.2.0/24"]).await;
    let restricted = world.get(&path, &world.admin()).await.ok();
    assert_eq!(restricted["allowedNetworks"], serde_json::json!(["192.0.2.0/24"]));
    let text = shown.to_string();
    assert!(!text.contains("claimSecret") && !text.contains("$2b$") && !text.contains("mac_key"), "{text}");
}

#[tokio::test]
async fn lists_are_narrowed() {
    let world = World::new().await;
    let north = world.register(tenant(1), "north-1").await;
    let south = world.register(tenant(1), "SOUTH-1").await;
    let other = world.register(tenant(2), "north-2").await;
    world.approve(&south).await;
    world.reject(&other, "not ours").await;
    let listed = |query: &'static str| {
        let world = &world;
        async move {
            let items = world.get(&format!("/api/devices{query}"), &world.admin()).await.items();
            items.iter().map(|item| item["deviceName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed("").await, ["north-2", "SOUTH-1", "north-1"], "the newest first");
    assert_eq!(listed("?q=NORTH").await, ["north-2", "north-1"]);
    assert_eq!(listed("?q=south&status=Approved").await, ["SOUTH-1"]);
    assert_eq!(listed("/by-status/Pending").await, ["north-1"]);
    assert_eq!(listed("/by-status/Rejected").await, ["north-2"]);
    assert!(listed("/by-status/Suspended").await.is_empty());
    let confined = world.admin_of(Role::Auditor, Some(tenant(1)));
    assert_eq!(world.get("/api/devices?q=north", &confined).await.items()[0]["deviceId"], north.id.to_string());
}

#[tokio::test]
async fn devices_are_found_by_their_tags() {
    let world = World::new().await;
    let (north, key) = world.enrol(tenant(1), "north").await;
    let south = world.register(tenant(1), "south").await;
    let other = world.register(tenant(2), "other").await;
    world.tag(&north, &["site:a", "Halle 3"]).await;
    world.tag(&south, &["site:a"]).await;
    world.tag(&other, &["site:a", "Halle 3"]).await;
    let listed = async |path: &str, caller: &As| {
        let items = world.get(path, caller).await.items();
        items.iter().map(|item| item["deviceName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (admin, confined) = (world.admin(), world.admin_of(Role::Auditor, Some(tenant(1))));
    assert_eq!(listed("/api/devices?tag=site:a", &admin).await, ["other", "south", "north"], "the newest first");
    assert_eq!(listed("/api/devices?tag=site:a&tag=Halle%203", &admin).await, ["other", "north"], "every one of them");
    assert_eq!(listed("/api/devices?tag=site:a&tag=Halle+3", &confined).await, ["north"]);
    assert_eq!(listed("/api/devices?tag=site:a&q=SOU&status=Pending", &admin).await, ["south"]);
    assert_eq!(listed(&format!("/api/devices?tag=site:a&tenantId={}", tenant(2)), &admin).await, ["other"]);
    assert!(listed("/api/devices?tag=site:b", &admin).await.is_empty());
    assert_eq!(listed("/api/devices/by-status/Pending?tag=site:a&q=o", &admin).await, ["other", "south"]);
    let of_tenant = format!("/api/devices/by-status/Pending?tag=site:a&tenantId={}", tenant(1));
    assert_eq!(listed(&of_tenant, &admin).await, ["south"]);
    assert_eq!(listed("/api/devices?tag=site:a", &key).await, ["north"], "a device sees itself alone");
    assert!(listed("/api/devices?tag=site:a&tag=x", &key).await.is_empty());
    let pages = world.pages("/api/devices?tag=site:a&limit=1", &admin, "deviceName").await;
    assert_eq!(pages, [["other"], ["south"], ["north"]]);
    let shown = world.get(&format!("/api/devices/{}", north.id), &admin).await.ok();
    assert_eq!(shown["tags"], serde_json::json!(["Halle 3", "site:a"]));
    let bare = world.register(tenant(1), "bare").await;
    assert_eq!(world.get(&format!("/api/devices/{}", bare.id), &admin).await.ok()["tags"], serde_json::json!([]));
    for bad in ["tag=", "tag=a%0ab", "tag=a,b"] {
        let answer = world.get(&format!("/api/devices?{bad}"), &admin).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], "/query/tag", "{bad}");
    }
}

#[tokio::test]
async fn a_claimant_follows_its_registration_to_the_end() {
    let world = World::new().await;
    let device = world.register(tenant(1), "gateway").await;
    let path = format!("/api/devices/{}/registration-status", device.id);
    let pending = world.get(&path, &device.claim).await.ok();
    let expected = serde_json::json!({
        "deviceId": device.id.to_string(), "tenantId": tenant(1).to_string(), "deviceName": "gateway", "status": "Pending",
    });
    assert_eq!(pending, expected);
    world.approve(&device).await;
    assert_eq!(world.get(&path, &device.claim).await.ok()["status"], "Approved");
    let key = world.give_key(&device).await;
    let serial = world.certify(&device, 90, None).await;
    for caller in [&device.claim, &key, &world.admin()] {
        let shown = world.get(&path, caller).await.ok();
        assert_eq!(shown["apiKeyExpiresAt"], day(90).to_string());
        assert_eq!(shown["certificate"]["serialNumber"], serial.to_string());
        assert_eq!(shown["certificate"]["expiresAt"], day(90).to_string());
        assert_eq!(shown["certificate"]["renewalRequired"], false);
    }
    world.set_time(day(60));
    assert_eq!(world.get(&path, &key).await.ok()["certificate"]["renewalRequired"], true);
}

#[tokio::test]
async fn a_rejected_claimant_learns_why_and_a_strangers_guess_learns_nothing() {
    let world = World::new().await;
    let device = world.register(tenant(1), "gateway").await;
    let other = world.register(tenant(1), "other").await;
    world.reject(&device, "unknown serial plate").await;
    let path = format!("/api/devices/{}/registration-status", device.id);
    let shown = world.get(&path, &device.claim).await.ok();
    assert_eq!(shown["status"], "Rejected");
    assert_eq!(shown["rejectionReason"], "unknown serial plate");
    let nobody = DeviceId::from_uuid(Uuid::now_v7());
    let unknown = format!("/api/devices/{nobody}/registration-status");
    for (path, claim) in [(&path, &other.claim), (&unknown, &device.claim), (&path, &As::Bearer("sbc_x".to_owned()))] {
        assert_eq!(world.get(path, claim).await.refusal(), (401, "INVALID_CLAIM_SECRET".to_owned()), "{path}");
    }
    let attempts = world.get("/api/authentication-logs?method=ClaimSecret", &world.admin()).await.items();
    assert_eq!(attempts.len(), 3, "each guess is recorded, no success is");
    assert_eq!(world.get(&unknown, &world.admin()).await.refusal(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_device_shows_the_profile_of_its_certificates() {
    let world = World::new().await;
    let profile = async |device: &Registered| {
        let shown = world.get(&format!("/api/devices/{}", device.id), &world.admin()).await.ok();
        shown["certificateProfile"].clone()
    };
    let device = world.register(tenant(1), "one").await;
    assert_eq!(profile(&device).await, "device");
    world.approve_with(&device, Some("sensor")).await;
    assert_eq!(profile(&device).await, "sensor");
    world.give_profile(&device, "gateway").await;
    assert_eq!(profile(&device).await, "gateway");
}

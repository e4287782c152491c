//! What is counted of credentials' use, and who may see it.

use std::time::Duration;

use serde_json::Value;
use signalbeam_authn::Role;

use crate::world::{As, World, day, tenant};

/// Asks until what was counted is as it should be: counting is a moment behind.
async fn until(world: &World, path: &str, admin: &As, holds: impl Fn(&Value) -> bool) -> Value {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let asking = async {
        loop {
            let shown = world.get(path, admin).await.ok();
            if holds(&shown) {
                return shown;
            }
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap()
}

#[tokio::test]
async fn a_devices_use_is_shown_by_credential_and_by_day() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "one").await;
    let own = format!("/api/devices/{}", device.id);
    for number in [1, 2, 2] {
        world.set_time(day(number));
        world.get(&own, &key).await.ok();
    }
    world.get(&own, &As::ApiKey("sb_device_nonsense".to_owned())).await;
    let path = format!("{own}/usage");
    let admin = world.admin();
    let shown = until(&world, &path, &admin, |shown| shown["days"][0]["successes"] == 2).await;
    assert_eq!(shown["deviceId"], device.id.to_string());
    assert_eq!(shown["lastSeenAt"], day(2).to_string());
    assert_eq!(shown["lastSeenFrom"], "127.0.0.1");
    assert_eq!(shown["lastAuthenticationMethod"], "ApiKey");
    assert_eq!(shown["credentials"].as_array().unwrap().len(), 1);
    assert_eq!(shown["credentials"][0]["lastUsedAt"], day(2).to_string());
    assert_eq!(shown["credentials"][0]["successes"], 3);
    assert_eq!(shown["days"][1]["day"], "2026-01-02");
    assert_eq!(shown["days"][1]["authenticationMethod"], "ApiKey");
    let first = world.get(&format!("{path}?startDate=2026-01-02&endDate=2026-01-03"), &admin).await.ok();
    assert_eq!(first["days"].as_array().unwrap().len(), 1);
    let listed = world.get("/api/devices", &admin).await.items().remove(0);
    assert_eq!(listed["lastSeenAt"], day(2).to_string());

    let all = until(&world, "/api/usage", &admin, |shown| shown["days"][0]["failures"] == 1).await;
    assert_eq!(all["days"][0]["successes"], 2, "the stranger's attempt stands beside the device's");
    let own = world.get(&format!("/api/usage?tenantId={}", tenant(1)), &admin).await.ok();
    assert_eq!((&own["days"][0]["devices"], &own["days"][0]["failures"]), (&1.into(), &0.into()));
}

#[tokio::test]
async fn use_is_confined_to_the_tenant() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "one").await;
    let path = format!("/api/devices/{}/usage", device.id);
    let stranger = world.admin_of(Role::Admin, Some(tenant(2)));
    assert_eq!(world.get(&path, &stranger).await.refusal(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(world.get(&format!("/api/usage?tenantId={}", tenant(1)), &stranger).await.refusal().0, 403);
    assert_eq!(world.get(&path, &key).await.refusal().0, 401, "devices have no business here");
    world.get(&format!("/api/devices/{}", device.id), &key).await.ok();
    let owner = world.admin_of(Role::Auditor, Some(tenant(1)));
    until(&world, "/api/usage", &owner, |shown| shown["days"][0]["successes"] == 1).await;
    assert_eq!(world.get("/api/usage", &stranger).await.ok()["days"], serde_json::json!([]));
    for bad in ["?startDate=2026-01-02&endDate=2026-01-01", "?startDate=2020-01-01", "?startDate=soon", "?day=1"] {
        assert_eq!(world.get(&format!("/api/usage{bad}"), &owner).await.refusal().1, "INVALID_REQUEST", "{bad}");
    }
}

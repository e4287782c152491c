//! Bad input: 400 with a pointer to it, whatever it is; never a 500.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::world::{As, World, tenant};

async fn assert_refused(world: &World, path: &str, pointer: &str) {
    let caller = if path.contains("renewal-info") { As::Nobody } else { world.admin() };
    let answer = world.get(path, &caller).await;
    assert_eq!(answer.refusal(), (400, "INVALID_REQUEST".to_owned()), "{path}");
    assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{path}: {}", answer.json());
}

#[tokio::test]
async fn bad_values_are_pointed_at() {
    let world = World::new().await;
    let id = tenant(9);
    for (path, pointer) in [
        ("/api/devices/x".to_owned(), "/path/id"),
        ("/api/devices/x/registration-status".to_owned(), "/path/id"),
        ("/api/devices/x/history".to_owned(), "/path/id"),
        ("/api/devices/%FF".to_owned(), "/path"),
        ("/api/devices/by-status/pendin".to_owned(), "/path/status"),
        ("/api/certificates/12ab".to_owned(), "/path/serialNumber"),
        (format!("/api/certificates/{}", "g".repeat(40)), "/path/serialNumber"),
        ("/api/certificates/xyz/renewal-info".to_owned(), "/path/serialNumber"),
        ("/api/certificates/device/018f".to_owned(), "/path/deviceId"),
        ("/api/devices?status=Unknown".to_owned(), "/query/status"),
        ("/api/devices?tenantId=7".to_owned(), "/query/tenantId"),
        (format!("/api/devices/{id}?minPosition=-1"), "/query/minPosition"),
        ("/api/registration-tokens?status=Active".to_owned(), "/query/status"),
        ("/api/certificates?status=gone".to_owned(), "/query/status"),
        ("/api/certificates?expiringWithinDays=soon".to_owned(), "/query/expiringWithinDays"),
        ("/api/certificates?expiringWithinDays=65536".to_owned(), "/query/expiringWithinDays"),
        ("/api/authentication-logs?startDate=yesterday".to_owned(), "/query/startDate"),
        ("/api/authentication-logs?endDate=2026-02-30".to_owned(), "/query/endDate"),
        ("/api/authentication-logs?startDate=0000-00-00T00:00:00Z".to_owned(), "/query/startDate"),
        ("/api/authentication-logs?successOnly=maybe".to_owned(), "/query/successOnly"),
        ("/api/authentication-logs?method=Magic".to_owned(), "/query/method"),
        ("/api/authentication-logs?failureCode=NO_SUCH_CODE".to_owned(), "/query/failureCode"),
        ("/api/authentication-logs?deviceId='%20OR%201=1--".to_owned(), "/query/deviceId"),
        ("/api/events?after=x".to_owned(), "/query/after"),
        ("/api/events?after=99999999999999999999".to_owned(), "/query/after"),
        ("/api/events?stream=nonsense".to_owned(), "/query/stream"),
        ("/api/events?type=device.exploded".to_owned(), "/query/type"),
    ] {
        assert_refused(&world, &path, pointer).await;
    }
}

#[tokio::test]
async fn limits_and_cursors_are_bounded_and_the_lists_own() {
    let world = World::new().await;
    let device = world.register(tenant(1), "one").await;
    world.register(tenant(1), "two").await;
    let admin = world.admin();
    let history = format!("/api/devices/{}/history", device.id);
    let devices = world.get("/api/devices?limit=1", &admin).await.ok();
    let of_devices = devices["nextCursor"].as_str().unwrap().to_owned();
    let forged =
        |list: &str, after: &str| URL_SAFE_NO_PAD.encode(format!(r#"{{"v":1,"list":"{list}","after":"{after}"}}"#));
    for (path, name) in [
        ("/api/registration-tokens", "registration_tokens"),
        ("/api/devices", "devices"),
        ("/api/devices/by-status/Pending", "devices"),
        ("/api/certificates", "certificates"),
        ("/api/authentication-logs", "authentication_logs"),
        ("/api/events", "events"),
        (history.as_str(), "device_history"),
    ] {
        for limit in ["0", "501", "-1", "1.5", "x", "", "99999999999999999999"] {
            assert_refused(&world, &format!("{path}?limit={limit}"), "/query/limit").await;
        }
        let mut cursors = vec!["x".to_owned(), String::new(), "%00".to_owned(), "A".repeat(4_000)];
        cursors.extend(["", "-1x", "1.2", "'; DROP TABLE devices; --"].map(|after| forged(name, after)));
        if name != "devices" {
            cursors.push(of_devices.clone());
        }
        if name == "authentication_logs" {
            cursors.extend(["0", "-9223372036854775808"].map(|after| forged(name, after)));
        }
        for cursor in cursors {
            assert_refused(&world, &format!("{path}?cursor={cursor}"), "/query/cursor").await;
        }
    }
}

#[tokio::test]
async fn unknown_and_repeated_parameters_are_refused() {
    let world = World::new().await;
    let device = world.register(tenant(1), "one").await;
    let serial = world.certify(&device, 90, None).await;
    let id = device.id;
    for path in [
        "/api/registration-tokens".to_owned(),
        "/api/devices".to_owned(),
        "/api/devices/by-status/Pending".to_owned(),
        format!("/api/devices/{id}"),
        format!("/api/devices/{id}/registration-status"),
        format!("/api/devices/{id}/history"),
        "/api/certificates".to_owned(),
        "/api/certificates/ca".to_owned(),
        format!("/api/certificates/{serial}"),
        format!("/api/certificates/device/{id}"),
        format!("/api/certificates/{serial}/renewal-info"),
        "/api/authentication-logs".to_owned(),
        "/api/events".to_owned(),
    ] {
        for query in ["colour=red", "minPosition=1&minPosition=1"] {
            let path = format!("{path}?{query}");
            let answer = world.get(&path, &world.admin()).await;
            assert_eq!(answer.refusal(), (400, "INVALID_REQUEST".to_owned()), "{path}");
            let pointer = answer.json()["errors"][0]["pointer"].as_str().unwrap().to_owned();
            assert!(pointer.starts_with("/query"), "{path}: {pointer}");
        }
    }
}

#[tokio::test]
async fn names_with_wildcards_and_quotes_are_only_names() {
    let world = World::new().await;
    world.register(tenant(1), "50% off").await;
    world.register(tenant(1), "o'clock").await;
    let admin = world.admin();
    for (q, found) in [("%25", 1), ("_", 0), ("o'c", 1), ("O'CL", 1), ("%27%20OR%201=1", 0), ("", 2)] {
        assert_eq!(world.get(&format!("/api/devices?q={q}"), &admin).await.items().len(), found, "{q}");
    }
}

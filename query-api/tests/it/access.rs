//! Who gets an answer: every route by caller, by role, by tenant.

use signalbeam_authn::Role;

use crate::world::{As, World, tenant};

/// Every route that needs an admin and shows nothing else's things.
const LISTS: [&str; 6] = [
    "/api/registration-tokens",
    "/api/devices",
    "/api/devices/by-status/Approved",
    "/api/certificates",
    "/api/authentication-logs",
    "/api/events",
];

#[tokio::test]
async fn nobody_gets_in_and_is_told_so_before_parameters_are_looked_at() {
    let world = World::new().await;
    let paths = LISTS.map(|path| format!("{path}?limit=x")).into_iter().chain(
        [
            "/api/devices/x",
            "/api/devices/x/registration-status",
            "/api/devices/x/history",
            "/api/certificates/x",
            "/api/certificates/device/x",
        ]
        .map(ToOwned::to_owned),
    );
    for path in paths {
        let refusal = world.get(&path, &As::Nobody).await.refusal();
        assert_eq!(refusal, (401, "AUTHENTICATION_REQUIRED".to_owned()), "{path}");
        let refusal = world.get(&path, &As::Bearer("x.y.z".to_owned())).await.refusal();
        assert_eq!(refusal, (401, "INVALID_TOKEN".to_owned()), "{path}");
        let refusal = world.get(&path, &As::ApiKey("sb_device_x".to_owned())).await.refusal();
        assert_eq!(refusal.0, 401, "{path}");
    }
}

#[tokio::test]
async fn every_role_may_look_at_everything() {
    let world = World::new().await;
    let (device, _) = world.enrol(tenant(1), "gateway").await;
    let serial = world.certify(&device, 90, None).await;
    let id = device.id;
    let single = [
        format!("/api/devices/{id}"),
        format!("/api/devices/{id}/registration-status"),
        format!("/api/devices/{id}/history"),
        format!("/api/certificates/{serial}"),
        format!("/api/certificates/device/{id}"),
    ];
    for path in LISTS.map(ToOwned::to_owned).into_iter().chain(single) {
        for role in Role::ALL {
            for confined_to in [None, Some(tenant(1))] {
                world.get(&path, &world.admin_of(role, confined_to)).await.ok();
            }
        }
    }
}

#[tokio::test]
async fn another_tenants_things_do_not_exist() {
    let world = World::new().await;
    world.issue_token(tenant(1), world.now().plus_days(30)).await;
    let (device, key) = world.enrol(tenant(1), "gateway").await;
    let serial = world.certify(&device, 90, None).await;
    world.get("/api/devices", &key).await.ok();
    let id = device.id;
    let stranger = world.admin_of(Role::Admin, Some(tenant(2)));
    for path in LISTS {
        assert!(!world.get(path, &world.admin()).await.items().is_empty(), "{path}");
        assert!(world.get(path, &stranger).await.items().is_empty(), "{path}");
    }
    for path in [
        format!("/api/devices/{id}"),
        format!("/api/devices/{id}/registration-status"),
        format!("/api/devices/{id}/history"),
        format!("/api/certificates/{serial}"),
        format!("/api/certificates/device/{id}"),
    ] {
        assert_eq!(world.get(&path, &stranger).await.refusal(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    for path in [
        format!("/api/events?deviceId={id}"),
        format!("/api/events?stream=device-{id}"),
        format!("/api/authentication-logs?deviceId={id}"),
    ] {
        assert!(!world.get(&path, &world.admin()).await.items().is_empty(), "{path}");
        assert!(world.get(&path, &stranger).await.items().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_confined_admin_may_name_no_other_tenant() {
    let world = World::new().await;
    let confined = world.admin_of(Role::Admin, Some(tenant(1)));
    for path in ["/api/registration-tokens", "/api/devices", "/api/devices/by-status/Pending", "/api/certificates"] {
        let other = format!("{path}?tenantId={}", tenant(2));
        assert_eq!(world.get(&other, &confined).await.refusal(), (403, "FORBIDDEN".to_owned()), "{path}");
        world.get(&other, &world.admin()).await.ok();
        world.get(&format!("{path}?tenantId={}", tenant(1)), &confined).await.ok();
    }
}

#[tokio::test]
async fn a_device_sees_itself_alone() {
    let world = World::new().await;
    let (own, key) = world.enrol(tenant(1), "one").await;
    let (other, _) = world.enrol(tenant(1), "two").await;
    let serial = world.certify(&own, 90, None).await;
    for path in ["/api/devices/{id}", "/api/devices/{id}/registration-status", "/api/certificates/device/{id}"] {
        world.get(&path.replace("{id}", &own.id.to_string()), &key).await.ok();
        let others = world.get(&path.replace("{id}", &other.id.to_string()), &key).await;
        assert_eq!(others.refusal(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    for path in [
        "/api/registration-tokens".to_owned(),
        "/api/certificates".to_owned(),
        format!("/api/certificates/{serial}"),
        "/api/authentication-logs".to_owned(),
        "/api/events".to_owned(),
        format!("/api/devices/{}/history", own.id),
    ] {
        assert_eq!(world.get(&path, &key).await.refusal().0, 401, "{path}");
    }
    let listed = |path: &'static str| async { world.get(path, &key).await.items() };
    let itself = listed("/api/devices").await;
    assert_eq!(itself.len(), 1);
    assert_eq!(itself[0]["deviceId"], own.id.to_string());
    assert_eq!(listed("/api/devices/by-status/Approved").await.len(), 1);
    assert_eq!(listed("/api/devices?q=ON&status=Approved").await.len(), 1);
    assert!(listed("/api/devices/by-status/Pending").await.is_empty());
    assert!(listed("/api/devices?q=two").await.is_empty());
    let other_tenant = world.get(&format!("/api/devices?tenantId={}", tenant(2)), &key).await;
    assert_eq!(other_tenant.refusal(), (403, "FORBIDDEN".to_owned()));
}

#[tokio::test]
async fn a_suspended_device_sees_nothing_and_leaves_a_trace() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "gateway").await;
    world.suspend(&device, "lost").await;
    let refusal = world.get(&format!("/api/devices/{}", device.id), &key).await.refusal();
    assert_eq!(refusal, (403, "DEVICE_NOT_APPROVED".to_owned()));
    let attempts = world.get("/api/authentication-logs", &world.admin()).await.items();
    assert_eq!(attempts[0]["failureCode"], "DEVICE_NOT_APPROVED");
}

#[tokio::test]
async fn what_is_public_needs_no_credential() {
    let world = World::new().await;
    let (device, _) = world.enrol(tenant(1), "gateway").await;
    let serial = world.certify(&device, 90, None).await;
    for path in ["/api/certificates/ca", "/openapi.json", "/docs", "/docs/scalar.js"] {
        assert_eq!(world.get(path, &As::Nobody).await.status, 200, "{path}");
    }
    world.get(&format!("/api/certificates/{serial}/renewal-info"), &As::Nobody).await.ok();
}

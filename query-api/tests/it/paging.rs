//! Lists are followed to their end without a gap or a double, also where everything happened at the same moment.

use std::collections::BTreeSet;
use std::net::IpAddr;

use signalbeam_domain::certificate::CertificateIssued;
use signalbeam_event_store::AuthenticationAttempt;
use signalbeam_event_store::audit::AuthenticationMethod;
use uuid::Uuid;

use crate::world::{World, correlation_id, day, tenant};

/// Each page is full but the last one, and together they are what is expected.
fn assert_complete(pages: &[Vec<String>], limit: usize, expected: &BTreeSet<String>, path: &str) {
    let shown: Vec<_> = pages.concat();
    assert_eq!(shown.len(), expected.len(), "{path}: a gap or a double: {pages:?}");
    assert_eq!(&shown.into_iter().collect::<BTreeSet<_>>(), expected, "{path}");
    let (last, full) = pages.split_last().unwrap();
    assert!(full.iter().all(|page| page.len() == limit), "{path}: {pages:?}");
    assert!(last.len() <= limit && (!last.is_empty() || expected.is_empty()), "{path}: {pages:?}");
}

#[tokio::test]
async fn lists_of_rows_end_without_a_gap_or_a_double() {
    let world = World::new().await;
    let (mut devices, mut certificates, mut tokens) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for number in 0..9 {
        // Every third one comes a day later; those between share their moment.
        world.set_time(day(number / 3));
        let device = world.register(tenant(1), "gateway").await;
        certificates.insert(world.certify(&device, 90, None).await.to_string());
        devices.insert(device.id.to_string());
        tokens.insert(world.issue_token(tenant(1), day(30)).await.0.to_string());
    }
    world.register(tenant(2), "other").await;
    let admin = world.admin();
    for limit in [1, 2, 3, 4, 9, 10, 500] {
        for (path, key, expected) in [
            ("/api/devices", "deviceId", &devices),
            ("/api/devices/by-status/Pending", "deviceId", &devices),
            ("/api/certificates", "serialNumber", &certificates),
            ("/api/registration-tokens", "id", &tokens),
        ] {
            let path = format!("{path}?limit={limit}&tenantId={}", tenant(1));
            assert_complete(&world.pages(&path, &admin, key).await, limit, expected, &path);
        }
    }
    let moments: Vec<_> = world.pages("/api/devices?limit=2", &admin, "registeredAt").await.concat();
    assert!(moments.is_sorted_by(|newer, older| newer >= older), "{moments:?}");
}

#[tokio::test]
async fn a_page_does_not_shift_while_rows_are_added() {
    let world = World::new().await;
    for number in 0..4 {
        world.set_time(day(number));
        world.register(tenant(1), &format!("device {number}")).await;
    }
    let admin = world.admin();
    let first = world.get("/api/devices?limit=2", &admin).await.ok();
    world.set_time(day(5));
    let admin = world.admin();
    world.register(tenant(1), "newcomer").await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = world.get(&format!("/api/devices?limit=2&cursor={cursor}"), &admin).await;
    let names: Vec<_> = second.items().iter().map(|item| item["deviceName"].clone()).collect();
    assert_eq!(names, ["device 1", "device 0"]);
    assert!(second.ok()["nextCursor"].is_null());
}

#[tokio::test]
async fn the_log_is_followed_to_its_end_in_order() {
    let world = World::new().await;
    let mut expected = BTreeSet::new();
    let mut history = BTreeSet::new();
    let (watched, _) = world.enrol(tenant(1), "watched").await;
    history.extend((1..=3).map(|position| position.to_string()));
    for _ in 0..5 {
        world.register(tenant(2), "other").await;
        world.issue_token(tenant(1), day(30)).await;
    }
    let serial = world.certify(&watched, 90, None).await;
    world.revoke_certificate(&watched, serial, "lost").await;
    expected.extend((1..=16).map(|position: u64| position.to_string()));
    history.extend((14..=16).map(|position: u64| position.to_string()));
    let admin = world.admin();
    for limit in [1, 3, 4, 16, 500] {
        let path = format!("/api/events?limit={limit}");
        let pages = world.pages(&path, &admin, "position").await;
        assert_complete(&pages, limit, &expected, &path);
        let positions: Vec<u64> = pages.concat().iter().map(|position| position.parse().unwrap()).collect();
        assert!(positions.is_sorted(), "oldest first");
        let of_device = format!("/api/events?deviceId={}&limit={limit}", watched.id);
        assert_complete(&world.pages(&of_device, &admin, "position").await, limit, &history, &of_device);
        let path = format!("/api/devices/{}/history?limit={limit}", watched.id);
        assert_complete(&world.pages(&path, &admin, "position").await, limit, &history, &path);
    }
    let behind = world.get("/api/events?after=14", &admin).await.items();
    assert_eq!(behind.iter().map(|item| item["position"].as_u64().unwrap()).collect::<Vec<_>>(), [15, 16]);
    assert!(world.get("/api/events?after=18446744073709551615", &admin).await.items().is_empty());
    // The kind of event that the log's own store knows best: the whole certificate, as it was recorded.
    let issued = world.get("/api/events?type=certificate.issued", &admin).await.items();
    assert_eq!(issued.len(), 1);
    let issued: CertificateIssued = serde_json::from_value(issued[0]["data"].clone()).unwrap();
    assert_eq!(issued.intended.serial_number, serial);
}

#[tokio::test]
async fn attempts_end_without_a_gap_or_a_double_newest_first() {
    let world = World::new().await;
    let mut expected = vec![];
    for number in 0..7_u8 {
        let id = Uuid::now_v7();
        let attempt = AuthenticationAttempt {
            id,
            device_id: None,
            tenant_id: None,
            ip_address: IpAddr::from([192, 0, 2, number]),
            user_agent: None,
            timestamp: world.now(),
            success: false,
            method: AuthenticationMethod::ApiKey,
            failure_reason: None,
            failure_code: Some("INVALID_API_KEY".to_owned()),
            api_key_prefix: None,
            certificate_serial_number: None,
            correlation_id: correlation_id(),
            attempts: 1,
        };
        world.audit.record(vec![attempt]).await.unwrap();
        expected.insert(0, id.to_string());
    }
    for limit in [1, 2, 3, 7, 8] {
        let path = format!("/api/authentication-logs?limit={limit}");
        assert_eq!(world.pages(&path, &world.admin(), "id").await.concat(), expected, "{limit}");
    }
}

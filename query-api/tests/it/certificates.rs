//! Certificates: the inventory, the authority's own, and when to renew.

use serde_json::Value;
use signalbeam_domain::SerialNumber;

use crate::world::{As, WINDOW_DAYS, World, day, tenant};

async fn serials(world: &World, query: &str) -> Vec<String> {
    let items = world.get(&format!("/api/certificates{query}"), &world.admin()).await.items();
    items.iter().map(|item| item["serialNumber"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_inventory_tells_where_each_certificate_stands() {
    let world = World::new().await;
    let (device, _) = world.enrol(tenant(1), "one").await;
    let (other, _) = world.enrol(tenant(2), "two").await;
    let (third, _) = world.enrol(tenant(2), "three").await;
    let first = world.certify(&device, 90, None).await;
    let second = world.certify(&device, 80, Some(first)).await;
    let revoked = world.certify(&other, 90, None).await;
    world.revoke_certificate(&other, revoked, "stolen").await;
    let short = world.certify(&third, 5, None).await;
    let of = |serial: SerialNumber| vec![serial.to_string()];
    assert_eq!(serials(&world, "?status=superseded").await, of(first));
    assert_eq!(serials(&world, "?status=revoked").await, of(revoked));
    assert_eq!(serials(&world, "?expiringWithinDays=10").await, of(short));
    assert_eq!(serials(&world, &format!("?status=active&tenantId={}", tenant(1))).await, of(second));
    world.set_time(day(6));
    assert_eq!(serials(&world, "?status=expired").await, of(short));
    assert_eq!(serials(&world, "?status=active").await, of(second));
    let show = |serial: SerialNumber| {
        let world = &world;
        async move { world.get(&format!("/api/certificates/{serial}"), &world.admin()).await.ok() }
    };
    let superseded = show(first).await;
    assert_eq!(superseded["status"], "superseded");
    assert_eq!(superseded["supersededBy"], second.to_string());
    assert_eq!(superseded["revokedAt"], day(0).to_string());
    let stolen = show(revoked).await;
    assert_eq!(stolen["status"], "revoked");
    assert_eq!(stolen["revocationReason"], "stolen");
    assert_eq!(stolen["type"], "Device");
    assert_eq!(stolen["deviceId"], other.id.to_string());
    assert_eq!(stolen["tenantId"], tenant(2).to_string());
    assert!(stolen["fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    let renewed = show(second).await;
    assert_eq!(renewed["renewalOf"], first.to_string());
    assert_eq!(renewed["expiresAt"], day(80).to_string());
    assert!(renewed.get("revokedAt").is_none());
}

#[tokio::test]
async fn a_serial_number_is_read_in_every_spelling() {
    let world = World::new().await;
    let (device, _) = world.enrol(tenant(1), "one").await;
    let serial = world.certify(&device, 90, None).await;
    let upper = serial.to_string().to_uppercase();
    let octets: Vec<_> = upper.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    for spelled in [upper.clone(), octets.join(":"), octets.join("%3A")] {
        let shown = world.get(&format!("/api/certificates/{spelled}"), &world.admin()).await.ok();
        assert_eq!(shown["serialNumber"], serial.to_string(), "{spelled}");
    }
}

#[tokio::test]
async fn a_devices_certificates_are_all_on_one_page() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "one").await;
    let path = format!("/api/certificates/device/{}", device.id);
    assert!(world.get(&path, &key).await.items().is_empty());
    let mut last = None;
    for _ in 0..60 {
        last = Some(world.certify(&device, 90, last).await);
    }
    let answer = world.get(&path, &key).await;
    assert_eq!(answer.items().len(), 60);
    assert!(answer.ok()["nextCursor"].is_null());
    assert_eq!(answer.items().iter().filter(|item| item["status"] == "active").count(), 1);
    let unknown = format!("/api/certificates/device/{}", tenant(9));
    assert_eq!(world.get(&unknown, &world.admin()).await.refusal(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn the_authoritys_certificate_comes_as_pem_or_as_der() {
    let world = World::new().await;
    let get = |accept: &'static str| {
        let world = &world;
        async move {
            let headers: &[_] = if accept.is_empty() { &[] } else { &[("accept", accept)] };
            let answer = world.get_with("/api/certificates/ca", &As::Nobody, headers).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers["vary"], "accept");
            (answer.headers["content-type"].to_str().unwrap().to_owned(), answer.body.to_vec())
        }
    };
    let pem = ("application/x-pem-file".to_owned(), world.authority.certificate_pem().into_bytes());
    let der = ("application/pkix-cert".to_owned(), world.authority.certificate_der().to_vec());
    for accept in ["", "*/*", "text/html, */*", "application/x-pem-file, application/pkix-cert"] {
        assert_eq!(get(accept).await, pem, "{accept}");
    }
    for accept in ["application/pkix-cert", "text/html, Application/PKIX-Cert; q=0.9, */*"] {
        assert_eq!(get(accept).await, der, "{accept}");
    }
}

async fn window(world: &World, serial: SerialNumber) -> (Value, Value) {
    let answer = world.get(&format!("/api/certificates/{serial}/renewal-info"), &As::Nobody).await;
    assert_eq!(answer.headers["retry-after"], "21600");
    let window = answer.ok()["suggestedWindow"].clone();
    (window["start"].clone(), window["end"].clone())
}

#[tokio::test]
async fn a_certificate_is_to_be_renewed_in_its_window_with_time_to_spare() {
    let world = World::new().await;
    let (device, _) = world.enrol(tenant(1), "one").await;
    let serial = world.certify(&device, 90, None).await;
    let ninety = (Value::from(day(60).to_string()), Value::from(day(80).to_string()));
    assert_eq!(window(&world, serial).await, ninety);
    assert_eq!(WINDOW_DAYS, 30);
    let short = world.certify(&device, 3, Some(serial)).await;
    let (start, end) = window(&world, short).await;
    assert_eq!((start, end), (Value::from(day(-27).to_string()), Value::from(day(2).to_string())));
    let (_, end) = window(&world, serial).await;
    assert!(end.as_str().unwrap() <= day(1).to_string().as_str(), "what was superseded is to be replaced at once");
    let unknown = world.get(&format!("/api/certificates/{}/renewal-info", "4a".repeat(20)), &As::Nobody).await;
    assert_eq!(unknown.refusal(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn what_was_asked_for_earlier_than_the_end_demands_is_the_window_then() {
    let world = World::new().await;
    let (device, _) = world.enrol(tenant(1), "one").await;
    let serial = world.certify(&device, 90, None).await;
    world.request_renewal(&device, serial, day(3), day(4)).await;
    assert_eq!(window(&world, serial).await, (Value::from(day(3).to_string()), Value::from(day(4).to_string())));
    let shown = world.get(&format!("/api/certificates/{serial}"), &world.admin()).await.ok();
    assert_eq!(shown["renewalRequestedFrom"], day(3).to_string());
    let (other, _) = world.enrol(tenant(1), "two").await;
    let late = world.certify(&other, 90, None).await;
    world.request_renewal(&other, late, day(70), day(71)).await;
    let regular = (Value::from(day(60).to_string()), Value::from(day(80).to_string()));
    assert_eq!(window(&world, late).await, regular, "its end demands it earlier");
    world.request_renewal(&other, late, day(-9), day(99)).await;
    let bounded = (Value::from(day(0).to_string()), Value::from(day(80).to_string()));
    assert_eq!(window(&world, late).await, bounded, "within its own time");
}

#[tokio::test]
async fn certificates_of_an_authority_that_signs_no_more_are_renewed_within_days() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "one").await;
    let serial = world.certify(&device, 90, None).await;
    let status = format!("/api/devices/{}/registration-status", device.id);
    assert_eq!(world.get(&status, &key).await.ok()["certificate"]["renewalRequired"], false);
    world.set_time(day(10));
    world.rotate_authority().await;
    let (start, end) = window(&world, serial).await;
    assert_eq!((start, end), (Value::from(day(10).to_string()), Value::from(day(17).to_string())));
    assert_eq!(world.get(&status, &key).await.ok()["certificate"]["renewalRequired"], true);
}

#[tokio::test]
async fn every_certificate_has_renewal_information_also_long_after_its_end() {
    let world = World::new().await;
    let (device, _) = world.enrol(tenant(1), "one").await;
    let first = world.certify(&device, 5, None).await;
    let second = world.certify(&device, 10, Some(first)).await;
    world.revoke_certificate(&device, second, "stolen").await;
    let (other, _) = world.enrol(tenant(1), "two").await;
    let expired = world.certify(&other, 5, None).await;
    world.set_time(day(400));
    let (last, _) = world.enrol(tenant(1), "three").await;
    world.certify(&last, 5, None).await;
    assert!(world.index.certificate_by_serial(first).is_none(), "forgotten by now");
    assert_eq!(serials(&world, "").await.len(), 4, "the tables hold them");
    for serial in [first, second, expired] {
        let (_, end) = window(&world, serial).await;
        assert!(end.as_str().unwrap() < day(20).to_string().as_str(), "renew at once");
    }
}

#[tokio::test]
async fn a_certificate_that_turned_up_after_its_time_is_shown_with_the_device_and_in_its_history() {
    let world = World::new().await;
    let (device, key) = world.enrol(tenant(1), "one").await;
    let first = world.certify(&device, 90, None).await;
    let second = world.certify(&device, 90, Some(first)).await;
    world.suspect_reuse(&device, first, second).await;
    let of_device = world.get(&format!("/api/certificates/device/{}", device.id), &key).await.items();
    let suspected: Vec<_> = of_device.iter().filter(|shown| !shown["reuseSuspectedAt"].is_null()).collect();
    assert_eq!(suspected.len(), 1);
    assert_eq!(suspected[0]["serialNumber"], first.to_string());
    let one = world.get(&format!("/api/certificates/{first}"), &world.admin()).await.ok();
    assert_eq!(one["reuseSuspectedAt"], suspected[0]["reuseSuspectedAt"]);
    let history = world.get(&format!("/api/devices/{}/history", device.id), &world.admin()).await.items();
    let event = history.iter().find(|event| event["type"] == "certificate.reuse_suspected").unwrap();
    assert_eq!(event["data"]["successor"], second.to_string());
}

//! Renewals over the real binary: across restarts, for a whole fleet, and by two devices that were made of one image.

use serde_json::json;

use crate::device::{Device, by_certificate, identity};
use crate::keys::key_and_request;
use crate::server::Site;

fn renewal(serial: &str) -> String {
    format!("/api/certificates/{serial}/renew")
}

#[test]
fn a_renewal_whose_answer_was_lost_is_repeated_after_a_crash_and_a_chain_of_them_goes_on() {
    let site = Site::new();
    let server = site.start();
    let device = Device::approved(&server, &server.admin());
    let mut in_hand = device.issue(&server, 20);
    let (mut key, mut request) = key_and_request();
    let lost = by_certificate(&server, &in_hand)
        .post(&renewal(&in_hand.serial_number), &json!({"csrPem": request, "validityDays": 20}))
        .expect(201);
    server.kill();
    server.reap();
    let server = site.start();
    let again = by_certificate(&server, &in_hand).post(&renewal(&in_hand.serial_number), &json!({"csrPem": request}));
    assert_eq!(again.expect(200)["certificatePem"], lost["certificatePem"]);
    let mut next = identity(&lost, &key.serialize_pem());
    device.beat(&by_certificate(&server, &next)).expect(200);
    for _ in 0..2 {
        in_hand = next;
        (key, request) = key_and_request();
        let body = json!({"csrPem": request, "validityDays": 20});
        let first = by_certificate(&server, &in_hand).post(&renewal(&in_hand.serial_number), &body).expect(201);
        let again = by_certificate(&server, &in_hand).post(&renewal(&in_hand.serial_number), &body).expect(200);
        assert_eq!(first, again);
        next = identity(&again, &key.serialize_pem());
        device.beat(&by_certificate(&server, &next)).expect(200);
        device.beat(&by_certificate(&server, &in_hand)).refused(401, "CERTIFICATE_REVOKED");
    }
    let export = site.export();
    assert_eq!(export.iter().filter(|event| event["type"] == "certificate.issued").count(), 4);
    assert!(export.iter().all(|event| event["type"] != "certificate.reuse_suspected"), "it was the device itself");
}

#[test]
fn a_fleet_that_is_told_to_renew_may_do_so_also_after_a_restart() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let certificate = device.issue(&server, 90);
    let path = "/api/certificates/request-renewal";
    let body = json!({"filter": {}, "dryRun": true});
    assert_eq!(admin.post(path, &body).expect(200)["matched"], 1);
    let early = by_certificate(&server, &certificate)
        .post(&renewal(&certificate.serial_number), &json!({"csrPem": key_and_request().1}));
    early.refused(409, "CERTIFICATE_NOT_RENEWABLE");
    let asked = admin.post(path, &json!({"filter": {"deviceIds": [device.id]}, "spreadHours": 1})).expect(200);
    assert_eq!(asked["requested"], 1);
    server.stop();
    let server = site.start();
    let info = format!("/api/certificates/{}/renewal-info", certificate.serial_number);
    let window = server.anonymous().get(&info).expect(200)["suggestedWindow"].clone();
    assert_eq!((&window["start"], &window["end"]), (&asked["windowStart"], &asked["windowEnd"]));
    let by_old = by_certificate(&server, &certificate);
    assert_eq!(device.beat(&by_old).expect(200)["certificate"]["renewalRequired"], true);
    let (key, request) = key_and_request();
    let renewed = by_old.post(&renewal(&certificate.serial_number), &json!({"csrPem": request})).expect(201);
    let renewed = identity(&renewed, &key.serialize_pem());
    let beaten = device.beat(&by_certificate(&server, &renewed)).expect(200);
    assert_eq!(beaten["certificate"]["renewalRequired"], false);
    assert_eq!(server.admin().post(path, &json!({"filter": {}})).expect(200)["requested"], 1, "the successor's turn");
}

#[test]
fn a_clone_that_renews_with_a_key_of_its_own_is_reported_once() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let shared = device.issue(&server, 20);
    let renew = || {
        let body = json!({"csrPem": key_and_request().1});
        by_certificate(&server, &shared).post(&renewal(&shared.serial_number), &body)
    };
    renew().expect(201);
    for _ in 0..2 {
        renew().refused(401, "CERTIFICATE_REVOKED");
    }
    let told = site.export().into_iter().filter(|event| event["type"] == "certificate.reuse_suspected");
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["data"]["how"], "asked_for_another_key");
    assert_eq!(told[0]["data"]["seenFrom"], "127.0.0.1");
    let metrics = server.metrics();
    assert!(metrics.contains("signalbeam_certificate_reuse_suspected_total 1"), "{metrics}");
    let failures = "signalbeam_certificate_renewal_failures_total{code=\"CERTIFICATE_REVOKED\"} 2";
    assert!(metrics.contains(failures), "{metrics}");
    let path = format!("/api/certificates/{}", shared.serial_number);
    let shown = admin.get(&format!("{path}?minPosition={}", told[0]["position"])).expect(200);
    assert!(shown["reuseSuspectedAt"].is_string(), "{shown}");
    assert!(server.site.said().contains("its key is probably held twice"));
}

//! Many for one: a registration token, an approval.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::client::Answer;
use crate::device::{Device, draw_claim_secret, new_token, registration};
use crate::server::Site;

const RACERS: usize = 32;

/// Does the same thing in many threads at the same moment.
fn race(run: impl Fn() -> Answer + Sync) -> BTreeMap<(u16, String), usize> {
    let start = Barrier::new(RACERS);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    run()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let mut outcomes = BTreeMap::new();
    for answer in answers {
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        *outcomes.entry((answer.status, code)).or_default() += 1;
    }
    outcomes
}

#[test]
fn one_of_many_that_race_for_a_token_registers() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let token = new_token(&site, &admin);
    let outcomes = race(|| {
        let body = registration(&token, &draw_claim_secret(&site));
        server.anonymous().post("/api/devices", &body)
    });
    let expected =
        BTreeMap::from([((201, String::new()), 1), ((409, "REGISTRATION_TOKEN_USED".to_owned()), RACERS - 1)]);
    assert_eq!(outcomes, expected);
    let devices = admin.get("/api/devices?limit=500").expect(200);
    assert_eq!(devices["items"].as_array().unwrap().len(), 1);
    let events = site.export();
    assert_eq!(events.iter().filter(|event| event["type"] == "device.registered").count(), 1);
}

#[test]
fn one_of_many_approvals_counts_and_one_certificate_is_active_after_many_are_issued() {
    // More certificates at once than a device may ask for otherwise.
    let site = Site::new().with("rate_limit.issuances_per_device_burst", "100");
    let server = site.start();
    let admin = server.admin();
    let mut device = Device::pending(&server, &admin);
    let outcomes = race(|| admin.post(&device.path("approve"), &json!({})));
    let expected = BTreeMap::from([((200, String::new()), 1), ((409, "INVALID_STATE".to_owned()), RACERS - 1)]);
    assert_eq!(outcomes, expected);

    device.api_key = device.claim(&server).expect(200)["apiKey"].as_str().unwrap().to_owned();
    let issue = format!("/api/certificates/{}/issue", device.id);
    let request = crate::keys::key_and_request().1;
    let outcomes = race(|| device.by_key(&server).post(&issue, &json!({"csrPem": request})));
    // A loser of every round of the race is told so; nothing else may go wrong.
    assert!(outcomes.keys().all(|(status, code)| *status == 201 || code == "CONFLICT"), "{outcomes:?}");
    assert!(outcomes.contains_key(&(201, String::new())));
    let certificates = device.certificates(&admin);
    assert_eq!(certificates.iter().filter(|one| one["status"] == "active").count(), 1);
    assert_eq!(certificates.len(), outcomes[&(201, String::new())], "each 201 is on record, and nothing else");
}

#[test]
fn once_a_suspension_is_recorded_nothing_more_is_issued() {
    let site = Site::new().with("rate_limit.issuances_per_device_burst", "100");
    let server = site.start();
    let admin = server.admin();
    for _ in 0..5 {
        let device = Device::approved(&server, &admin);
        let issue = format!("/api/certificates/{}/issue", device.id);
        let request = crate::keys::key_and_request().1;
        let turn = AtomicUsize::new(0);
        let outcomes = race(|| {
            if turn.fetch_add(1, Ordering::SeqCst) == RACERS / 2 {
                admin.post(&device.path("suspend"), &json!({}))
            } else {
                device.by_key(&server).post(&issue, &json!({"csrPem": request}))
            }
        });
        let is_known = |(status, code): &(u16, String)| {
            matches!(status, 200 | 201) || code == "DEVICE_NOT_APPROVED" || code == "CONFLICT"
        };
        assert!(outcomes.keys().all(is_known), "{outcomes:?}");
        let events = site.export();
        let about = |event: &Value| event["stream"].as_str().unwrap().ends_with(&device.id);
        let suspended = events.iter().position(|event| event["type"] == "device.suspended" && about(event)).unwrap();
        let later = events[suspended..].iter().filter(|event| event["type"] == "certificate.issued" && about(event));
        assert_eq!(later.count(), 0, "{outcomes:?}");
        device.beat(&device.by_key(&server)).refused(403, "DEVICE_NOT_APPROVED");
    }
}

//! A flood of strangers, a limit that changes while the server runs, and a tenant's bounds out of a file.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::device::{Device, OTHER_TENANT, TENANT, by_certificate, draw_claim_secret, new_token, registration};
use crate::server::Site;
use crate::waiting::eventually;

const STRANGERS: usize = 64;
const ATTEMPTS_OF_EACH: usize = 78;
const DEVICES: usize = 4;

/// The value of a series in the metrics.
fn series(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} is missing"));
    line.trim().parse().unwrap()
}

#[test]
fn good_devices_go_on_while_strangers_flood_from_the_same_address() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let devices: Vec<_> = (0..DEVICES).map(|_| Device::approved(&server, &admin)).collect();
    let certificates: Vec<_> = devices.iter().map(|device| device.issue(&server, 90)).collect();
    let (refused, limited, finished) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let victim = devices[0].path("heartbeat");
    std::thread::scope(|scope| {
        for stranger in 0..STRANGERS {
            let (server, victim, refused, limited, finished) = (&server, &victim, &refused, &limited, &finished);
            scope.spawn(move || {
                let key = format!("sb_device_stranger_{}", "A".repeat(43));
                let client = server.anonymous().api_key(&key[..key.len() - stranger % 2]);
                for _ in 0..ATTEMPTS_OF_EACH {
                    let answer = client.post(victim, &json!({}));
                    if answer.status == 429 {
                        answer.refused(429, "RATE_LIMITED");
                        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
                        assert!(answer.header("ratelimit").contains(";r=0;t="), "{answer:?}");
                        limited.fetch_add(1, Ordering::Relaxed);
                    } else {
                        answer.refused(401, "INVALID_API_KEY");
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
                finished.fetch_add(1, Ordering::Relaxed);
            });
        }
        for (device, certificate) in devices.iter().zip(&certificates) {
            let (server, finished) = (&server, &finished);
            scope.spawn(move || {
                let (key, certificate) = (device.by_key(server), by_certificate(server, certificate));
                let mut beats = 0;
                while finished.load(Ordering::Relaxed) < STRANGERS || beats < 20 {
                    device.beat(&key).expect(200);
                    device.beat(&certificate).expect(200);
                    beats += 1;
                }
            });
        }
    });
    let (refused, limited) = (refused.into_inner(), limited.into_inner());
    assert_eq!(refused + limited, STRANGERS * ATTEMPTS_OF_EACH);
    assert!(refused >= 20 && limited > refused, "first 401, then 429: {refused}, {limited}");
    println!("{refused} were answered 401, {limited} 429");
    let metrics = server.metrics();
    let by_client = series(&metrics, "signalbeam_rate_limited_total{limit=\"failed_attempts\"}");
    let by_prefix = series(&metrics, "signalbeam_rate_limited_total{limit=\"failed_attempts_per_credential\"}");
    assert!(by_client > 0 && by_client + by_prefix >= limited as u64);
    assert_eq!(series(&metrics, "signalbeam_requests_shed_total{class=\"ordinary\"}"), 0);
    assert_eq!(server.readiness(), 200);
    Device::approved(&server, &admin);
}

#[test]
fn limits_and_tenants_change_on_a_hangup() {
    let site = Site::new();
    let file = site.data_dir().parent().unwrap().join("signalbeam.toml");
    std::fs::write(&file, "[rate_limit]\nfailed_attempts_burst = 2\nfailed_attempts_per_minute = 1\n").unwrap();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let stranger = || device.beat(&server.anonymous().api_key("wrong")).status;
    assert_eq!([stranger(), stranger(), stranger()], [401, 401, 429]);
    let token = new_token(&site, &admin);
    let claim_secret = draw_claim_secret(&site);
    let register = || server.anonymous().post("/api/devices", &registration(&token, &claim_secret));

    let tenants = format!(
        "[tenants.default]\nmax_devices = 100\n[tenants.'{TENANT}']\nmax_devices = 1\nallowed_networks = ['10.0.0.0/8']\n"
    );
    std::fs::write(&file, format!("[rate_limit]\nenabled = false\n{tenants}")).unwrap();
    server.hang_up();
    eventually("no limit on failures", || (stranger() == 401).then_some(()));
    assert!((0..10).all(|_| stranger() == 401));
    device.beat(&device.by_key(&server)).refused(403, "ADDRESS_NOT_ALLOWED");
    register().refused(403, "ADDRESS_NOT_ALLOWED");
    let elsewhere = admin.post("/api/registration-tokens", &json!({"tenantId": OTHER_TENANT})).expect(201);
    let body = json!({"tenantId": OTHER_TENANT, "token": elsewhere["token"], "deviceName": "other"});
    server.anonymous().post("/api/devices", &body).expect(201);

    std::fs::write(&file, format!("[tenants.'{TENANT}']\nmax_devices = 1\n")).unwrap();
    server.hang_up();
    eventually("no networks", || (device.beat(&device.by_key(&server)).status == 200).then_some(()));
    let problem = register().refused(403, "QUOTA_EXCEEDED");
    assert_eq!((&problem["limit"], &problem["current"]), (&json!(1), &json!(1)));
    std::fs::write(&file, "").unwrap();
    server.hang_up();
    eventually("no quota", || (register().status == 201).then_some(()));
    assert!(!site.said().contains("take a restart"), "{}", site.said());
    let log = device.log(&admin);
    assert!(log.iter().any(|entry| entry["failureCode"] == "ADDRESS_NOT_ALLOWED"), "{log:?}");
}

//! A disk that takes no more bytes: nothing is acknowledged, devices are denied, admins can read, and it passes.

use serde_json::json;

use crate::client::Client;
use crate::device::{Device, TENANT};
use crate::server::{Server, Site};
use crate::waiting::eventually;

#[test]
fn while_nothing_can_be_written_nothing_is_acknowledged_and_afterwards_all_is_well() {
    let site = Site::new().surviving_write_errors();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    device.beat(&device.by_key(&server)).expect(200);
    let before = site.export().len();

    server.limit_files(Some(0));
    let refused = admin.post("/api/registration-tokens", &json!({"tenantId": TENANT}));
    refused.refused(503, "STORE_UNAVAILABLE");
    device.beat(&device.by_key(&server)).refused(503, "AUDIT_UNAVAILABLE");
    let unready = unready(&server);
    assert!(["auditLog", "eventStore"].iter().all(|name| unready.iter().any(|n| n == name)), "{unready:?}");
    admin.get("/api/devices").expect(200);
    admin.get(&format!("/api/devices/{}", device.id)).expect(200);
    admin.get("/api/authentication-logs").expect(200);
    assert_eq!(Client::plain(server.ops_address).get("/health/live").status, 200);

    server.limit_files(None);
    let issued = eventually("it writes again", || {
        let answer = admin.post("/api/registration-tokens", &json!({"tenantId": TENANT}));
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
        (answer.status == 201).then(|| answer.json())
    });
    eventually("devices are let in again", || (device.beat(&device.by_key(&server)).status == 200).then_some(()));
    eventually("it is ready again", || (server.readiness() == 200).then_some(()));
    server.kill();
    server.reap();

    let server = site.start();
    let log = site.export();
    assert_eq!(log.len(), before + 1, "the refused token left nothing behind");
    assert_eq!(log[before]["data"]["tokenId"], issued["id"]);
    for (event, position) in log.iter().zip(1_u64..) {
        assert_eq!(event["position"], position);
    }
    device.beat(&device.by_key(&server)).expect(200);
}

/// The parts that say of themselves that they do not do their work.
fn unready(server: &Server<'_>) -> Vec<String> {
    let answer = Client::plain(server.ops_address).get("/health/ready");
    assert_eq!(answer.status, 503, "{answer:?}");
    let components = answer.json()["components"].as_object().unwrap().clone();
    components.into_iter().filter(|(_, part)| part["ready"] == false).map(|(name, _)| name).collect()
}

//! What a running server counts of its devices' credentials.

use serde_json::json;

use crate::device::Device;
use crate::server::Site;
use crate::waiting::eventually;

#[test]
fn what_devices_do_is_counted_and_survives_a_restart() {
    let site = Site::new();
    let device = {
        let server = site.start();
        let device = Device::approved(&server, &server.admin());
        for _ in 0..3 {
            server.anonymous().api_key(&device.api_key).post(&device.path("heartbeat"), &json!({})).expect(200);
        }
        server.stop();
        device
    };
    let server = site.start();
    let admin = server.admin();
    let shown = eventually("the heartbeats are counted", || {
        let shown = admin.get(&device.path("usage")).expect(200);
        (shown["days"][0]["successes"] == 3).then_some(shown)
    });
    assert_eq!(shown["lastAuthenticationMethod"], "ApiKey");
    assert!(device.api_key.contains(shown["credentials"][0]["credential"].as_str().unwrap()));
    let listed = admin.get("/api/devices").expect(200);
    assert_eq!(listed["items"][0]["lastSeenAt"], shown["lastSeenAt"]);
    assert_eq!(admin.get("/api/usage").expect(200)["days"][0]["successes"], 3);
    server.stop();
}

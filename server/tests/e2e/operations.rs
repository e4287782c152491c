//! The operations listener: every metric family from the start, and no label that a stranger can choose.

use serde_json::json;

use crate::device::{Device, TENANT, by_certificate};
use crate::server::Site;
use crate::waiting::eventually;

const FAMILIES: [(&str, &str); 20] = [
    ("signalbeam_certificates_issued_total", "counter"),
    ("signalbeam_certificates_renewed_total", "counter"),
    ("signalbeam_certificates_revoked_total", "counter"),
    ("signalbeam_certificates_expiring_count", "gauge"),
    ("signalbeam_certificate_renewal_notifications_sent_total", "counter"),
    ("signalbeam_authentication_method_total", "counter"),
    ("signalbeam_certificate_validation_duration_seconds", "histogram"),
    ("signalbeam_ca_errors_total", "counter"),
    ("signalbeam_authentication_failures_total", "counter"),
    ("signalbeam_projection_lag_events", "gauge"),
    ("signalbeam_projection_lag_seconds", "gauge"),
    ("signalbeam_event_append_duration_seconds", "histogram"),
    ("signalbeam_events_appended_total", "counter"),
    ("signalbeam_devices_count", "gauge"),
    ("signalbeam_certificates_active_count", "gauge"),
    ("signalbeam_certificate_renewal_failures_total", "counter"),
    ("signalbeam_http_request_duration_seconds", "histogram"),
    ("signalbeam_rate_limited_total", "counter"),
    ("signalbeam_requests_shed_total", "counter"),
    ("signalbeam_tls_handshake_failures_total", "counter"),
];

#[test]
fn every_family_is_there_from_the_start_with_its_counters_at_zero() {
    let site = Site::new();
    let server = site.start();
    let metrics = server.metrics();
    for (name, kind) in FAMILIES {
        assert!(metrics.contains(&format!("# TYPE {name} {kind}")), "{name} is missing in\n{metrics}");
    }
    for series in [
        "signalbeam_certificates_issued_total 0",
        "signalbeam_authentication_method_total{method=\"certificate\",result=\"success\"} 0",
        "signalbeam_authentication_method_total{method=\"apikey\",result=\"failure\"} 0",
        "signalbeam_certificates_expiring_count{threshold=\"30d\"} 0",
        "signalbeam_background_task_restarts_total{task=\"log_guard\"} 0",
        "signalbeam_authentication_failures_total{code=\"REGISTRATION_TOKEN_USED\"} 0",
    ] {
        assert!(metrics.lines().any(|line| line == series), "{series} is missing in\n{metrics}");
    }
}

#[test]
fn metrics_count_what_happens_and_carry_nothing_that_a_caller_chose() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 20);
    device.beat(&by_certificate(&server, &identity)).expect(200);
    device.beat(&device.by_key(&server)).expect(200);
    let stranger = server.anonymous().header("x-correlation-id", "CHOSEN-id").header("user-agent", "CHOSEN-agent");
    stranger
        .api_key("sb_device_CHOSENxx_A")
        .post(&device.path("heartbeat"), &json!({}))
        .refused(401, "INVALID_API_KEY");
    stranger.get("/CHOSEN-path?x=CHOSEN-query").refused(404, "NOT_FOUND");
    let method = http::Method::from_bytes(b"CHOSEN").unwrap();
    let odd = crate::wire::config(&site.ca_pem(), None, &[&rustls::version::TLS13]);
    let mut wire = crate::wire::Wire::open(server.address, &odd).unwrap();
    wire.send(format!("{method} /api/devices HTTP/1.1\r\nhost: CHOSEN-host\r\n\r\n").as_bytes()).unwrap();
    wire.answer().unwrap().refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(admin.delete(&format!("/api/certificates/{}", identity.serial_number)).status, 204);

    let metrics = eventually("the gauges have followed", || {
        let metrics = server.metrics();
        let devices = metrics.contains("signalbeam_devices_count{status=\"Approved\"} 1");
        let certificates = metrics.contains("signalbeam_certificates_expiring_count{threshold=\"30d\"} 0");
        (devices && certificates).then_some(metrics)
    });
    for series in [
        "signalbeam_certificates_issued_total 1",
        "signalbeam_certificates_revoked_total 1",
        "signalbeam_authentication_method_total{method=\"certificate\",result=\"success\"} 1",
        "signalbeam_authentication_failures_total{code=\"INVALID_API_KEY\"} 1",
    ] {
        assert!(metrics.lines().any(|line| line == series), "{series} is missing in\n{metrics}");
    }
    for chosen in ["CHOSEN", device.id.as_str(), &identity.serial_number, "warehouse", "127.0.0.1"] {
        assert!(!metrics.contains(chosen), "{chosen} in\n{metrics}");
    }
    // The tenant is an admin's choice, and bounded; no other family may carry it.
    let with_tenant = metrics.lines().filter(|line| line.contains(TENANT));
    assert!(with_tenant.into_iter().all(|line| line.starts_with("signalbeam_certificates_active_count")));
}

#[test]
fn the_operations_listener_serves_nothing_else_and_the_api_serves_no_metrics() {
    let site = Site::new();
    let server = site.start();
    let ops = crate::client::Client::plain(server.ops_address);
    assert_eq!(ops.get("/health/live").status, 200);
    let ready = ops.get("/health/ready").expect(200);
    assert_eq!(ready["status"], "ready", "{ready}");
    assert_eq!(ops.get("/api/devices").status, 404);
    for path in ["/metrics", "/health/ready", "/health/live"] {
        server.anonymous().get(path).refused(404, "NOT_FOUND");
    }
}

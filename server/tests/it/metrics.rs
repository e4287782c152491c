//! Every metric family is there before anything has happened.

use signalbeam_server::metrics;

#[test]
fn every_family_is_there_from_the_start_and_counters_are_zero() {
    let rendered = metrics::install().unwrap().render();
    for family in [
        "signalbeam_certificates_issued_total 0",
        "signalbeam_certificates_renewed_total 0",
        "signalbeam_certificates_revoked_total 0",
        "signalbeam_certificates_expiring_count{threshold=\"1d\"} 0",
        "signalbeam_certificates_expiring_count{threshold=\"90d\"} 0",
        "signalbeam_certificate_renewal_notifications_sent_total 0",
        "signalbeam_authentication_method_total{method=\"certificate\",result=\"success\"} 0",
        "signalbeam_authentication_method_total{method=\"apikey\",result=\"failure\"} 0",
        "signalbeam_certificate_validation_duration_seconds_count 0",
        "signalbeam_ca_errors_total 0",
        "signalbeam_authentication_failures_total{code=\"CERTIFICATE_REVOKED\"} 0",
        "signalbeam_projection_lag_events{projection=\"directory\"} 0",
        "signalbeam_projection_lag_seconds{projection=\"credential_index\"} 0",
        "signalbeam_event_append_duration_seconds_count 0",
        "signalbeam_events_appended_total{category=\"device\"} 0",
        "signalbeam_devices_count{status=\"Pending\"} 0",
        "# TYPE signalbeam_certificates_active_count gauge",
        "signalbeam_certificate_renewal_failures_total{code=\"CERTIFICATE_NOT_RENEWABLE\"} 0",
        "# TYPE signalbeam_http_request_duration_seconds histogram",
        "signalbeam_unrecorded_certificates_total 0",
        "signalbeam_log_rolled_back 0",
        "signalbeam_crl_number 0",
        "signalbeam_crl_entries 0",
        "signalbeam_crl_this_update_timestamp_seconds 0",
        "signalbeam_crl_next_update_timestamp_seconds 0",
        "signalbeam_rate_limited_total{limit=\"failed_attempts\"} 0",
        "signalbeam_rate_limited_total{limit=\"tenant_requests\"} 0",
        "signalbeam_requests_shed_total{class=\"ordinary\"} 0",
        "signalbeam_requests_shed_total{class=\"costly\"} 0",
        "signalbeam_authentication_failures_total{code=\"ADDRESS_NOT_ALLOWED\"} 0",
        "signalbeam_tls_handshake_failures_total{reason=\"timeout\"} 0",
    ] {
        assert!(rendered.contains(family), "{family} is missing in\n{rendered}");
    }
    assert!(
        !rendered.contains("AUTHENTICATION_REQUIRED"),
        "who presents nothing has not attempted anything\n{rendered}"
    );
}

//! Every metric there is: its name, its help, its buckets, and the series that exist before anything has happened.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use signalbeam_authn::limits::Limit;
use signalbeam_authn::{ErrorCode, UNRECORDED_CERTIFICATES};
use signalbeam_domain::Category;
use signalbeam_pki::ocsp::OcspFailure;
use signalbeam_projections::DIRECTORY;

use crate::http::shedding::CLASSES;

/// Handshakes that came to nothing, by reason.
pub const HANDSHAKE_FAILURES: &str = "signalbeam_tls_handshake_failures_total";
/// How long answering took, by route, method and status.
pub const HTTP_DURATION: &str = "signalbeam_http_request_duration_seconds";
/// How many background tasks had to be started again, by task.
pub const TASK_RESTARTS: &str = "signalbeam_background_task_restarts_total";

/// 1 while the event log is found to have gone back and nobody has acknowledged it, else 0.
pub const LOG_ROLLED_BACK: &str = "signalbeam_log_rolled_back";

/// By how many events a projection is behind.
pub const LAG_EVENTS: &str = "signalbeam_projection_lag_events";
/// By how much time a projection is behind.
pub const LAG_SECONDS: &str = "signalbeam_projection_lag_seconds";
/// Requests that were sent away because too many were being answered, by class.
pub const REQUESTS_SHED: &str = "signalbeam_requests_shed_total";
/// The projections that there are, as the metrics name them.
pub const PROJECTIONS: &[&str] = &[DIRECTORY, CREDENTIAL_INDEX];
/// What the authentication path reads.
pub const CREDENTIAL_INDEX: &str = "credential_index";

/// A family, its help, and the series that exist from the start: a label's name and its values, or one series without.
struct Family {
    name: &'static str,
    help: &'static str,
    label: Option<(&'static str, &'static [&'static str])>,
}

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help, label: None }
}

const fn labelled(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: &'static [&'static str],
) -> Family {
    Family { name, help, label: Some((label, values)) }
}

/// Every code that an authentication can fail with. Who presents nothing has not attempted one.
const FAILURE_CODES: &[&str] = &[
    ErrorCode::CertificateExpired.as_str(),
    ErrorCode::CertificateNotYetValid.as_str(),
    ErrorCode::InvalidCertificateChain.as_str(),
    ErrorCode::CertificateNotFound.as_str(),
    ErrorCode::CertificateRevoked.as_str(),
    ErrorCode::DeviceNotApproved.as_str(),
    ErrorCode::InvalidApiKey.as_str(),
    ErrorCode::ApiKeyExpired.as_str(),
    ErrorCode::ApiKeyRevoked.as_str(),
    ErrorCode::InvalidToken.as_str(),
    ErrorCode::IdentityProviderUnavailable.as_str(),
    ErrorCode::InvalidRegistrationToken.as_str(),
    ErrorCode::RegistrationTokenUsed.as_str(),
    ErrorCode::RegistrationTokenExpired.as_str(),
    ErrorCode::RegistrationTokenRevoked.as_str(),
    ErrorCode::InvalidClaimSecret.as_str(),
    ErrorCode::AddressNotAllowed.as_str(),
    ErrorCode::RateLimited.as_str(),
    // A good credential whose first use could not be made durable, or not be seen in time.
    ErrorCode::StoreUnavailable.as_str(),
    ErrorCode::AuthStateStale.as_str(),
];
const RENEWAL_FAILURE_CODES: &[&str] = &[
    ErrorCode::CertificateNotRenewable.as_str(),
    ErrorCode::CertificateRevoked.as_str(),
    ErrorCode::CsrRequired.as_str(),
    ErrorCode::InvalidCsr.as_str(),
    ErrorCode::WeakKey.as_str(),
    ErrorCode::SigningUnavailable.as_str(),
];
/// What OCSP answers say, and where answers come from that say so.
const OCSP_ANSWERS: &[(&str, &[&str])] = &[
    ("good", &["cached", "signed"]),
    ("revoked", &["cached", "signed"]),
    ("unknown", &["cached", "signed"]),
    (OcspFailure::MalformedRequest.as_str(), &["unsigned"]),
    (OcspFailure::InternalError.as_str(), &["unsigned"]),
    (OcspFailure::TryLater.as_str(), &["unsigned"]),
    (OcspFailure::Unauthorized.as_str(), &["unsigned"]),
];
const EXPIRY_THRESHOLDS: &[&str] = &["1d", "3d", "7d", "14d", "30d", "60d", "90d"];
const DEVICE_STATUSES: &[&str] = &["Pending", "Approved", "Rejected", "Suspended", "Decommissioned"];

const COUNTERS: &[Family] = &[
    family("signalbeam_certificates_issued_total", "Certificates issued, renewals included."),
    family("signalbeam_certificates_renewed_total", "Certificates issued in the place of an older one."),
    family("signalbeam_certificates_revoked_total", "Certificates revoked by an admin."),
    family("signalbeam_certificate_renewal_notifications_sent_total", "Notices that a certificate should be renewed."),
    labelled(
        "signalbeam_certificate_renewal_failures_total",
        "Renewals that were refused or failed, by code.",
        "code",
        RENEWAL_FAILURE_CODES,
    ),
    family(
        "signalbeam_certificate_reuse_suspected_total",
        "Superseded certificates that turned up: their keys are probably held twice.",
    ),
    labelled(
        "signalbeam_authentication_failures_total",
        "Authentication attempts that failed, by code.",
        "code",
        FAILURE_CODES,
    ),
    labelled(
        "signalbeam_oidc_key_fetches_total",
        "Times that the OIDC issuer was asked for its keys, by result.",
        "result",
        &["success", "failure"],
    ),
    family("signalbeam_ca_errors_total", "Failures of the certificate authority or its key store."),
    labelled(
        HANDSHAKE_FAILURES,
        "TLS handshakes that failed, by reason.",
        "reason",
        &["proxy_header", "refused", "timeout"],
    ),
    family(
        UNRECORDED_CERTIFICATES,
        "Certificates presented that our authority signed and the event log does not know.",
    ),
    labelled("signalbeam_rate_limited_total", "Requests beyond a limit, by limit.", "limit", Limit::NAMES),
    labelled(REQUESTS_SHED, "Requests sent away because too many were being answered.", "class", CLASSES),
];

const GAUGES: &[Family] = &[
    labelled(
        "signalbeam_certificates_expiring_count",
        "Active certificates that end within the threshold.",
        "threshold",
        EXPIRY_THRESHOLDS,
    ),
    labelled("signalbeam_devices_count", "Devices, by status.", "status", DEVICE_STATUSES),
    labelled("signalbeam_certificates_active_count", "Active certificates, by tenant.", "tenant_id", &["other"]),
    family(LOG_ROLLED_BACK, "1 while the event log has gone back and that is not acknowledged: no device is let in."),
    labelled(LAG_EVENTS, "Events that a projection has still to apply.", "projection", PROJECTIONS),
    labelled(LAG_SECONDS, "How long ago a projection last knew that it was up to date.", "projection", PROJECTIONS),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("signalbeam_certificate_validation_duration_seconds", "How long judging a client certificate took."),
    ("signalbeam_event_append_duration_seconds", "How long an append took until it was durable."),
    (HTTP_DURATION, "How long answering a request took."),
];

/// Bounds from 10 us (a certificate's verdict from memory) to 10 s.
const BUCKETS_SECONDS: &[f64] = &[
    0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Makes the process's recorder, or finds the one that is there, and brings every family into being.
///
/// # Errors
/// [`BuildError`] where something else has installed a recorder.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: std::sync::Mutex<Option<PrometheusHandle>> = std::sync::Mutex::new(None);
    let mut installed = HANDLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handle) = installed.as_ref() {
        return Ok(handle.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for (name, _) in HISTOGRAMS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), BUCKETS_SECONDS)?;
    }
    let handle = builder.install_recorder()?;
    bring_into_being();
    *installed = Some(handle.clone());
    Ok(handle)
}

fn bring_into_being() {
    for family in COUNTERS {
        describe_counter!(family.name, family.help);
        let Some((label, values)) = family.label else {
            counter!(family.name).absolute(0);
            continue;
        };
        for value in values {
            counter!(family.name, label => *value).absolute(0);
        }
    }
    describe_counter!("signalbeam_authentication_method_total", "Authentication attempts, by method and result.");
    for method in ["certificate", "apikey"] {
        for result in ["success", "failure"] {
            let labels = [("method", method), ("result", result)];
            counter!("signalbeam_authentication_method_total", &labels).absolute(0);
        }
    }
    describe_counter!(
        "signalbeam_ocsp_answers_total",
        "OCSP answers, by what they say of a certificate or why they say nothing, and where they came from."
    );
    for (status, sources) in OCSP_ANSWERS {
        for source in *sources {
            let labels = [("status", *status), ("source", *source)];
            counter!("signalbeam_ocsp_answers_total", &labels).absolute(0);
        }
    }
    describe_counter!("signalbeam_events_appended_total", "Events appended to the log, by category.");
    for category in Category::ALL {
        counter!("signalbeam_events_appended_total", "category" => category.as_str()).absolute(0);
    }
    for family in GAUGES {
        describe_gauge!(family.name, family.help);
        let Some((label, values)) = family.label else {
            gauge!(family.name).set(0.0);
            continue;
        };
        for value in values {
            gauge!(family.name, label => *value).set(0.0);
        }
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(*name, Unit::Seconds, *help);
    }
    // A histogram without labels is there as soon as it is registered; the one with labels at its first request.
    let _validation = histogram!("signalbeam_certificate_validation_duration_seconds");
    let _append = histogram!("signalbeam_event_append_duration_seconds");
    let labels = [("route", "unmatched"), ("method", "other"), ("status", "404")];
    let _http = histogram!(HTTP_DURATION, &labels);
    describe_counter!(TASK_RESTARTS, "Background tasks started again after a failure, by task.");
}

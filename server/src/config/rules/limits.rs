//! The bounds of limits themselves.

use super::super::sections::{RateLimit, Tenants};
use super::{Broken, within};

/// The most networks of a tenant.
const MAX_NETWORKS: usize = 256;
const MAX_REQUESTS_PER_SECOND: u64 = 1_000_000;

pub(super) fn rate_limit(limit: &RateLimit, found: &mut Vec<Broken>) {
    let RateLimit {
        enabled: _,
        failed_attempts_burst,
        failed_attempts_per_minute,
        failed_attempts_per_credential_burst,
        failed_attempts_per_credential_per_minute,
        registrations_burst,
        registrations_per_minute,
        claims_burst,
        claims_per_minute,
        issuances_per_device_burst,
        issuances_per_device_per_hour,
        public_requests_per_minute,
        ocsp_signatures_burst,
        ocsp_signatures_per_minute,
        max_tracked_keys,
    } = *limit;
    for (key, number) in [
        ("rate_limit.failed_attempts_burst", failed_attempts_burst),
        ("rate_limit.failed_attempts_per_minute", failed_attempts_per_minute),
        ("rate_limit.failed_attempts_per_credential_burst", failed_attempts_per_credential_burst),
        ("rate_limit.failed_attempts_per_credential_per_minute", failed_attempts_per_credential_per_minute),
        ("rate_limit.registrations_burst", registrations_burst),
        ("rate_limit.registrations_per_minute", registrations_per_minute),
        ("rate_limit.claims_burst", claims_burst),
        ("rate_limit.claims_per_minute", claims_per_minute),
        ("rate_limit.issuances_per_device_burst", issuances_per_device_burst),
        ("rate_limit.issuances_per_device_per_hour", issuances_per_device_per_hour),
        ("rate_limit.ocsp_signatures_burst", ocsp_signatures_burst),
        ("rate_limit.ocsp_signatures_per_minute", ocsp_signatures_per_minute),
    ] {
        within(key, number, 1..=1_000_000, found);
    }
    within("rate_limit.public_requests_per_minute", public_requests_per_minute, 0..=1_000_000, found);
    within("rate_limit.max_tracked_keys", max_tracked_keys, 1_024..=1_048_576, found);
}

pub(super) fn tenants(tenants: &Tenants, found: &mut Vec<Broken>) {
    let bounds = &tenants.default;
    within("tenants.default.requests_per_second", bounds.requests_per_second, 0..=MAX_REQUESTS_PER_SECOND, found);
    let networks = bounds.allowed_networks.len();
    if networks > MAX_NETWORKS {
        let allowed = format!("at most {MAX_NETWORKS} networks");
        found.push(("tenants.default.allowed_networks", format!("{networks} networks"), allowed));
    }
}

/// The same of single tenants, each named by its own key.
pub(super) fn overrides(tenants: &Tenants) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (tenant, own) in &tenants.overrides {
        if let Some(requests) = own.requests_per_second.filter(|own| u64::from(*own) > MAX_REQUESTS_PER_SECOND) {
            let key = format!("tenants.{tenant}.requests_per_second");
            found.push((key, requests.to_string(), format!("0 to {MAX_REQUESTS_PER_SECOND}")));
        }
        let networks = own.allowed_networks.as_ref().map_or(0, Vec::len);
        if networks > MAX_NETWORKS {
            let key = format!("tenants.{tenant}.allowed_networks");
            found.push((key, format!("{networks} networks"), format!("at most {MAX_NETWORKS} networks")));
        }
    }
    found
}

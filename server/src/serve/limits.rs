//! The limits as they are configured, and put in force again while the server runs.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use signalbeam_authn::limits::quota::Quota;
use signalbeam_authn::limits::tenants::{TenantBounds, TenantPolicy};
use signalbeam_authn::limits::{LimitSettings, Limits};

use crate::config::{self, Config};
use crate::http::shedding::Shedding;

pub(super) fn limits(config: &Config) -> Limits {
    Limits::new(settings(&config.rate_limit), tenants(&config.tenants))
}

pub(super) fn shedding(config: &Config, limits: Arc<Limits>) -> Shedding {
    let (ordinary, costly) = concurrency(config);
    Shedding::new(ordinary, costly, limits)
}

pub(super) fn put_in_force(config: &Config, limits: &Limits, shedding: &Shedding) {
    limits.reconfigure(settings(&config.rate_limit), tenants(&config.tenants));
    let (ordinary, costly) = concurrency(config);
    shedding.set(ordinary, costly);
}

fn concurrency(config: &Config) -> (usize, usize) {
    let listener = &config.listener;
    (listener.max_concurrent_requests as usize, listener.max_concurrent_costly_requests as usize)
}

fn settings(limit: &config::RateLimit) -> Option<LimitSettings> {
    let per_credential = (limit.failed_attempts_per_credential_burst, limit.failed_attempts_per_credential_per_minute);
    let hour = Duration::from_hours(1);
    let public = limit.public_requests_per_minute;
    limit.enabled.then(|| LimitSettings {
        failed_attempts: Quota::per_minute(limit.failed_attempts_burst, limit.failed_attempts_per_minute),
        failed_attempts_per_credential: Quota::per_minute(per_credential.0, per_credential.1),
        registrations: Quota::per_minute(limit.registrations_burst, limit.registrations_per_minute),
        claims: Quota::per_minute(limit.claims_burst, limit.claims_per_minute),
        issuances_per_device: Quota::new(limit.issuances_per_device_burst, limit.issuances_per_device_per_hour, hour),
        ocsp_signatures: Quota::per_minute(limit.ocsp_signatures_burst, limit.ocsp_signatures_per_minute),
        public_requests: NonZeroU32::new(public).map(|rate| Quota::per_minute(rate.get(), rate.get())),
        max_tracked_keys: limit.max_tracked_keys as usize,
    })
}

fn tenants(tenants: &config::Tenants) -> TenantPolicy {
    TenantPolicy {
        default: bounds(tenants.default.clone()),
        overrides: tenants.overrides.iter().map(|(id, own)| (*id, bounds(own.over(&tenants.default)))).collect(),
    }
}

fn bounds(configured: config::TenantBounds) -> TenantBounds {
    let some = |number: u32| NonZeroU32::new(number).map(NonZeroU32::get);
    TenantBounds {
        max_devices: some(configured.max_devices),
        max_active_tokens: some(configured.max_active_tokens),
        requests_per_second: some(configured.requests_per_second),
        allowed_networks: configured.allowed_networks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_default_here_is_the_default_there() {
        assert_eq!(settings(&config::RateLimit::default()), Some(LimitSettings::default()));
        assert_eq!(tenants(&config::Tenants::default()), TenantPolicy::default());
        let off = config::RateLimit { enabled: false, ..config::RateLimit::default() };
        assert_eq!(settings(&off), None);
    }
}

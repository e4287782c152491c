//! `[rate_limit]`: how often clients and devices may do what costs something.

use serde::{Deserialize, Serialize};

/// `[rate_limit]`: a burst at once, and so many more in each minute. A client is an IPv4 address or an IPv6 /64. Takes
/// effect on SIGHUP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateLimit {
    /// Whether there are limits. The bounds of tenants hold in any case.
    /// `SIGNALBEAM__RATE_LIMIT__ENABLED`, default `true`.
    pub enabled: bool,
    /// Failed attempts to authenticate of one client at once, 1 to 1,000,000. Whoever authenticates is never refused for
    /// them. `SIGNALBEAM__RATE_LIMIT__FAILED_ATTEMPTS_BURST`, default `600`.
    pub failed_attempts_burst: u32,
    /// Failed attempts of one client in each minute, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__FAILED_ATTEMPTS_PER_MINUTE`, default `300`.
    pub failed_attempts_per_minute: u32,
    /// Failed attempts with one prefix of an API key or a registration token at once, from wherever, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__FAILED_ATTEMPTS_PER_CREDENTIAL_BURST`, default `300`.
    pub failed_attempts_per_credential_burst: u32,
    /// Failed attempts with one prefix in each minute, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__FAILED_ATTEMPTS_PER_CREDENTIAL_PER_MINUTE`, default `60`.
    pub failed_attempts_per_credential_per_minute: u32,
    /// Registrations from one client at once, 1 to 1,000,000: a factory enrols a batch from one address.
    /// `SIGNALBEAM__RATE_LIMIT__REGISTRATIONS_BURST`, default `1000`.
    pub registrations_burst: u32,
    /// Registrations from one client in each minute, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__REGISTRATIONS_PER_MINUTE`, default `600`.
    pub registrations_per_minute: u32,
    /// Claims of API keys from one client at once, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__CLAIMS_BURST`, default `1000`.
    pub claims_burst: u32,
    /// Claims of API keys from one client in each minute, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__CLAIMS_PER_MINUTE`, default `600`.
    pub claims_per_minute: u32,
    /// API keys and certificates that one device gets at once, 1 to 1,000,000. Repetitions of a lost answer do not count.
    /// `SIGNALBEAM__RATE_LIMIT__ISSUANCES_PER_DEVICE_BURST`, default `60`.
    pub issuances_per_device_burst: u32,
    /// API keys and certificates that one device gets in each hour, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__ISSUANCES_PER_DEVICE_PER_HOUR`, default `60`.
    pub issuances_per_device_per_hour: u32,
    /// Requests that need no credential (certificate of the authority, renewal information, documentation) of one client
    /// in each minute, and at once, 0 to 1,000,000; 0 for no limit.
    /// `SIGNALBEAM__RATE_LIMIT__PUBLIC_REQUESTS_PER_MINUTE`, default `0`.
    pub public_requests_per_minute: u32,
    /// OCSP answers that are signed for one client at once, 1 to 1,000,000: those with a nonce, about several
    /// certificates, or not kept from before. `SIGNALBEAM__RATE_LIMIT__OCSP_SIGNATURES_BURST`, default `6000`.
    pub ocsp_signatures_burst: u32,
    /// OCSP answers that are signed for one client in each minute, 1 to 1,000,000.
    /// `SIGNALBEAM__RATE_LIMIT__OCSP_SIGNATURES_PER_MINUTE`, default `6000`.
    pub ocsp_signatures_per_minute: u32,
    /// How many clients, prefixes, devices and tenants each limit remembers, 1,024 to 1,048,576; some 100 bytes each.
    /// Beyond it, those that have used up least are forgotten.
    /// `SIGNALBEAM__RATE_LIMIT__MAX_TRACKED_KEYS`, default `65536`.
    pub max_tracked_keys: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            enabled: true,
            failed_attempts_burst: 600,
            failed_attempts_per_minute: 300,
            failed_attempts_per_credential_burst: 300,
            failed_attempts_per_credential_per_minute: 60,
            registrations_burst: 1_000,
            registrations_per_minute: 600,
            claims_burst: 1_000,
            claims_per_minute: 600,
            issuances_per_device_burst: 60,
            issuances_per_device_per_hour: 60,
            public_requests_per_minute: 0,
            ocsp_signatures_burst: 6_000,
            ocsp_signatures_per_minute: 6_000,
            max_tracked_keys: 65_536,
        }
    }
}

//! Who is refused by which limit, and who is not.

use std::net::IpAddr;

use super::tenants::TenantBounds;
use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn invalid_key() -> Problem {
    Problem::new(ErrorCode::InvalidApiKey, "the API key is not valid")
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// Quotas that do not refill while a test runs.
fn strict() -> LimitSettings {
    let hourly = |burst| Quota::new(burst, 1, Duration::from_hours(1));
    LimitSettings {
        failed_attempts: hourly(4),
        failed_attempts_per_credential: hourly(2),
        registrations: hourly(2),
        claims: hourly(2),
        issuances_per_device: hourly(3),
        ocsp_signatures: hourly(2),
        public_requests: Some(hourly(1)),
        max_tracked_keys: 1_024,
    }
}

fn limits() -> Limits {
    Limits::new(Some(strict()), TenantPolicy::default())
}

#[test]
fn failures_are_answered_as_such_until_the_client_has_had_its_share() {
    let limits = limits();
    let here = address("192.0.2.1");
    let codes: Vec<_> = (0..6).map(|_| limits.failed(here, None, invalid_key()).code()).collect();
    assert_eq!(codes[..4], [ErrorCode::InvalidApiKey; 4]);
    assert_eq!(codes[4..], [ErrorCode::RateLimited; 2]);
    assert_eq!(limits.failed(address("192.0.2.2"), None, invalid_key()).code(), ErrorCode::InvalidApiKey);
    assert_eq!(limits.failed(address("::ffff:192.0.2.1"), None, invalid_key()).code(), ErrorCode::RateLimited);
}

#[test]
fn whoever_tries_one_prefix_from_many_places_is_limited_too() {
    let limits = limits();
    let attempt =
        |n: u8, tried: &str| limits.failed(address(&format!("192.0.2.{n}")), Some(prefix(tried)), invalid_key()).code();
    assert_eq!(attempt(1, "aaaaaaaa"), ErrorCode::InvalidApiKey);
    assert_eq!(attempt(2, "aaaaaaaa"), ErrorCode::InvalidApiKey);
    assert_eq!(attempt(3, "aaaaaaaa"), ErrorCode::RateLimited);
    assert_eq!(attempt(3, "bbbbbbbb"), ErrorCode::InvalidApiKey);
}

#[test]
fn a_genuine_credential_is_always_told_what_stands_against_it() {
    let limits = limits();
    let here = address("192.0.2.1");
    let last = (0..10).map(|_| limits.failed(here, None, invalid_key()).code()).last();
    assert_eq!(last, Some(ErrorCode::RateLimited));
    for code in [
        ErrorCode::DeviceNotApproved,
        ErrorCode::AddressNotAllowed,
        ErrorCode::RegistrationTokenUsed,
        ErrorCode::CertificateRevoked,
        ErrorCode::ApiKeyRevoked,
        ErrorCode::ApiKeyExpired,
    ] {
        assert_eq!(limits.failed(here, None, Problem::new(code, "x")).code(), code);
    }
}

#[test]
fn no_more_is_hashed_at_once_than_may_fail() {
    let limits = limits();
    let here = address("192.0.2.1");
    let (first, second) =
        (limits.before_hashing(here, prefix("aaaaaaaa")), limits.before_hashing(here, prefix("aaaaaaaa")));
    let refused = limits.before_hashing(here, prefix("aaaaaaaa")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RateLimited);
    assert_eq!(limits.before_hashing(address("192.0.2.9"), prefix("aaaaaaaa")).unwrap_err().code(), refused.code());
    first.unwrap().judged();
    limits.before_hashing(here, prefix("aaaaaaaa")).unwrap().judged();
    // Whoever goes away before the answer has had its try.
    drop(second.unwrap());
    let failed = limits.failed(here, Some(prefix("aaaaaaaa")), invalid_key());
    assert_eq!(failed.code(), ErrorCode::InvalidApiKey, "one went away, one failed: that was all");
    limits.before_hashing(here, prefix("aaaaaaaa")).unwrap_err();
    limits.before_hashing(here, prefix("bbbbbbbb")).unwrap().judged();
}

#[test]
fn registrations_claims_and_issuances_have_limits_of_their_own() {
    let limits = limits();
    let here = address("2001:db8::1");
    let device = DeviceId::parse("018f3c5e-7b1a-7cc2-9d3e-0123456789ab").unwrap();
    limits.registration(here).unwrap();
    limits.registration(address("2001:db8::2")).unwrap();
    let refused = limits.registration(here).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RateLimited);
    limits.registration_failed(here);
    limits.registration(here).unwrap();
    limits.claim(here, device).unwrap();
    limits.claim(here, device).unwrap();
    limits.claim(here, device).unwrap_err();
    limits.issuance(device).unwrap();
    limits.issuance(device).unwrap_err();
    limits.public_request(here).unwrap();
    limits.public_request(here).unwrap_err();
}

#[test]
fn a_tenant_is_held_to_its_own_bounds_and_no_other() {
    let id = |n: u8| TenantId::parse(&format!("018f3c5e-7b1a-7cc2-9d3e-0000000000{n:02}")).unwrap();
    let networks = vec![signalbeam_domain::Network::parse("192.0.2.0/24").unwrap()];
    let bounds = TenantBounds { requests_per_second: Some(2), allowed_networks: networks, ..TenantBounds::default() };
    let tenants = TenantPolicy { default: TenantBounds::default(), overrides: [(id(1), bounds)].into() };
    let limits = Limits::new(None, tenants);
    let granted = (0..100).filter(|_| limits.tenant_request(id(1)).is_ok()).count();
    // At most a burst, and what a slow machine let grow back meanwhile.
    assert!((2..50).contains(&granted), "{granted}");
    assert!((0..100).all(|_| limits.tenant_request(id(2)).is_ok()));
    assert!(limits.tenant_permits_address(id(1), address("192.0.2.1")));
    assert!(!limits.tenant_permits_address(id(1), address("198.51.100.1")));
    assert!(limits.tenant_permits_address(id(2), address("198.51.100.1")));
}

#[test]
fn other_bounds_hold_from_the_moment_that_they_are_put_in_force() {
    let limits = limits();
    let here = address("192.0.2.1");
    limits.public_request(here).unwrap();
    limits.public_request(here).unwrap_err();
    limits.reconfigure(Some(strict()), TenantPolicy::default());
    limits.public_request(here).unwrap_err();
    limits.reconfigure(None, TenantPolicy::default());
    limits.public_request(here).unwrap();
    limits.reconfigure(Some(strict()), TenantPolicy::default());
    limits.public_request(here).unwrap();
    limits.public_request(here).unwrap_err();
}

#[test]
fn ocsp_answers_are_signed_so_often_for_a_client() {
    let limits = limits();
    let here = address("192.0.2.1");
    assert!((0..2).all(|_| limits.ocsp_signature(here).is_ok()));
    assert_eq!(limits.ocsp_signature(here).unwrap_err().code(), ErrorCode::RateLimited);
    assert!(limits.ocsp_signature(address("192.0.2.2")).is_ok());
}

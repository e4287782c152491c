//! What values must hold beyond their types.

pub(super) mod key_store;
mod limits;
mod oidc;
mod pki;
mod profiles;
mod proxy;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use http::Uri;
use http::uri::Scheme;
use tracing_subscriber::EnvFilter;

use super::sections::{Audit, CertificateAuthority, Config, Listener, Store, Tls, Validity};

/// A key, its value as shown, and what is allowed.
type Broken = (&'static str, String, String);

/// Every rule that the configuration breaks.
pub(super) fn broken(config: &Config) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    listener(&config.listener, &mut found);
    if EnvFilter::try_new(&config.log.level).is_err() {
        let allowed = "error, warn, info, debug, trace, or a filter such as `info,signalbeam_server=debug`";
        found.push(("log.level", format!("`{}`", config.log.level), allowed.to_owned()));
    }
    within("authentication.bcrypt_cost", config.authentication.bcrypt_cost, 4..=16, &mut found);
    let check = &config.api_key_expiration_check;
    within("api_key_expiration_check.check_interval_hours", check.check_interval_hours, 1..=8_760, &mut found);
    within("api_key_expiration_check.warning_threshold_days", check.warning_threshold_days, 1..=730, &mut found);
    let threshold = config.certificate_renewal.renewal_threshold_days;
    within("certificate_renewal.renewal_threshold_days", threshold, 1..=397, &mut found);
    let grace = config.certificate_renewal.grace_after_expiry_days;
    within("certificate_renewal.grace_after_expiry_days", grace, 0..=90, &mut found);
    within("est.retry_after_seconds", config.est.retry_after_seconds, 1..=86_400, &mut found);
    validity("registration_tokens.default_validity_days", &config.registration_tokens, &mut found);
    validity("api_keys.default_validity_days", &config.api_keys, &mut found);
    validity("certificates.default_validity_days", &config.certificates, &mut found);
    audit(&config.audit, &mut found);
    authority(&config.ca, &mut found);
    key_store::broken(config, &mut found);
    tls(&config.tls, &mut found);
    oidc::oidc(&config.oidc, &mut found);
    pki::pki(&config.pki, &mut found);
    proxy::broken(config, &mut found);
    limits::rate_limit(&config.rate_limit, &mut found);
    limits::tenants(&config.tenants, &mut found);
    if config.store.url != Store::EMBEDDED {
        // A URL may hold a password: it is not shown.
        let allowed = "`embedded`; other stores are not supported by this version";
        found.push(("store.url", "something else".to_owned(), allowed.to_owned()));
    }
    let found = found.into_iter().map(|(key, value, allowed)| (key.to_owned(), value, allowed));
    found.chain(limits::overrides(&config.tenants)).chain(profiles::broken(config)).collect()
}

fn within<N: Into<u64> + Copy>(key: &'static str, value: N, range: RangeInclusive<u64>, found: &mut Vec<Broken>) {
    let value = value.into();
    if !range.contains(&value) {
        found.push((key, value.to_string(), format!("{} to {}", range.start(), range.end())));
    }
}

fn listener(listener: &Listener, found: &mut Vec<Broken>) {
    within("listener.max_connections", listener.max_connections, 1..=1_000_000, found);
    within("listener.max_concurrent_handshakes", listener.max_concurrent_handshakes, 1..=100_000, found);
    within("listener.handshake_timeout_seconds", listener.handshake_timeout_seconds, 1..=300, found);
    within("listener.idle_timeout_seconds", listener.idle_timeout_seconds, 1..=3_600, found);
    within("listener.header_timeout_seconds", listener.header_timeout_seconds, 1..=300, found);
    within("listener.body_timeout_seconds", listener.body_timeout_seconds, 1..=300, found);
    within("listener.request_timeout_seconds", listener.request_timeout_seconds, 1..=600, found);
    within("listener.max_concurrent_requests", listener.max_concurrent_requests, 1..=1_000_000, found);
    within("listener.max_concurrent_costly_requests", listener.max_concurrent_costly_requests, 1..=100_000, found);
    within("listener.max_body_bytes", listener.max_body_bytes, 1_024..=16_777_216, found);
}

fn audit(audit: &Audit, found: &mut Vec<Broken>) {
    within("audit.retention_days", audit.retention_days, 0..=36_500, found);
    let failures = audit.max_failures_per_address_per_minute;
    within("audit.max_failures_per_address_per_minute", failures, 1..=10_000, found);
    within("audit.disk_reserve_mib", audit.disk_reserve_mib, 0..=16_777_216, found);
}

fn validity(key: &'static str, validity: &Validity, found: &mut Vec<Broken>) {
    let Validity { min_validity_days: min, max_validity_days: max, default_validity_days: default } = validity;
    if *min == 0 || min > default || default > max {
        let allowed = format!("1 <= min_validity_days ({min}) <= default_validity_days <= max_validity_days ({max})");
        found.push((key, default.to_string(), allowed));
    }
}

fn authority(authority: &CertificateAuthority, found: &mut Vec<Broken>) {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let domain = &authority.trust_domain;
    if !(1..=255).contains(&domain.len()) || !domain.bytes().all(is_allowed) {
        let allowed = "1 to 255 lower-case letters, digits, `.`, `-` and `_` (SPIFFE-ID 2.1)";
        found.push(("ca.trust_domain", format!("`{domain}`"), allowed.to_owned()));
    }
    let urls = [
        ("ca.crl_url", &authority.crl_url),
        ("ca.delta_crl_url", &authority.delta_crl_url),
        ("ca.ocsp_url", &authority.ocsp_url),
        ("ca.issuer_url", &authority.issuer_url),
    ];
    for (key, url) in urls {
        if url.as_deref().is_some_and(|url| !is_public_url(url)) {
            let allowed = "an http:// or https:// URL without user name and password";
            // What looks like a password is not shown either.
            found.push((key, "something else".to_owned(), allowed.to_owned()));
        }
    }
}

/// URLs that lead to the authority that signs, whoever signed the certificate that names them: after a rollover, and of an
/// authority under another one, that is the wrong one.
pub(super) fn urls_of_one_authority(authority: &CertificateAuthority) -> Vec<String> {
    let urls = [
        ("ca.crl_url", &authority.crl_url),
        ("ca.delta_crl_url", &authority.delta_crl_url),
        ("ca.issuer_url", &authority.issuer_url),
    ];
    let shared = urls.into_iter().filter(|(_, url)| url.as_deref().is_some_and(|url| !url.contains("{authority}")));
    shared
        .map(|(key, _)| {
            format!(
                "`{key}` has no `{{authority}}` in it: once another authority signs, certificates of the one before lead to \
                 what is not its own"
            )
        })
        .collect()
}

fn is_public_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let has_scheme = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    has_scheme && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
}

fn tls(tls: &Tls, found: &mut Vec<Broken>) {
    for name in &tls.server_names {
        if name.parse::<IpAddr>().is_err() && !is_dns_name(name) {
            let allowed = "DNS names and IP addresses, without scheme and port";
            found.push(("tls.server_names", format!("`{name}`"), allowed.to_owned()));
        }
    }
    let absent = || "not set".to_owned();
    match (&tls.certificate_file, &tls.private_key_file) {
        (Some(_), None) => found.push(("tls.private_key_file", absent(), "the key of tls.certificate_file".to_owned())),
        (None, Some(_)) => {
            found.push(("tls.certificate_file", absent(), "the certificate of tls.private_key_file".to_owned()));
        }
        _ => {}
    }
}

/// A host name of RFC 1123, or a wildcard for its first label.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

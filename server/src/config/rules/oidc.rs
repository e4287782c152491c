//! What `[oidc]` must hold beyond its types.

use signalbeam_domain::TokenIssuer;

use super::{Broken, within};
use crate::config::Oidc;
use crate::oidc::{is_acceptable_url, read_mapping};

pub(super) fn oidc(oidc: &Oidc, found: &mut Vec<Broken>) {
    let mut wrong = |key, value: &str, allowed: &str| found.push((key, value.to_owned(), allowed.to_owned()));
    // What looks like a password in a URL is not shown.
    let url = "an https:// URL without user name and fragment; http:// to this machine where `allow_insecure_loopback` is set";
    if let Some(issuer) = &oidc.issuer {
        let is_fine = TokenIssuer::parse(issuer).is_ok() && !issuer.contains(['?', '|']);
        if !is_fine || !is_acceptable_url(issuer, oidc.allow_insecure_loopback) {
            wrong("oidc.issuer", "something else", &format!("{url}, without query, at most 256 characters"));
        }
        if oidc.audience.as_ref().is_none_or(String::is_empty) {
            wrong("oidc.audience", "not set", "what the issuer's tokens for this service have as `aud`");
        }
    } else if oidc.audience.is_some() || oidc.jwks_url.is_some() {
        wrong("oidc.issuer", "not set", "the issuer that the other settings of the section are for");
    }
    if oidc.jwks_url.as_ref().is_some_and(|text| !is_acceptable_url(text, oidc.allow_insecure_loopback)) {
        wrong("oidc.jwks_url", "something else", url);
    }
    if oidc.algorithms.is_empty() {
        wrong("oidc.algorithms", "none", "at least one of RS256, RS384, RS512, PS256, ES256, ES384, EdDSA");
    }
    for (key, name) in [("oidc.role_claim", &oidc.role_claim), ("oidc.tenant_claim", &oidc.tenant_claim)] {
        if name.is_empty() {
            wrong(key, "empty", "a claim's name, or names joined by dots");
        }
    }
    for entry in oidc.role_map.iter().filter(|entry| read_mapping(entry).is_none()) {
        wrong("oidc.role_map", &format!("`{entry}`"), "`foreign name=admin`, `=operator` or `=auditor`");
    }
    within("oidc.clock_leeway_seconds", oidc.clock_leeway_seconds, 0..=300, found);
    within("oidc.key_lifetime_seconds", oidc.key_lifetime_seconds, 60..=86_400, found);
    within("oidc.key_fetch_interval_seconds", oidc.key_fetch_interval_seconds, 1..=3_600, found);
    within("oidc.key_stale_seconds", oidc.key_stale_seconds, 0..=604_800, found);
}

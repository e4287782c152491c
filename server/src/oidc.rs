//! The OIDC issuer of admin tokens: its configuration put to work, and its keys fetched over HTTPS.

mod address;
mod http;

use std::time::Duration;

use async_trait::async_trait;
use hyper::Uri;
use serde::Deserialize;
use signalbeam_authn::Role;
use signalbeam_authn::admin::{
    ClaimPath, FetchError, FetchedKeySet, KeyLifetimes, KeySetSource, OidcSettings, OidcTokens,
};
use signalbeam_domain::TokenIssuer;

use crate::config::Oidc;
use address::AddressPolicy;
use http::HttpsClient;
pub use http::ReadRootsError;

/// Where an issuer tells of itself, below its own URL (OIDC Discovery 1.0, section 4).
const DISCOVERY: &str = ".well-known/openid-configuration";

/// Why the issuer cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OidcStartError {
    /// A setting is missing or not acceptable; its rules should have said so.
    #[error("`{0}` is missing or not acceptable")]
    Setting(&'static str),
    /// The authorities that vouch for the issuer's certificate cannot be read.
    #[error(transparent)]
    Roots(#[from] ReadRootsError),
}

/// The verifier of an issuer's tokens, where one is configured. Nobody is asked for anything yet.
///
/// # Errors
/// [`OidcStartError`] where the configuration cannot be put to work.
pub fn verifier(config: &Oidc) -> Result<Option<OidcTokens>, OidcStartError> {
    let Some(issuer) = &config.issuer else { return Ok(None) };
    let settings = OidcSettings {
        issuer: TokenIssuer::parse(issuer).map_err(|_| OidcStartError::Setting("oidc.issuer"))?,
        audience: config.audience.clone().ok_or(OidcStartError::Setting("oidc.audience"))?,
        algorithms: config.algorithms.clone(),
        role_claim: ClaimPath::new(&config.role_claim),
        role_map: config
            .role_map
            .iter()
            .map(|entry| read_mapping(entry).ok_or(OidcStartError::Setting("oidc.role_map")))
            .collect::<Result<_, _>>()?,
        tenant_claim: ClaimPath::new(&config.tenant_claim),
        allow_all_tenants: config.allow_all_tenants,
        clock_leeway_seconds: config.clock_leeway_seconds,
        key_lifetimes: KeyLifetimes {
            longest: Duration::from_secs(config.key_lifetime_seconds.into()),
            between_fetches: Duration::from_secs(config.key_fetch_interval_seconds.into()),
            stale: Duration::from_secs(config.key_stale_seconds.into()),
        },
    };
    Ok(Some(OidcTokens::new(settings, Box::new(PublishedKeys::new(config, issuer)?))))
}

/// Reads `foreign name=role`. The foreign name may have a `=` itself, a role has none.
pub fn read_mapping(entry: &str) -> Option<(String, Role)> {
    let (foreign, role) = entry.rsplit_once('=')?;
    let foreign = foreign.trim();
    (!foreign.is_empty()).then_some((foreign.to_owned(), Role::parse(role.trim())?))
}

/// Whether keys may be asked for under this URL at all: HTTPS, or HTTP to this very machine where that is allowed; no user
/// name, no fragment.
pub fn is_acceptable_url(text: &str, allow_insecure_loopback: bool) -> bool {
    let Ok(url) = text.parse::<Uri>() else { return false };
    let (Some(authority), Some(host)) = (url.authority(), url.host()) else { return false };
    let is_secure = match url.scheme_str() {
        Some("https") => true,
        Some("http") => allow_insecure_loopback && address::is_loopback_name(host),
        _ => false,
    };
    is_secure && !host.is_empty() && !authority.as_str().contains('@') && !text.contains('#')
}

/// The keys that an issuer publishes.
struct PublishedKeys {
    client: HttpsClient,
    issuer: String,
    /// Where they are, where that is configured; otherwise the issuer tells.
    jwks_url: Option<String>,
    allow_insecure_loopback: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Debug, thiserror::Error)]
enum DiscoveryError {
    #[error("the issuer's configuration is not readable")]
    Malformed(#[from] serde_json::Error),
    #[error("the issuer's configuration is that of another issuer")]
    OtherIssuer,
    #[error("the URL of the keys is not acceptable: HTTPS, without user name and fragment")]
    Url,
}

impl PublishedKeys {
    fn new(config: &Oidc, issuer: &str) -> Result<Self, ReadRootsError> {
        let addresses = AddressPolicy::new(&config.allowed_hosts, config.allow_insecure_loopback);
        Ok(Self {
            client: HttpsClient::new(config.ca_certificate_file.as_deref(), addresses)?,
            issuer: issuer.to_owned(),
            jwks_url: config.jwks_url.clone(),
            allow_insecure_loopback: config.allow_insecure_loopback,
        })
    }

    async fn url(&self) -> Result<Uri, FetchError> {
        let url = match &self.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        if !is_acceptable_url(&url, self.allow_insecure_loopback) {
            return Err(DiscoveryError::Url.into());
        }
        Ok(url.parse()?)
    }

    async fn discover(&self) -> Result<String, FetchError> {
        let url = format!("{}/{DISCOVERY}", self.issuer.trim_end_matches('/'));
        let answer = self.client.get(&url.parse()?).await?;
        let discovered: Discovery = serde_json::from_slice(&answer.body).map_err(DiscoveryError::Malformed)?;
        if discovered.issuer != self.issuer {
            return Err(DiscoveryError::OtherIssuer.into());
        }
        Ok(discovered.jwks_uri)
    }
}

#[async_trait]
impl KeySetSource for PublishedKeys {
    async fn fetch(&self) -> Result<FetchedKeySet, FetchError> {
        let answer = self.client.get(&self.url().await?).await?;
        Ok(FetchedKeySet { max_age: answer.max_age(), json: answer.body.to_vec() })
    }
}

#[cfg(test)]
mod tests;

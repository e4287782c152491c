//! `[oidc]`: an OIDC issuer whose tokens admins may present beside those of `signalbeam admin-token`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use signalbeam_authn::admin::SigningAlgorithm;

/// `[oidc]`: the issuer, what its tokens must say, and how its keys are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Oidc {
    /// The issuer's URL, exactly as its tokens' `iss` has it; without one, there is no OIDC. Needs `audience`.
    /// `SIGNALBEAM__OIDC__ISSUER`, default none.
    pub issuer: Option<String>,
    /// What the tokens' `aud` must say, or have among others. `SIGNALBEAM__OIDC__AUDIENCE`, default none.
    pub audience: Option<String>,
    /// Where the issuer publishes its keys. `SIGNALBEAM__OIDC__JWKS_URL`, default none: the `jwks_uri` of
    /// `{issuer}/.well-known/openid-configuration`.
    pub jwks_url: Option<String>,
    /// The algorithms that are accepted, of `RS256`, `RS384`, `RS512`, `PS256`, `ES256`, `ES384` and `EdDSA`; each key
    /// allows those of its kind alone. `SIGNALBEAM__OIDC__ALGORITHMS` (comma-separated), default `RS256,ES256,EdDSA`.
    pub algorithms: Vec<SigningAlgorithm>,
    /// Where the role stands, a text or a list of which the strongest known one counts: a name, or names joined by dots
    /// such as `realm_access.roles`. `SIGNALBEAM__OIDC__ROLE_CLAIM`, default `role`.
    pub role_claim: String,
    /// What the issuer's roles are here, as `foreign name=admin`, `=operator` or `=auditor`. Where it is not empty, only
    /// the names in it count. `SIGNALBEAM__OIDC__ROLE_MAP` (comma-separated), default none: our own names count.
    pub role_map: Vec<String>,
    /// Where the tenant stands to which the token is confined. `SIGNALBEAM__OIDC__TENANT_CLAIM`, default `tenant_id`.
    pub tenant_claim: String,
    /// Whether a token without that claim is good for every tenant; otherwise it is refused.
    /// `SIGNALBEAM__OIDC__ALLOW_ALL_TENANTS`, default `false`.
    pub allow_all_tenants: bool,
    /// How far the issuer's clock may be off, 0 to 300 s. `SIGNALBEAM__OIDC__CLOCK_LEEWAY_SECONDS`, default `60`.
    pub clock_leeway_seconds: u16,
    /// Certificate authorities (PEM) that vouch for the issuer's host, in the place of the system's.
    /// `SIGNALBEAM__OIDC__CA_CERTIFICATE_FILE`, default none.
    pub ca_certificate_file: Option<PathBuf>,
    /// Hosts that may be asked for keys although their addresses are not public: an issuer inside of one's own network.
    /// Link-local addresses are never asked. `SIGNALBEAM__OIDC__ALLOWED_HOSTS` (comma-separated), default none.
    pub allowed_hosts: Vec<String>,
    /// Whether keys may be fetched from this very machine, also by plain HTTP; for tests.
    /// `SIGNALBEAM__OIDC__ALLOW_INSECURE_LOOPBACK`, default `false`.
    pub allow_insecure_loopback: bool,
    /// How long keys are kept at most, 60 to 86,400 s; shorter where the issuer says so (`Cache-Control: max-age`).
    /// `SIGNALBEAM__OIDC__KEY_LIFETIME_SECONDS`, default `3600`.
    pub key_lifetime_seconds: u32,
    /// How much time passes at least between two fetches, whatever unknown keys tokens name, 1 to 3,600 s.
    /// `SIGNALBEAM__OIDC__KEY_FETCH_INTERVAL_SECONDS`, default `10`.
    pub key_fetch_interval_seconds: u16,
    /// For how long beyond their lifetime keys still count while the issuer does not answer, 0 to 604,800 s; after that
    /// its tokens are answered with 503. `SIGNALBEAM__OIDC__KEY_STALE_SECONDS`, default `86400`.
    pub key_stale_seconds: u32,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            jwks_url: None,
            algorithms: vec![SigningAlgorithm::Rs256, SigningAlgorithm::Es256, SigningAlgorithm::EdDsa],
            role_claim: "role".to_owned(),
            role_map: vec![],
            tenant_claim: "tenant_id".to_owned(),
            allow_all_tenants: false,
            clock_leeway_seconds: 60,
            ca_certificate_file: None,
            allowed_hosts: vec![],
            allow_insecure_loopback: false,
            key_lifetime_seconds: 3_600,
            key_fetch_interval_seconds: 10,
            key_stale_seconds: 86_400,
        }
    }
}

//! The sections of the configuration. Each field names its key, its environment variable and its default.

mod api_key_expiration_check;
mod api_key_retirement;
mod audit;
mod est;
mod key_store;
mod oidc;
mod pki;
mod profiles;
mod proxy;
mod rate_limit;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use signalbeam_domain::ProfileName;

pub use api_key_expiration_check::ApiKeyExpirationCheck;
pub use api_key_retirement::ApiKeyRetirement;
pub use audit::{Audit, Durability};
pub use est::Est;
pub use key_store::{AzureKeyVault, KeyStore, Pkcs11, Secret};
pub use oidc::Oidc;
pub use pki::Pki;
pub use profiles::{DeviceKeyType, Profile};
pub use proxy::{AddressHeader, ClientCertificateHeader, Proxy, ProxyProtocol};
pub use rate_limit::RateLimit;
pub use tenants::{TenantBounds, Tenants};

/// `[mtls]`: client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mtls {
    /// Whether devices may authenticate by certificate. `false` asks for no certificate in the handshake, and every
    /// device uses its API key. `SIGNALBEAM__MTLS__ENABLED`, default `true`.
    pub enabled: bool,
}

impl Default for Mtls {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Whether an API key counts where a certificate was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyFallback {
    /// Always.
    #[default]
    Always,
    /// Unless the certificate was revoked.
    UnlessRevoked,
    /// Never.
    Never,
}

/// `[authentication]`: how devices prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Authentication {
    /// Whether an API key counts where a certificate was refused: `always`, `unless_revoked` or `never`.
    /// `SIGNALBEAM__AUTHENTICATION__API_KEY_FALLBACK`, default `always`.
    pub api_key_fallback: ApiKeyFallback,
    /// bcrypt's cost for stored verifiers, 4 to 16; each step doubles the time.
    /// `SIGNALBEAM__AUTHENTICATION__BCRYPT_COST`, default `12` (about 200 ms).
    pub bcrypt_cost: u32,
    /// How many days after its first authentication by a certificate a device's API key is revoked, 0 to 730, or `off`:
    /// never. Only while the device has a certificate that works. `SIGNALBEAM__AUTHENTICATION__API_KEY_RETIREMENT_DAYS`,
    /// default `off`.
    pub api_key_retirement_days: ApiKeyRetirement,
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            api_key_fallback: ApiKeyFallback::Always,
            bcrypt_cost: 12,
            api_key_retirement_days: ApiKeyRetirement::Off,
        }
    }
}

/// `[certificate_renewal]`: when certificates are renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateRenewal {
    /// How many days before its end a certificate may be renewed, 1 to 397.
    /// `SIGNALBEAM__CERTIFICATE_RENEWAL__RENEWAL_THRESHOLD_DAYS`, default `30`.
    pub renewal_threshold_days: u16,
    /// How many days after its end a certificate may still renew itself, and nothing else, 0 to 90; `0`: not at all.
    /// `SIGNALBEAM__CERTIFICATE_RENEWAL__GRACE_AFTER_EXPIRY_DAYS`, default `0`.
    pub grace_after_expiry_days: u16,
}

impl Default for CertificateRenewal {
    fn default() -> Self {
        Self { renewal_threshold_days: 30, grace_after_expiry_days: 0 }
    }
}

/// The authority's key type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeyType {
    /// RSA with 2048 bits.
    #[default]
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// ECDSA on P-256.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
}

/// The shape of the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hierarchy {
    /// One root that signs devices' certificates itself.
    #[default]
    Root,
    /// An issuing authority under a root, whose key is then needed only to follow it up.
    Intermediate,
}

/// `[ca]`: the certificate authority. Key store, key type, hierarchy and trust domain are read when it is made and
/// fixed from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateAuthority {
    /// Where its private key lives: `file`, `pkcs11` or `azure_key_vault`. `SIGNALBEAM__CA__KEY_STORE`, default `file`.
    pub key_store: KeyStore,
    /// Its key type: `rsa-2048`, `rsa-3072`, `rsa-4096`, `ecdsa-p256` or `ecdsa-p384`.
    /// `SIGNALBEAM__CA__KEY_TYPE`, default `rsa-2048`.
    pub key_type: KeyType,
    /// Its shape when it is made: `root` signs devices' certificates itself, `intermediate` puts an issuing authority under
    /// it. `SIGNALBEAM__CA__HIERARCHY`, default `root`.
    pub hierarchy: Hierarchy,
    /// The SPIFFE trust domain in devices' certificates: lower-case letters, digits, `.`, `-` and `_`.
    /// `SIGNALBEAM__CA__TRUST_DOMAIN`, default `signalbeam.local`.
    pub trust_domain: String,
    /// The URL that certificates name for the revocation list; `{authority}` in it stands for the id of the authority that
    /// signed the certificate. `SIGNALBEAM__CA__CRL_URL`, default none: left out.
    pub crl_url: Option<String>,
    /// The URL that revocation lists name for the delta list; `{authority}` in it stands for the authority's id.
    /// `SIGNALBEAM__CA__DELTA_CRL_URL`, default none: left out.
    pub delta_crl_url: Option<String>,
    /// The URL that certificates name for OCSP. `SIGNALBEAM__CA__OCSP_URL`, default none: left out.
    pub ocsp_url: Option<String>,
    /// The URL that certificates name for their issuer's own; `{authority}` in it stands for the id of the authority that
    /// signed the certificate, as in `http://pki.example.com/api/certificates/ca/{authority}`.
    /// `SIGNALBEAM__CA__ISSUER_URL`, default none: left out.
    pub issuer_url: Option<String>,
    /// The passphrase under which the key's file is encrypted, for the environment; in files rather
    /// `key_passphrase_file`. `SIGNALBEAM__CA__KEY_PASSPHRASE`, default none: a new key is not encrypted.
    pub key_passphrase: Option<Secret>,
    /// A file with that passphrase in its first line, which only its owner may read.
    /// `SIGNALBEAM__CA__KEY_PASSPHRASE_FILE`, default none.
    pub key_passphrase_file: Option<PathBuf>,
    /// The token, where `key_store` is `pkcs11`.
    pub pkcs11: Pkcs11,
}

impl Default for CertificateAuthority {
    fn default() -> Self {
        Self {
            key_store: KeyStore::File,
            key_type: KeyType::Rsa2048,
            hierarchy: Hierarchy::Root,
            trust_domain: "signalbeam.local".to_owned(),
            crl_url: None,
            delta_crl_url: None,
            ocsp_url: None,
            issuer_url: None,
            key_passphrase: None,
            key_passphrase_file: None,
            pkcs11: Pkcs11::default(),
        }
    }
}

/// `[tls]`: the server's own certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// DNS names and IP addresses that the server's certificate names beside `localhost`, `127.0.0.1` and `::1`.
    /// `SIGNALBEAM__TLS__SERVER_NAMES` (comma-separated), default none.
    pub server_names: Vec<String>,
    /// A certificate chain (PEM) to serve in the place of one issued by our own authority; with `private_key_file`.
    /// `SIGNALBEAM__TLS__CERTIFICATE_FILE`, default none.
    pub certificate_file: Option<PathBuf>,
    /// The private key (PEM) of `certificate_file`. `SIGNALBEAM__TLS__PRIVATE_KEY_FILE`, default none.
    pub private_key_file: Option<PathBuf>,
}

/// `[store]`: where the event log lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// `embedded`: SQLite files in the data directory. `SIGNALBEAM__STORE__URL`, default `embedded`.
    pub url: String,
    /// A second witness of how far the log has come, beside the one in the data directory: a file on other storage, so that
    /// it survives when the whole data directory is put back to an earlier state. Its folder must exist.
    /// `SIGNALBEAM__STORE__WITNESS_FILE`, default none.
    pub witness_file: Option<PathBuf>,
}

impl Store {
    /// The only store there is.
    pub const EMBEDDED: &str = "embedded";
}

impl Default for Store {
    fn default() -> Self {
        Self { url: Self::EMBEDDED.to_owned(), witness_file: None }
    }
}

/// `[registration_tokens]`, `[api_keys]` and `[certificates]`: for how many days each may be valid.
/// `SIGNALBEAM__REGISTRATION_TOKENS__MAX_VALIDITY_DAYS` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// The fewest days a caller may ask for. Default `1`.
    pub min_validity_days: u16,
    /// The most days a caller may ask for. Default `365` (tokens), `730` (API keys), `397` (certificates).
    pub max_validity_days: u16,
    /// What a caller who names nothing gets. Default `30` (tokens), `90` (API keys and certificates).
    pub default_validity_days: u16,
}

impl Validity {
    /// The default of `[registration_tokens]`.
    pub const REGISTRATION_TOKENS: Self =
        Self { min_validity_days: 1, max_validity_days: 365, default_validity_days: 30 };
    /// The default of `[api_keys]`.
    pub const API_KEYS: Self = Self { min_validity_days: 1, max_validity_days: 730, default_validity_days: 90 };
    /// The default of `[certificates]`.
    pub const CERTIFICATES: Self = Self { min_validity_days: 1, max_validity_days: 397, default_validity_days: 90 };
}

/// `[listener]`: addresses, limits and timeouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// Where HTTPS is served. `--listen`, `SIGNALBEAM__LISTENER__ADDRESS`, default `127.0.0.1:8443`.
    pub address: SocketAddr,
    /// Where metrics and health are served over plain HTTP. `--ops-listen`, `SIGNALBEAM__LISTENER__OPS_ADDRESS`,
    /// default `127.0.0.1:9464`.
    pub ops_address: SocketAddr,
    /// The most connections at a time, 1 to 1,000,000; further ones wait in the kernel's queue.
    /// `SIGNALBEAM__LISTENER__MAX_CONNECTIONS`, default `10000`.
    pub max_connections: u32,
    /// The most TLS handshakes at a time, 1 to 100,000. `SIGNALBEAM__LISTENER__MAX_CONCURRENT_HANDSHAKES`,
    /// default `1024`.
    pub max_concurrent_handshakes: u32,
    /// How long a TLS handshake may take, 1 to 300 s. `SIGNALBEAM__LISTENER__HANDSHAKE_TIMEOUT_SECONDS`, default `10`.
    pub handshake_timeout_seconds: u16,
    /// How long a connection may stay open without a request, 1 to 3,600 s.
    /// `SIGNALBEAM__LISTENER__IDLE_TIMEOUT_SECONDS`, default `75`.
    pub idle_timeout_seconds: u16,
    /// How long a request's head may take, 1 to 300 s. `SIGNALBEAM__LISTENER__HEADER_TIMEOUT_SECONDS`, default `10`.
    pub header_timeout_seconds: u16,
    /// How long a request's body may take, 1 to 300 s. `SIGNALBEAM__LISTENER__BODY_TIMEOUT_SECONDS`, default `30`.
    pub body_timeout_seconds: u16,
    /// How long answering a request may take, its body included, 1 to 600 s.
    /// `SIGNALBEAM__LISTENER__REQUEST_TIMEOUT_SECONDS`, default `60`.
    pub request_timeout_seconds: u16,
    /// The most bytes of a request's body, 1,024 to 16,777,216. `SIGNALBEAM__LISTENER__MAX_BODY_BYTES`,
    /// default `262144`.
    pub max_body_bytes: u32,
    /// The most requests that are answered at a time, 1 to 1,000,000, costly ones aside; further ones get 503 at once.
    /// `SIGNALBEAM__LISTENER__MAX_CONCURRENT_REQUESTS`, default `1024`.
    pub max_concurrent_requests: u32,
    /// The most requests that hash secrets or make keys and certificates at a time, 1 to 100,000; further ones get 503 at
    /// once. `SIGNALBEAM__LISTENER__MAX_CONCURRENT_COSTLY_REQUESTS`, default `256`.
    pub max_concurrent_costly_requests: u32,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8443)),
            ops_address: SocketAddr::from(([127, 0, 0, 1], 9464)),
            max_connections: 10_000,
            max_concurrent_handshakes: 1_024,
            handshake_timeout_seconds: 10,
            idle_timeout_seconds: 75,
            header_timeout_seconds: 10,
            body_timeout_seconds: 30,
            request_timeout_seconds: 60,
            max_body_bytes: 256 * 1024,
            max_concurrent_requests: 1_024,
            max_concurrent_costly_requests: 256,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what the server says on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as `info,signalbeam_server=debug`. The libraries
    /// `rustls`, `h2` and `hyper` report errors alone unless the filter names them.
    /// `SIGNALBEAM__LOG__LEVEL`, default `info`.
    pub level: String,
    /// How lines look: `human` or `json`. `SIGNALBEAM__LOG__FORMAT`, default `human`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Human }
    }
}

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Addresses, limits and timeouts.
    pub listener: Listener,
    /// What the server says.
    pub log: Log,
    /// Client certificates.
    pub mtls: Mtls,
    /// How devices prove who they are.
    pub authentication: Authentication,
    /// For how long registration tokens may be valid.
    pub registration_tokens: Validity,
    /// For how long API keys may be valid.
    pub api_keys: Validity,
    /// For how long certificates may be valid.
    pub certificates: Validity,
    /// Warnings of API keys that are about to expire.
    pub api_key_expiration_check: ApiKeyExpirationCheck,
    /// When certificates are renewed.
    pub certificate_renewal: CertificateRenewal,
    /// What certificates of devices say, by profile.
    pub profiles: BTreeMap<String, Profile>,
    /// The log of authentication attempts.
    pub audit: Audit,
    /// The certificate authority.
    pub ca: CertificateAuthority,
    /// Enrolment over secure transport.
    pub est: Est,
    /// The vault of the authority's key.
    pub azure_key_vault: AzureKeyVault,
    /// The server's own certificate.
    pub tls: Tls,
    /// Revocation lists, and the plain listener for those who check certificates.
    pub pki: Pki,
    /// Reverse proxies.
    pub proxy: Proxy,
    /// The event log.
    pub store: Store,
    /// How often clients and devices may do what costs something.
    pub rate_limit: RateLimit,
    /// What tenants may have and do.
    pub tenants: Tenants,
    /// An OIDC issuer of admin tokens.
    pub oidc: Oidc,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listener: Listener::default(),
            log: Log::default(),
            mtls: Mtls::default(),
            authentication: Authentication::default(),
            registration_tokens: Validity::REGISTRATION_TOKENS,
            api_keys: Validity::API_KEYS,
            certificates: Validity::CERTIFICATES,
            api_key_expiration_check: ApiKeyExpirationCheck::default(),
            certificate_renewal: CertificateRenewal::default(),
            profiles: BTreeMap::new(),
            audit: Audit::default(),
            ca: CertificateAuthority::default(),
            est: Est::default(),
            azure_key_vault: AzureKeyVault::default(),
            tls: Tls::default(),
            pki: Pki::default(),
            proxy: Proxy::default(),
            store: Store::default(),
            rate_limit: RateLimit::default(),
            tenants: Tenants::default(),
            oidc: Oidc::default(),
        }
    }
}

impl Config {
    /// Whether other machines are served, by a certificate that names this one alone.
    pub fn lacks_server_names(&self) -> bool {
        let has_names = !self.tls.server_names.is_empty() || self.tls.certificate_file.is_some();
        !self.listener.address.ip().is_loopback() && !has_names
    }

    /// A configuration with a value of the right kind by every key, those of profiles too.
    pub(super) fn of_every_key() -> Self {
        let device = (ProfileName::DEVICE.to_owned(), Profile::of_every_key());
        Self { profiles: BTreeMap::from([device]), ..Self::default() }
    }

    /// The key that is configured as this one is, in its one form, and the key by which every such is known: a tenant's own
    /// as that of every tenant, any profile's as that of `device`. `None` where the key is no tenant's and no profile's.
    pub(super) fn canonical(key: &str) -> Option<(String, String)> {
        Tenants::canonical(key).or_else(|| Profile::canonical(key))
    }

    /// The keys in which two configurations differ, as `section.key`.
    pub fn differing_keys(&self, other: &Self) -> BTreeSet<String> {
        let (ours, theirs) = (super::layer::flatten_config(self), super::layer::flatten_config(other));
        let keys = ours.keys().chain(theirs.keys());
        keys.filter(|key| ours.get(*key) != theirs.get(*key)).cloned().collect()
    }
}

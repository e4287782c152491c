//! One vault: who we are for it, how long it may take, and what its failures mean.

use std::error::Error;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, StatusCode, Transport, Url};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    ClientAssertionCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use rustls_pki_types::CertificateDer;

use super::transport::HttpsTransport;
use crate::key_store::KeyStoreError;

/// The version of the vault's interface that is spoken.
const API_VERSION: &str = "7.6";
/// How often a request is repeated that failed or was throttled, and for how long.
const RETRIES: u32 = 3;
const RETRY_TIME: azure_core::time::Duration = azure_core::time::Duration::seconds(8);
/// How long a caller waits for everything that its call needs.
const TIMEOUT: Duration = Duration::from_secs(15);
const CREATION_TIMEOUT: Duration = Duration::from_mins(1);
/// The most of an error's text that is repeated.
const MAX_REASON: usize = 300;

/// Who the server is for the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyVaultIdentity {
    /// What its machine, app or function is in Azure: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, or the machine's
    /// metadata service.
    Managed,
    /// What its Kubernetes pod is: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_FEDERATED_TOKEN_FILE`.
    Workload,
}

/// Which vault, and how to get into it.
#[derive(Debug, Clone)]
pub struct KeyVaultSettings {
    /// The vault's address, such as `https://NAME.vault.azure.net`.
    pub uri: String,
    /// Who the server is.
    pub identity: KeyVaultIdentity,
    /// Who vouches for the vault's host, DER; none for the system's authorities.
    pub roots: Vec<CertificateDer<'static>>,
    /// How long something new waits for what other nodes create at the same time, see [`Self::SETTLING`].
    pub settling: Duration,
}

impl KeyVaultSettings {
    /// A vault tells when a version was created to the second: longer than that, so that nobody can come first any more.
    pub const SETTLING: Duration = Duration::from_secs(3);
}

/// An Azure Key Vault, shared by the stores on it.
pub struct KeyVault {
    pub(super) keys: KeyClient,
    pub(super) secrets: SecretClient,
    pub(super) settling: Duration,
    uri: String,
}

impl fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVault").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl KeyVault {
    /// Makes one; the vault is not asked before it is used.
    ///
    /// # Errors
    /// [`KeyStoreError::Unavailable`] where the environment does not say who we are, or nobody can vouch for the vault.
    pub fn new(settings: KeyVaultSettings) -> Result<Arc<Self>, KeyStoreError> {
        let cannot = |reason: &dyn Display| unavailable(&settings.uri, reason);
        let uri = Url::parse(&settings.uri).map_err(|error| cannot(&error))?;
        let transport = HttpsTransport::new(&uri, &settings.roots).map_err(|error| cannot(&error))?;
        let options = ClientOptions {
            transport: Some(Transport::new(Arc::new(transport))),
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                max_retries: RETRIES,
                max_total_elapsed: RETRY_TIME,
                ..ExponentialRetryOptions::default()
            }),
            ..ClientOptions::default()
        };
        let credential = credential(settings.identity, &options).map_err(|error| cannot(&error))?;
        // An emulator on this machine cannot be in Azure's domain, where its tokens are for.
        let verify_challenge_resource = Some(!is_loopback(&uri));
        let key_options = KeyClientOptions {
            api_version: API_VERSION.to_owned(),
            client_options: options.clone(),
            verify_challenge_resource,
        };
        let secret_options = SecretClientOptions {
            api_version: API_VERSION.to_owned(),
            client_options: options,
            verify_challenge_resource,
        };
        let keys = KeyClient::new(&settings.uri, Arc::clone(&credential), Some(key_options));
        let secrets = SecretClient::new(&settings.uri, credential, Some(secret_options));
        Ok(Arc::new(Self {
            keys: keys.map_err(|error| cannot(&error))?,
            secrets: secrets.map_err(|error| cannot(&error))?,
            settling: settings.settling,
            uri: settings.uri,
        }))
    }

    pub(super) async fn bounded<T>(&self, job: impl Future<Output = Result<T, Failure>>) -> Result<T, KeyStoreError> {
        self.within(TIMEOUT, job).await
    }

    pub(super) async fn bounded_creation<T>(
        &self,
        job: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, KeyStoreError> {
        self.within(CREATION_TIMEOUT, job).await
    }

    async fn within<T>(
        &self,
        time: Duration,
        job: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, KeyStoreError> {
        match tokio::time::timeout(time, job).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Store(error))) => Err(error),
            Ok(Err(Failure::Vault(error))) => Err(unavailable(&self.uri, &in_words(&error))),
            Err(_) => Err(unavailable(&self.uri, &format!("no answer within {} s", time.as_secs()))),
        }
    }

    pub(super) fn location(&self) -> String {
        location(&self.uri)
    }
}

/// An error with what caused it, each said once.
fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

fn location(uri: &str) -> String {
    format!("Azure Key Vault {uri}")
}

fn unavailable(uri: &str, reason: &dyn Display) -> KeyStoreError {
    let reason = reason.to_string().chars().take(MAX_REASON).collect();
    KeyStoreError::Unavailable { location: location(uri), reason }
}

fn credential(identity: KeyVaultIdentity, options: &ClientOptions) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let client_options = options.clone();
    Ok(match identity {
        KeyVaultIdentity::Managed => {
            let options = ManagedIdentityCredentialOptions { client_options, ..Default::default() };
            ManagedIdentityCredential::new(Some(options))?
        }
        KeyVaultIdentity::Workload => {
            let credential_options = ClientAssertionCredentialOptions { client_options };
            let options = WorkloadIdentityCredentialOptions { credential_options, ..Default::default() };
            WorkloadIdentityCredential::new(Some(options))?
        }
    })
}

/// By its address, not by how its name begins: `127.example.com` is somebody else's.
fn is_loopback(uri: &Url) -> bool {
    let host = uri.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host == "localhost" || host.ends_with(".localhost"), |address| address.is_loopback())
}

/// Why a job with the vault failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The vault did not do it.
    Vault(azure_core::Error),
    /// The vault is well; what was asked for cannot be.
    Store(KeyStoreError),
}

impl From<azure_core::Error> for Failure {
    fn from(error: azure_core::Error) -> Self {
        Self::Vault(error)
    }
}

impl From<KeyStoreError> for Failure {
    fn from(error: KeyStoreError) -> Self {
        Self::Store(error)
    }
}

/// What was answered; `None` where there is nothing of that name.
pub(super) fn unless_absent<T>(answer: azure_core::Result<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.http_status() == Some(StatusCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The oldest of the enabled versions; of those of one second the one with the lowest id, the same for everybody.
pub(super) fn oldest(versions: impl Iterator<Item = (bool, OffsetDateTime, String)>) -> Option<String> {
    let enabled = versions.filter(|(is_enabled, ..)| *is_enabled);
    enabled.map(|(_, created, version)| (created, version)).min().map(|(_, version)| version)
}

/// A version, which is the last part of its address.
pub(super) fn last_segment(address: &str) -> String {
    address.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_this_machine() {
        let is = |uri| is_loopback(&Url::parse(uri).unwrap());
        for here in ["https://localhost:8443", "https://a.localhost/", "https://127.0.0.1:1", "https://[::1]:2/"] {
            assert!(is(here), "{here}");
        }
        for elsewhere in ["https://127.example.com", "https://localhost.example.com", "https://n.vault.azure.net"] {
            assert!(!is(elsewhere), "{elsewhere}");
        }
    }
}

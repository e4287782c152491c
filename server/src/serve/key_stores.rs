//! Where the authorities' keys live, as the configuration says, and how they did when they were last asked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use signalbeam_pki::{
    BlockingPool, CaKeyStore, CaKeyStores, CaKeyType, CaMaterial, CaPublicKey, FileKeyStores, KeySlot, KeyStoreError,
    KeyStoreSecret, Pkcs11KeyStores, Pkcs11Token, Pkcs11TokenSettings, certificate_pem,
};

use super::AUTHORITY_FOLDER;
use crate::config::{self, Config};
use crate::data_dir::{DataDir, make_private_dir, write_private};

const CERTIFICATE_COPY: &str = "ca-cert.pem";

/// The configured key stores. Of tokens and vaults nothing is opened yet: one that is out of reach keeps no server from
/// starting.
///
/// # Errors
/// [`KeyStoreError`] where a passphrase or PIN cannot be read, or this program was built without what is configured.
pub(super) fn key_stores(config: &Config, data_dir: &DataDir) -> Result<Arc<WatchedKeyStores>, KeyStoreError> {
    let stores: Arc<dyn CaKeyStores> = match config.ca.key_store {
        config::KeyStore::File => Arc::new(file_key_stores(config, data_dir.path())?),
        config::KeyStore::Pkcs11 => {
            let token = &config.ca.pkcs11;
            Arc::new(Pkcs11KeyStores::new(Pkcs11Token::new(token_settings(token)?), &token.key_label))
        }
        config::KeyStore::AzureKeyVault => key_vault(&config.azure_key_vault)?,
    };
    let copies = (config.ca.key_store != config::KeyStore::File).then(|| data_dir.join(AUTHORITY_FOLDER));
    Ok(Arc::new(WatchedKeyStores { stores, copies, failure: Arc::default() }))
}

/// The files in which a data directory keeps its authorities' keys, encrypted where a passphrase is configured.
///
/// # Errors
/// [`KeyStoreError`] where the passphrase cannot be read.
pub(crate) fn file_key_stores(config: &Config, data_dir: &Path) -> Result<FileKeyStores, KeyStoreError> {
    let files = FileKeyStores::new(data_dir.join(AUTHORITY_FOLDER), BlockingPool::per_processor());
    Ok(match secret(config.ca.key_passphrase.as_ref(), config.ca.key_passphrase_file.as_ref())? {
        None => files,
        Some(passphrase) => files.encrypted(passphrase),
    })
}

fn secret(told: Option<&config::Secret>, file: Option<&PathBuf>) -> Result<Option<KeyStoreSecret>, KeyStoreError> {
    match (told, file) {
        (Some(secret), _) => Ok(Some(secret.reveal().clone())),
        (None, Some(file)) => KeyStoreSecret::read(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn token_settings(token: &config::Pkcs11) -> Result<Pkcs11TokenSettings, KeyStoreError> {
    let missing = |what| KeyStoreError::Unavailable {
        location: "PKCS#11 token".to_owned(),
        reason: format!("`ca.pkcs11.{what}` is not set"),
    };
    Ok(Pkcs11TokenSettings {
        module: token.module.clone().ok_or_else(|| missing("module"))?,
        token_label: token.token_label.clone().ok_or_else(|| missing("token_label"))?,
        pin: secret(token.pin.as_ref(), token.pin_file.as_ref())?.ok_or_else(|| missing("pin_file"))?,
        settling: Pkcs11TokenSettings::SETTLING,
    })
}

#[cfg(feature = "azure")]
fn key_vault(vault: &config::AzureKeyVault) -> Result<Arc<dyn CaKeyStores>, KeyStoreError> {
    use signalbeam_pki::{KeyVault, KeyVaultIdentity, KeyVaultKeyStores, KeyVaultSettings};
    let identity = if vault.use_managed_identity { KeyVaultIdentity::Managed } else { KeyVaultIdentity::Workload };
    let settings = KeyVaultSettings {
        uri: vault.vault_uri.clone().unwrap_or_default(),
        identity,
        roots: Vec::new(),
        settling: KeyVaultSettings::SETTLING,
    };
    Ok(Arc::new(KeyVaultKeyStores::new(KeyVault::new(settings)?, &vault.ca_key_name, &vault.ca_cert_name)))
}

#[cfg(not(feature = "azure"))]
fn key_vault(_: &config::AzureKeyVault) -> Result<Arc<dyn CaKeyStores>, KeyStoreError> {
    Err(KeyStoreError::Unavailable {
        location: "Azure Key Vault".to_owned(),
        reason: "this program was built without it (cargo feature `azure`)".to_owned(),
    })
}

/// Key stores that remember whether the last call failed, and copy certificates of tokens and vaults to where those of
/// files are: operators, backups and checks find them there.
pub(super) struct WatchedKeyStores {
    stores: Arc<dyn CaKeyStores>,
    /// Where copies go.
    copies: Option<PathBuf>,
    failure: Arc<Mutex<Option<String>>>,
}

impl WatchedKeyStores {
    /// Why the last call failed, if it did.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for WatchedKeyStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stores.fmt(f)
    }
}

impl CaKeyStores for WatchedKeyStores {
    fn open(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError> {
        let store = self.stores.open(slot)?;
        let within = |folder: &PathBuf| if slot.is_main() { folder.clone() } else { folder.join(slot.as_str()) };
        let copy = self.copies.as_ref().map(within);
        Ok(Arc::new(WatchedKeyStore { store, copy, failure: Arc::clone(&self.failure) }))
    }
}

#[derive(Debug)]
struct WatchedKeyStore {
    store: Arc<dyn CaKeyStore>,
    copy: Option<PathBuf>,
    failure: Arc<Mutex<Option<String>>>,
}

impl WatchedKeyStore {
    fn note<T>(&self, outcome: Result<T, KeyStoreError>) -> Result<T, KeyStoreError> {
        let failure = outcome.as_ref().err().map(ToString::to_string);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        outcome
    }

    /// Writes the copy of a certificate, if there is to be one and it is not there.
    async fn copy(&self, certificate: &[u8]) {
        let Some(folder) = self.copy.clone() else { return };
        let pem = certificate_pem(certificate);
        let written = tokio::task::spawn_blocking(move || {
            let path = folder.join(CERTIFICATE_COPY);
            if std::fs::read(&path).is_ok_and(|found| found == pem.as_bytes()) {
                return Ok(());
            }
            make_private_dir(&folder)?;
            write_private(&path, pem.as_bytes())
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "the copy of the authority's certificate in the data directory cannot be written");
        }
    }
}

#[async_trait]
impl CaKeyStore for WatchedKeyStore {
    async fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        let found = self.note(self.store.load().await)?;
        if let CaMaterial::Complete { certificate, .. } = &found {
            self.copy(certificate).await;
        }
        Ok(found)
    }

    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        self.note(self.store.create_key(key_type).await)
    }

    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let stored = self.note(self.store.store_certificate(certificate).await)?;
        self.copy(&stored).await;
        Ok(stored)
    }

    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        self.note(self.store.sign(to_be_signed).await)
    }
}

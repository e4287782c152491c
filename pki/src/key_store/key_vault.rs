//! A key store in an Azure Key Vault: the key is made in the vault, or imported into it by its operator, signs there,
//! and is never read back.
//!
//! The certificate is a secret of the same vault, so that every node which may sign finds it too. A vault's own
//! certificate objects would not do: they come with a key of their own and with rules for its renewal.
//!
//! A vault knows no "create unless it is there": whoever creates makes one more version. So the oldest enabled version
//! is the one that counts, of the key as of the certificate. Of several that create at once each looks again after
//! [`KeyVaultSettings::settling`], and all find the same. Versions that are added later change nothing.

mod transport;
mod vault;

use std::sync::Arc;

use async_trait::async_trait;
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, CurveName, JsonWebKey, KeyClientGetKeyOptions, KeyClientSignOptions, KeyOperation, KeyType,
    SignParameters, SignatureAlgorithm,
};
use azure_security_keyvault_secrets::models::{SecretClientGetSecretOptions, SetSecretParameters};
use futures_util::TryStreamExt as _;
use tokio::sync::OnceCell;

use super::{CaKeyStore, CaKeyStores, CaKeyType, CaMaterial, KeySlot, KeyStoreError, foreign};
use crate::pem;
use crate::public_key::CaPublicKey;
use vault::{Failure, last_segment, oldest};

pub use vault::{KeyVault, KeyVaultIdentity, KeyVaultSettings};

const CONTENT_TYPE: &str = "application/x-pem-file";

/// Keys in a vault: the main slot's under the configured names, every other's with `-{slot}` behind.
#[derive(Debug, Clone)]
pub struct KeyVaultKeyStores {
    vault: Arc<KeyVault>,
    key_name: String,
    certificate_name: String,
}

impl KeyVaultKeyStores {
    /// Makes one on a vault, which is not asked before it is used.
    pub fn new(vault: Arc<KeyVault>, key_name: impl Into<String>, certificate_name: impl Into<String>) -> Self {
        Self { vault, key_name: key_name.into(), certificate_name: certificate_name.into() }
    }
}

impl CaKeyStores for KeyVaultKeyStores {
    fn open(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError> {
        Ok(Arc::new(KeyVaultKeyStore {
            vault: Arc::clone(&self.vault),
            key_name: slot.within(&self.key_name),
            certificate_name: slot.within(&self.certificate_name),
            key: OnceCell::new(),
        }))
    }
}

/// A certificate authority's key in a vault.
#[derive(Debug)]
pub struct KeyVaultKeyStore {
    vault: Arc<KeyVault>,
    key_name: String,
    certificate_name: String,
    /// Asked for once: a version's key does not change.
    key: OnceCell<VersionedKey>,
}

#[derive(Debug, Clone)]
struct VersionedKey {
    version: String,
    public_key: CaPublicKey,
}

#[async_trait]
impl CaKeyStore for KeyVaultKeyStore {
    async fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        let job = async {
            let Some(key) = self.key().await? else { return Ok(CaMaterial::Absent) };
            Ok(match self.certificate().await? {
                None => CaMaterial::KeyOnly(key.public_key),
                Some(certificate) => CaMaterial::Complete { public_key: key.public_key, certificate },
            })
        };
        self.vault.bounded(job).await
    }

    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        let job = async {
            if self.key().await?.is_none() {
                self.vault.keys.create_key(&self.key_name, new_key(key_type).try_into()?, None).await?;
                tokio::time::sleep(self.vault.settling).await;
            }
            Ok(self.key().await?.ok_or(KeyStoreError::NoKey)?.public_key)
        };
        self.vault.bounded_creation(job).await
    }

    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let job = async {
            if self.key().await?.is_none() {
                return Err(KeyStoreError::NoKey.into());
            }
            if self.certificate().await?.is_none() {
                let secret = SetSecretParameters {
                    content_type: Some(CONTENT_TYPE.to_owned()),
                    value: Some(pem::encode("CERTIFICATE", certificate)),
                    ..SetSecretParameters::default()
                };
                self.vault.secrets.set_secret(&self.certificate_name, secret.try_into()?, None).await?;
                tokio::time::sleep(self.vault.settling).await;
            }
            let vanished = || self.malformed(&self.certificate_name, "it vanished while it was being stored");
            Ok(self.certificate().await?.ok_or_else(vanished)?)
        };
        self.vault.bounded_creation(job).await
    }

    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        self.vault.bounded(self.sign_with_key(to_be_signed)).await
    }
}

impl KeyVaultKeyStore {
    async fn sign_with_key(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, Failure> {
        let key = self.key().await?.ok_or(KeyStoreError::NoKey)?;
        let key_type = key.public_key.key_type();
        let parameters = SignParameters {
            algorithm: Some(match key_type {
                CaKeyType::Rsa2048 | CaKeyType::Rsa3072 | CaKeyType::Rsa4096 => SignatureAlgorithm::Rs256,
                CaKeyType::EcdsaP256 => SignatureAlgorithm::Es256,
                CaKeyType::EcdsaP384 => SignatureAlgorithm::Es384,
            }),
            value: Some(foreign::hash(key_type, to_be_signed).as_ref().to_vec()),
        };
        let options = KeyClientSignOptions { key_version: Some(key.version), ..KeyClientSignOptions::default() };
        let answer = self.vault.keys.sign(&self.key_name, parameters.try_into()?, Some(options)).await?;
        let odd = || KeyStoreError::Signing("the vault's answer is no signature".to_owned());
        let raw = answer.into_model()?.result.ok_or_else(odd)?;
        Ok(if foreign::is_rsa(key_type) { raw } else { foreign::ecdsa_to_der(&raw).ok_or_else(odd)? })
    }

    /// The oldest enabled version of the key.
    async fn key(&self) -> Result<Option<VersionedKey>, Failure> {
        if let Some(key) = self.key.get() {
            return Ok(Some(key.clone()));
        }
        let versions = self.vault.keys.list_key_properties_versions(&self.key_name, None)?;
        let versions = vault::unless_absent(versions.try_collect::<Vec<_>>().await)?.unwrap_or_default();
        let versions = versions.into_iter().filter_map(|version| {
            let attributes = version.attributes.as_ref()?;
            Some((attributes.enabled?, attributes.created?, last_segment(version.kid.as_deref()?)))
        });
        let Some(version) = oldest(versions) else { return Ok(None) };
        let options =
            KeyClientGetKeyOptions { key_version: Some(version.clone()), ..KeyClientGetKeyOptions::default() };
        let found = self.vault.keys.get_key(&self.key_name, Some(options)).await?.into_model()?;
        let unsupported =
            || self.malformed(&self.key_name, "not an RSA key of 2048, 3072 or 4096 bits, nor P-256 or P-384");
        let public_key = found.key.as_ref().and_then(public_key).ok_or_else(unsupported)?;
        Ok(Some(self.key.get_or_init(|| async { VersionedKey { version, public_key } }).await.clone()))
    }

    /// The oldest enabled version of the certificate, DER.
    async fn certificate(&self) -> Result<Option<Vec<u8>>, Failure> {
        let versions = self.vault.secrets.list_secret_properties_versions(&self.certificate_name, None)?;
        let versions = vault::unless_absent(versions.try_collect::<Vec<_>>().await)?.unwrap_or_default();
        let versions = versions.into_iter().filter_map(|version| {
            let attributes = version.attributes.as_ref()?;
            Some((attributes.enabled?, attributes.created?, last_segment(version.id.as_deref()?)))
        });
        let Some(version) = oldest(versions) else { return Ok(None) };
        let options =
            SecretClientGetSecretOptions { secret_version: Some(version), ..SecretClientGetSecretOptions::default() };
        let found = self.vault.secrets.get_secret(&self.certificate_name, Some(options)).await?.into_model()?;
        let malformed = || self.malformed(&self.certificate_name, "not one certificate in PEM");
        let certificate = pem::decode_one(found.value.as_deref().unwrap_or_default(), &["CERTIFICATE"]);
        Ok(Some(certificate.map_err(|_| malformed())?.to_vec()))
    }

    fn malformed(&self, name: &str, problem: &'static str) -> KeyStoreError {
        KeyStoreError::Malformed { location: format!("`{name}` in the {}", self.vault.location()), problem }
    }
}

fn new_key(key_type: CaKeyType) -> CreateKeyParameters {
    let (kty, key_size, curve) = match key_type {
        CaKeyType::Rsa2048 => (KeyType::Rsa, Some(2048), None),
        CaKeyType::Rsa3072 => (KeyType::Rsa, Some(3072), None),
        CaKeyType::Rsa4096 => (KeyType::Rsa, Some(4096), None),
        CaKeyType::EcdsaP256 => (KeyType::Ec, None, Some(CurveName::P256)),
        CaKeyType::EcdsaP384 => (KeyType::Ec, None, Some(CurveName::P384)),
    };
    CreateKeyParameters {
        kty: Some(kty),
        key_size,
        curve,
        key_ops: Some(vec![KeyOperation::Sign, KeyOperation::Verify]),
        ..CreateKeyParameters::default()
    }
}

fn public_key(key: &JsonWebKey) -> Option<CaPublicKey> {
    match (key.kty.as_ref()?, &key.crv) {
        (KeyType::Rsa | KeyType::RsaHsm, _) => foreign::rsa_public_key(key.n.as_deref()?, key.e.as_deref()?),
        (KeyType::Ec | KeyType::EcHsm, Some(CurveName::P256)) => point(CaKeyType::EcdsaP256, 32, key),
        (KeyType::Ec | KeyType::EcHsm, Some(CurveName::P384)) => point(CaKeyType::EcdsaP384, 48, key),
        _ => None,
    }
}

/// An uncompressed point; each coordinate fills its field (RFC 7518, section 6.2.1.2).
fn point(key_type: CaKeyType, octets: usize, key: &JsonWebKey) -> Option<CaPublicKey> {
    let (x, y) = (key.x.as_deref()?, key.y.as_deref()?);
    let is_whole = x.len() == octets && y.len() == octets;
    is_whole.then(|| [&[4], x, y].concat()).and_then(|point| CaPublicKey::from_raw(key_type, &point).ok())
}

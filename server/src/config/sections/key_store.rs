//! Where the authority's private key lives: `ca.key_store`, `[ca.pkcs11]` and `[azure_key_vault]`.

use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signalbeam_pki::KeyStoreSecret;

/// Where the authority's private key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStore {
    /// In a file of the data directory.
    #[default]
    File,
    /// In a PKCS#11 token.
    Pkcs11,
    /// In an Azure Key Vault.
    AzureKeyVault,
}

/// A passphrase or PIN. Prints and serialises as a placeholder, which is refused where it is read back.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(KeyStoreSecret);

const PLACEHOLDER: &str = "[redacted]";

impl Secret {
    /// What it is.
    pub fn reveal(&self) -> &KeyStoreSecret {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(PLACEHOLDER)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text == PLACEHOLDER {
            return Err(D::Error::custom("the secret itself, which `config print` does not print"));
        }
        Ok(Self(KeyStoreSecret::new(text)))
    }
}

/// `[ca.pkcs11]`: the token, where `ca.key_store` is `pkcs11`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pkcs11 {
    /// The token's PKCS#11 library, such as `/usr/lib/softhsm/libsofthsm2.so`. `SIGNALBEAM__CA__PKCS11__MODULE`, default
    /// none.
    pub module: Option<PathBuf>,
    /// The token's label. `SIGNALBEAM__CA__PKCS11__TOKEN_LABEL`, default none.
    pub token_label: Option<String>,
    /// The label of the authority's key and certificate in the token; later authorities add `-` and their slot.
    /// `SIGNALBEAM__CA__PKCS11__KEY_LABEL`, default `signalbeam-ca`.
    pub key_label: String,
    /// The user's PIN, for the environment; in files rather `pin_file`. `SIGNALBEAM__CA__PKCS11__PIN`, default none.
    pub pin: Option<Secret>,
    /// A file with the user's PIN in its first line, which only its owner may read. `SIGNALBEAM__CA__PKCS11__PIN_FILE`,
    /// default none.
    pub pin_file: Option<PathBuf>,
}

impl Default for Pkcs11 {
    fn default() -> Self {
        Self { module: None, token_label: None, key_label: "signalbeam-ca".to_owned(), pin: None, pin_file: None }
    }
}

/// `[azure_key_vault]`: the vault, where `ca.key_store` is `azure_key_vault`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AzureKeyVault {
    /// The vault's address, such as `https://NAME.vault.azure.net`. `SIGNALBEAM__AZURE_KEY_VAULT__VAULT_URI`, default
    /// none.
    pub vault_uri: Option<String>,
    /// Whether the server is who its machine, app or function is in Azure (managed identity). `false` takes the workload
    /// identity of a Kubernetes pod: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_FEDERATED_TOKEN_FILE`.
    /// `SIGNALBEAM__AZURE_KEY_VAULT__USE_MANAGED_IDENTITY`, default `true`.
    pub use_managed_identity: bool,
    /// The key's name: 1 to 94 letters, digits and `-`; later authorities add `-` and their slot.
    /// `SIGNALBEAM__AZURE_KEY_VAULT__CA_KEY_NAME`, default `signalbeam-ca-key`.
    pub ca_key_name: String,
    /// The name of the secret that holds the authority's certificate: 1 to 94 letters, digits and `-`; later authorities
    /// add `-` and their slot. `SIGNALBEAM__AZURE_KEY_VAULT__CA_CERT_NAME`, default `signalbeam-ca-cert`.
    pub ca_cert_name: String,
}

impl Default for AzureKeyVault {
    fn default() -> Self {
        Self {
            vault_uri: None,
            use_managed_identity: true,
            ca_key_name: "signalbeam-ca-key".to_owned(),
            ca_cert_name: "signalbeam-ca-cert".to_owned(),
        }
    }
}

//! The port behind which a certificate authority's key lives: the key never leaves, only signatures do.
//!
//! An adapter can be a file, a PKCS#11 token or a vault on the network, so everything is asynchronous and works on the
//! to-be-signed octets.

mod encryption;
mod file;
mod files;
mod foreign;
#[cfg(feature = "azure")]
mod key_vault;
mod local_key;
mod memory;
mod pkcs11;
mod secret;
mod slots;
mod transfer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use async_trait::async_trait;

use crate::blocking::JobLost;
use crate::public_key::CaPublicKey;

pub use file::FileKeyStore;
#[cfg(feature = "azure")]
pub use key_vault::{KeyVault, KeyVaultIdentity, KeyVaultKeyStore, KeyVaultKeyStores, KeyVaultSettings};
pub use memory::MemoryKeyStore;
pub use pkcs11::{Pkcs11KeyStore, Pkcs11KeyStores, Pkcs11Token, Pkcs11TokenSettings};
pub use secret::KeyStoreSecret;
pub use slots::{CaKeyStores, FileKeyStores, InvalidKeySlot, KeySlot, MemoryKeyStores};
pub use transfer::{PortableKey, UnreadableKey};

/// The types of key that a certificate authority can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CaKeyType {
    /// RSA with 2048 bits, signing with SHA-256.
    #[default]
    Rsa2048,
    /// RSA with 3072 bits, signing with SHA-256.
    Rsa3072,
    /// RSA with 4096 bits, signing with SHA-256.
    Rsa4096,
    /// ECDSA on P-256, signing with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384, signing with SHA-384.
    EcdsaP384,
}

impl CaKeyType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcdsaP256, Self::EcdsaP384];

    /// The name as it stands in the configuration, such as `rsa-2048`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
        }
    }
}

impl fmt::Display for CaKeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no [`CaKeyType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of rsa-2048, rsa-3072, rsa-4096, ecdsa-p256, ecdsa-p384")]
pub struct UnknownCaKeyType;

impl FromStr for CaKeyType {
    type Err = UnknownCaKeyType;

    fn from_str(text: &str) -> Result<Self, UnknownCaKeyType> {
        Self::ALL.into_iter().find(|key_type| key_type.as_str() == text).ok_or(UnknownCaKeyType)
    }
}

/// What a key store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaMaterial {
    /// Nothing yet.
    Absent,
    /// A key whose certificate is still missing: a first start was interrupted, and is to be completed with this key.
    KeyOnly(CaPublicKey),
    /// A key and its certificate.
    Complete {
        /// The public half of the key.
        public_key: CaPublicKey,
        /// The certificate, DER.
        certificate: Vec<u8>,
    },
}

/// Where a certificate authority's key lives.
///
/// Every adapter passes one contract suite: what was created is found again, also by another instance; of several that
/// create at once all end with the same key and the same certificate; signatures hold under the public key.
#[async_trait]
pub trait CaKeyStore: fmt::Debug + Send + Sync {
    /// Tells what is there.
    ///
    /// # Errors
    /// [`KeyStoreError`], also where what is there cannot be complete or is not protected.
    async fn load(&self) -> Result<CaMaterial, KeyStoreError>;

    /// Creates the key, durably. Where there is one already, also one that another process created a moment ago, that
    /// one is answered whatever its type.
    ///
    /// # Errors
    /// [`KeyStoreError`]
    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError>;

    /// Stores the key's certificate (DER), durably, and answers the certificate that stands there from now on: another
    /// one where another process was first.
    ///
    /// # Errors
    /// [`KeyStoreError`]
    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError>;

    /// Signs `to_be_signed` (not a digest of it) with the algorithm of the key's type: PKCS#1 v1.5 for RSA, a DER
    /// `ECDSA-Sig-Value` for ECDSA.
    ///
    /// # Errors
    /// [`KeyStoreError::NoKey`] before a key was created; otherwise whatever keeps the store from signing.
    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError>;
}

/// A key store's failure.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others than its owner may read or change the key.
    #[error("{} is accessible to others than its owner (mode {mode:04o}); type: chmod 600 {}", path.display(), path.display())]
    NotPrivate {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is a certificate but no key to it; making a new key would orphan every device.
    #[error(
        "{} is missing although {} exists; put the key back from a backup (`signalbeam ca import`), or, to start over with a \
         new certificate authority (every device then needs a new certificate), move the certificate away",
        key.display(), certificate.display()
    )]
    KeyMissing {
        /// Where the key should be.
        key: PathBuf,
        /// The certificate that is there.
        certificate: PathBuf,
    },
    /// The key is encrypted and nobody has told the passphrase.
    #[error(
        "{} is encrypted: tell its passphrase by `ca.key_passphrase_file` or the environment variable \
         SIGNALBEAM__CA__KEY_PASSPHRASE", key.display()
    )]
    PassphraseMissing {
        /// The key's file.
        key: PathBuf,
    },
    /// The key was encrypted under another passphrase.
    #[error(
        "the configured passphrase does not open {}: correct `ca.key_passphrase_file` or \
         SIGNALBEAM__CA__KEY_PASSPHRASE; to try one by hand, type: openssl pkey -in {} -noout",
        key.display(), key.display()
    )]
    WrongPassphrase {
        /// The key's file.
        key: PathBuf,
    },
    /// A stored key or certificate cannot be understood.
    #[error("{location}: {problem}")]
    Malformed {
        /// Where it is stored.
        location: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The token or vault does not answer, or refuses.
    #[error("the {location} is not available: {reason}")]
    Unavailable {
        /// Which one.
        location: String,
        /// What was seen.
        reason: String,
    },
    /// The token has refused the PIN, which is then not tried again: tokens lock themselves after a few wrong ones.
    #[error(
        "the {location} refused the PIN; it is not tried again, since a token locks itself after a few wrong ones: \
         correct `ca.pkcs11.pin_file` or SIGNALBEAM__CA__PKCS11__PIN and start the server anew"
    )]
    PinRefused {
        /// Which token.
        location: String,
    },
    /// A signature was asked for before a key was created.
    #[error("there is no key yet")]
    NoKey,
    /// The key could not be generated.
    #[error("the key could not be generated: {0}")]
    Generation(String),
    /// The key is there, but signing with it failed.
    #[error("signing failed: {0}")]
    Signing(String),
    /// The computation did not finish.
    #[error(transparent)]
    Lost(#[from] JobLost),
}

impl KeyStoreError {
    /// Whether the store may hold everything it should, and cannot be asked now.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::PinRefused { .. })
    }
}

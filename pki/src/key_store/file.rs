//! A key store in two files of a folder: `ca-key.pem` and `ca-cert.pem`.
//!
//! The key is written first and the certificate last, each to a file of its own that is synced and then linked to its
//! name. A link, unlike a rename, replaces nothing: of two processes that create at once the second finds the first
//! one's file and takes that. After a crash there is nothing, or a key, or both; a key alone is completed.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use rsa::pkcs8::SecretDocument;
use zeroize::Zeroizing;

use super::encryption::{self, CannotDecrypt};
use super::files::{self, Access};
use super::local_key::{LocalKey, Pkcs8};
use super::secret::KeyStoreSecret;
use super::transfer::{ENCRYPTED, PLAIN, PortableKey};
use super::{CaKeyStore, CaKeyType, CaMaterial, KeyStoreError};
use crate::blocking::BlockingPool;
use crate::pem::{self, PrivateKeyPem};
use crate::public_key::CaPublicKey;

const KEY_FILE: &str = "ca-key.pem";
const CERTIFICATE_FILE: &str = "ca-cert.pem";

/// A key store in a folder (mode 0700) with `ca-key.pem` (PKCS#8, mode 0600) and `ca-cert.pem`.
///
/// With a passphrase the key is created encrypted; it is decrypted once, and what was decrypted stays in memory while the
/// process lives.
#[derive(Debug, Clone)]
pub struct FileKeyStore {
    folder: Arc<Folder>,
    pool: BlockingPool,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    passphrase: Option<KeyStoreSecret>,
    key: OnceLock<Arc<LocalKey>>,
}

impl FileKeyStore {
    /// Makes one on a folder, which need not exist yet. Computes and touches files in `pool` only.
    pub fn new(folder: impl Into<PathBuf>, pool: BlockingPool) -> Self {
        Self::with_passphrase(folder, None, pool)
    }

    /// As [`Self::new`], for a key that is encrypted under a passphrase; where there is none, it is in the clear.
    ///
    /// A key that is there in the clear keeps working, with a word in the log on how to encrypt it.
    pub fn with_passphrase(folder: impl Into<PathBuf>, passphrase: Option<KeyStoreSecret>, pool: BlockingPool) -> Self {
        Self { folder: Arc::new(Folder { path: folder.into(), passphrase, key: OnceLock::new() }), pool }
    }

    /// Puts a key that was made elsewhere where there is none yet. Where there is one, that one stays: compare what is
    /// answered with what was given.
    ///
    /// # Errors
    /// [`KeyStoreError`]
    pub async fn put_key(&self, key: PortableKey) -> Result<CaPublicKey, KeyStoreError> {
        self.run(move |folder| folder.keep_or_make(|| Ok(key.pkcs8))).await
    }

    /// The key, to be taken elsewhere.
    ///
    /// # Errors
    /// [`KeyStoreError::NoKey`] where there is none, and as [`CaKeyStore::load`].
    pub async fn take_out(&self) -> Result<PortableKey, KeyStoreError> {
        self.run(|folder| {
            let pkcs8 = folder.pkcs8()?.ok_or(KeyStoreError::NoKey)?;
            PortableKey::from_pkcs8(pkcs8).map_err(|_| folder.not_supported())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Folder) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let folder = Arc::clone(&self.folder);
        self.pool.run(move || job(&folder)).await?
    }
}

#[async_trait]
impl CaKeyStore for FileKeyStore {
    async fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        self.run(Folder::load).await
    }

    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        self.run(move |folder| folder.create_key(key_type)).await
    }

    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let certificate = certificate.to_vec();
        self.run(move |folder| folder.store_certificate(&certificate)).await
    }

    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let to_be_signed = to_be_signed.to_vec();
        self.run(move |folder| folder.key()?.ok_or(KeyStoreError::NoKey)?.sign(&to_be_signed)).await
    }
}

impl Folder {
    fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        let certificate = self.certificate()?;
        match (self.key()?, certificate) {
            (None, None) => Ok(CaMaterial::Absent),
            (Some(key), None) => Ok(CaMaterial::KeyOnly(key.public_key().clone())),
            (None, Some(_)) => {
                Err(KeyStoreError::KeyMissing { key: self.file(KEY_FILE), certificate: self.file(CERTIFICATE_FILE) })
            }
            (Some(key), Some(certificate)) => {
                files::clear_unfinished(&self.path)?;
                Ok(CaMaterial::Complete { public_key: key.public_key().clone(), certificate })
            }
        }
    }

    fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        self.keep_or_make(|| LocalKey::generate(key_type))
    }

    fn keep_or_make(&self, make: impl FnOnce() -> Result<Pkcs8, KeyStoreError>) -> Result<CaPublicKey, KeyStoreError> {
        files::create_folder(&self.path)?;
        if self.key()?.is_none() {
            let pkcs8 = make()?;
            match &self.passphrase {
                None => files::publish(&self.path, KEY_FILE, 0o600, PrivateKeyPem::from_pkcs8_der(&pkcs8).expose())?,
                Some(passphrase) => {
                    let encrypted = encryption::encrypt(&pkcs8, passphrase)
                        .ok_or_else(|| KeyStoreError::Generation("the new key cannot be encrypted".to_owned()))?;
                    files::publish(&self.path, KEY_FILE, 0o600, &pem::encode(ENCRYPTED, encrypted.as_bytes()))?;
                }
            }
        }
        Ok(self.key()?.ok_or(KeyStoreError::NoKey)?.public_key().clone())
    }

    fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        if self.key()?.is_none() {
            return Err(KeyStoreError::NoKey);
        }
        files::publish(&self.path, CERTIFICATE_FILE, 0o644, &pem::encode("CERTIFICATE", certificate))?;
        self.certificate()?.ok_or_else(|| self.malformed(CERTIFICATE_FILE, "it vanished while it was being stored"))
    }

    /// The key, read once: what was read stays in use while the process lives.
    fn key(&self) -> Result<Option<Arc<LocalKey>>, KeyStoreError> {
        if let Some(key) = self.key.get() {
            return Ok(Some(Arc::clone(key)));
        }
        let Some(pkcs8) = self.pkcs8()? else { return Ok(None) };
        let key = LocalKey::from_pkcs8(&pkcs8).ok_or_else(|| self.not_supported())?;
        Ok(Some(Arc::clone(self.key.get_or_init(|| Arc::new(key)))))
    }

    fn pkcs8(&self) -> Result<Option<Pkcs8>, KeyStoreError> {
        let Some(text) = files::read(&self.file(KEY_FILE), Access::Private)? else { return Ok(None) };
        let not_a_key = |_| self.malformed(KEY_FILE, "not one PKCS#8 key in PEM (`BEGIN PRIVATE KEY`)");
        match pem::decode_one(&text, &[ENCRYPTED]) {
            Ok(encrypted) => Ok(Some(Zeroizing::new(self.decrypt(&encrypted)?.as_bytes().to_vec()))),
            Err(_) => {
                pem::decode_one(&text, &[PLAIN]).map(Some).map_err(not_a_key).inspect(|_| self.warn_of_plain_key())
            }
        }
    }

    fn not_supported(&self) -> KeyStoreError {
        self.malformed(KEY_FILE, "not an RSA key of 2048, 3072 or 4096 bits, nor P-256 or P-384")
    }

    fn certificate(&self) -> Result<Option<Vec<u8>>, KeyStoreError> {
        let Some(text) = files::read(&self.file(CERTIFICATE_FILE), Access::Public)? else { return Ok(None) };
        pem::decode_one(&text, &["CERTIFICATE"])
            .map(|der| Some(der.to_vec()))
            .map_err(|_| self.malformed(CERTIFICATE_FILE, "not one certificate in PEM"))
    }

    fn decrypt(&self, encrypted: &[u8]) -> Result<SecretDocument, KeyStoreError> {
        let path = || self.file(KEY_FILE);
        let passphrase = self.passphrase.as_ref().ok_or_else(|| KeyStoreError::PassphraseMissing { key: path() })?;
        encryption::decrypt(encrypted, passphrase).map_err(|reason| match reason {
            CannotDecrypt::Unsupported => {
                self.malformed(KEY_FILE, "encrypted in a way that is not supported (PBES2 with AES is)")
            }
            CannotDecrypt::TooCostly => self.malformed(
                KEY_FILE,
                "encrypted at a cost beyond 10,000,000 iterations of PBKDF2, or scrypt with 256 MiB and N*r*p = 2^23",
            ),
            CannotDecrypt::WrongPassphrase => KeyStoreError::WrongPassphrase { key: path() },
        })
    }

    fn warn_of_plain_key(&self) {
        if self.passphrase.is_some() {
            let key = self.file(KEY_FILE);
            let key = key.display();
            tracing::warn!(
                "{key} is not encrypted although a passphrase is configured. To encrypt it: \
                 openssl pkcs8 -topk8 -scrypt -in {key} -out {key}.new -passout file:PASSPHRASE_FILE && \
                 chmod 600 {key}.new && mv {key}.new {key}"
            );
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn malformed(&self, name: &str, problem: &'static str) -> KeyStoreError {
        files::malformed(&self.file(name), problem)
    }
}

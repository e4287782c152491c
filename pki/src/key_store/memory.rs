//! Keys that live as long as the process.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::local_key::LocalKey;
use super::{CaKeyStore, CaKeyType, CaMaterial, KeyStoreError};
use crate::blocking::BlockingPool;
use crate::public_key::CaPublicKey;

/// A key store that forgets everything when its last clone is dropped. Clones share their contents.
#[derive(Debug, Clone)]
pub struct MemoryKeyStore {
    contents: Arc<Mutex<Contents>>,
    pool: BlockingPool,
}

#[derive(Debug, Default)]
struct Contents {
    key: Option<Arc<LocalKey>>,
    certificate: Option<Vec<u8>>,
}

impl MemoryKeyStore {
    /// Makes an empty one that computes in `pool`.
    pub fn new(pool: BlockingPool) -> Self {
        Self { contents: Arc::default(), pool }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Contents) -> T) -> T {
        look(&mut self.contents.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl CaKeyStore for MemoryKeyStore {
    async fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        Ok(self.with(|contents| match (&contents.key, &contents.certificate) {
            (None, _) => CaMaterial::Absent,
            (Some(key), None) => CaMaterial::KeyOnly(key.public_key().clone()),
            (Some(key), Some(certificate)) => {
                CaMaterial::Complete { public_key: key.public_key().clone(), certificate: certificate.clone() }
            }
        }))
    }

    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        let pkcs8 = self.pool.run(move || LocalKey::generate(key_type)).await??;
        let key = LocalKey::from_pkcs8(&pkcs8)
            .ok_or_else(|| KeyStoreError::Generation("the generated key cannot be read back".to_owned()))?;
        Ok(self.with(|contents| contents.key.get_or_insert_with(|| Arc::new(key)).public_key().clone()))
    }

    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        self.with(|contents| match contents.key {
            None => Err(KeyStoreError::NoKey),
            Some(_) => Ok(contents.certificate.get_or_insert_with(|| certificate.to_vec()).clone()),
        })
    }

    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let key = self.with(|contents| contents.key.clone()).ok_or(KeyStoreError::NoKey)?;
        let to_be_signed = to_be_signed.to_vec();
        self.pool.run(move || key.sign(&to_be_signed)).await?
    }
}

//! A key store in a PKCS#11 token: an HSM, or software that stands for one. The key is made in the token and cannot
//! leave it.
//!
//! The objects carry one label: a private and a public key, tied to each other by `CKA_ID`, and the certificate
//! (`CKO_CERTIFICATE`) with the same `CKA_ID`, so that every node that sees the token finds all of it.
//!
//! A token knows neither transactions nor unique labels. Within a process creation is serialised; of keys that two
//! processes made at the same time the one with the lowest `CKA_ID` stays, as each of them finds when it looks again
//! after [`Pkcs11TokenSettings::settling`]. A token that takes longer than that to show one node's objects to another, or to make a key,
//! can end with two keys: then create the first node's key alone.

mod module;
mod objects;
mod token;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{CaKeyStore, CaKeyStores, CaKeyType, CaMaterial, KeySlot, KeyStoreError};
use crate::blocking::BlockingPool;
use crate::public_key::CaPublicKey;
use objects::Objects;

pub use token::{Pkcs11Token, Pkcs11TokenSettings};

/// How long a caller waits for a token. Generating an RSA key takes small tokens a while.
const CREATION_TIMEOUT: Duration = Duration::from_mins(2);
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many sessions are open at most; each is one blocking thread while it works.
const SESSIONS: usize = 4;

/// A certificate authority's key in a PKCS#11 token.
///
/// Nothing is opened before the first call. A call that fails is one error; the next one logs in anew, so that a token
/// that comes back serves again without a restart.
#[derive(Debug, Clone)]
pub struct Pkcs11KeyStore {
    token: Arc<Pkcs11Token>,
    label: Arc<str>,
    pool: BlockingPool,
}

impl Pkcs11KeyStore {
    /// Makes one on the objects of a label.
    pub fn new(token: Arc<Pkcs11Token>, label: &str) -> Self {
        Self { token, label: label.into(), pool: BlockingPool::new(SESSIONS) }
    }

    /// Runs a job on a blocking thread. A job whose caller has given up runs on, and keeps its place in the pool.
    async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        job: impl Fn(&mut Objects<'_>) -> Result<T, objects::Failure> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let (token, label) = (Arc::clone(&self.token), Arc::clone(&self.label));
        let work = self.pool.run(move || {
            token.with(|session| job(&mut Objects { session, label: &label, settling: token.settling() }))
        });
        match tokio::time::timeout(timeout, work).await {
            Ok(outcome) => outcome?,
            Err(_) => Err(self.token.unavailable(format!("no answer within {} s", timeout.as_secs()))),
        }
    }
}

/// Keys in a token: the main slot's under the configured label, every other's under `{label}-{slot}`.
#[derive(Debug, Clone)]
pub struct Pkcs11KeyStores {
    token: Arc<Pkcs11Token>,
    label: String,
}

impl Pkcs11KeyStores {
    /// Makes one on a token, which is not opened before it is used.
    pub fn new(token: Arc<Pkcs11Token>, label: impl Into<String>) -> Self {
        Self { token, label: label.into() }
    }
}

impl CaKeyStores for Pkcs11KeyStores {
    fn open(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError> {
        Ok(Arc::new(Pkcs11KeyStore::new(Arc::clone(&self.token), &slot.within(&self.label))))
    }
}

#[async_trait]
impl CaKeyStore for Pkcs11KeyStore {
    async fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        self.run(TIMEOUT, |objects| {
            let Some(key) = objects.key()? else { return Ok(CaMaterial::Absent) };
            let public_key = objects.public_key(&key)?;
            Ok(match objects.certificate(&key)? {
                None => CaMaterial::KeyOnly(public_key),
                Some(certificate) => CaMaterial::Complete { public_key, certificate },
            })
        })
        .await
    }

    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        self.run(CREATION_TIMEOUT, move |objects| {
            let _one_at_a_time = module::creation();
            if objects.key()?.is_none() {
                let ours = objects.generate(key_type)?;
                objects.settle();
                objects.give_way(&ours)?;
            }
            let key = objects.key()?.ok_or(KeyStoreError::NoKey)?;
            objects.public_key(&key)
        })
        .await
    }

    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let certificate = certificate.to_vec();
        self.run(CREATION_TIMEOUT, move |objects| {
            let _one_at_a_time = module::creation();
            let key = objects.key()?.ok_or(KeyStoreError::NoKey)?;
            if objects.certificate(&key)?.is_none() {
                let ours = objects.store_certificate(&key, &certificate)?;
                objects.settle();
                objects.give_way_with_certificate(&key, &certificate, ours)?;
            }
            Ok(objects.certificate(&key)?.ok_or(KeyStoreError::NoKey)?)
        })
        .await
    }

    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let to_be_signed = to_be_signed.to_vec();
        self.run(TIMEOUT, move |objects| objects.sign(&to_be_signed)).await
    }
}

//! Keys that are made here for devices which cannot make their own.
//!
//! None is made before somebody asks for it: a key that lies ready in memory is one that a core dump tells.

use std::sync::Arc;
use std::thread;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair,
};
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use tokio::sync::{Semaphore, oneshot};
use zeroize::Zeroizing;

use crate::blocking::JobLost;
use crate::csr::CsrError;
use crate::key_type::DeviceKeyType;
use crate::pem::PrivateKeyPem;
use crate::public_key::{DevicePublicKey, spki_der};

/// A private key as PKCS#8 DER, and its DER `SubjectPublicKeyInfo`.
type KeyPairDer = (Zeroizing<Vec<u8>>, Vec<u8>);

/// PKCS#8 version 1 around an Ed25519 seed (RFC 8410, section 7). Version 2, with the public key, is what many a device's
/// library cannot read.
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DeviceKeyError {
    /// As many RSA keys as may wait are waiting: nothing was begun.
    #[error("too many keys are being made")]
    Busy,
    /// The source of random numbers or the encoding failed.
    #[error("the key could not be generated: {0}")]
    Generation(&'static str),
    /// The key that came out has a known weakness.
    #[error("the generated key is not acceptable")]
    Unacceptable(#[from] CsrError),
    /// The computation did not finish.
    #[error(transparent)]
    Lost(#[from] JobLost),
    /// No thread could be started for the computation.
    #[error("no thread could be started")]
    Thread(#[source] std::io::Error),
}

/// Makes keys for devices. RSA keys take from a tenth of a second to many seconds of computing: so many at a time, each
/// on a thread of the lowest priority, so that whoever is answered meanwhile does not notice; so many may wait.
#[derive(Debug, Clone)]
pub struct DeviceKeyGenerator {
    running: Arc<Semaphore>,
    /// Who is running or waiting.
    places: Arc<Semaphore>,
}

impl DeviceKeyGenerator {
    /// Makes a generator of at most so many RSA keys at a time, at least one, with so many waiting.
    pub fn new(at_a_time: usize, waiting: usize) -> Self {
        let at_a_time = at_a_time.max(1);
        Self { running: Arc::new(Semaphore::new(at_a_time)), places: Arc::new(Semaphore::new(at_a_time + waiting)) }
    }

    /// Makes a generator for half of the processors, at least one, with sixteen keys waiting for each.
    pub fn beside_other_work() -> Self {
        let at_a_time = thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1));
        Self::new(at_a_time, 16 * at_a_time)
    }

    /// Makes a key pair. The private half is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`DeviceKeyError::Busy`] where too many wait already; the others where the machine fails.
    pub async fn generate(&self, kind: DeviceKeyType) -> Result<(PrivateKeyPem, DevicePublicKey), DeviceKeyError> {
        let (pkcs8, spki) = match kind {
            DeviceKeyType::Rsa2048 => self.rsa(2048).await?,
            DeviceKeyType::Rsa3072 => self.rsa(3072).await?,
            DeviceKeyType::Rsa4096 => self.rsa(4096).await?,
            DeviceKeyType::EcdsaP256 => generate_p256()?,
            DeviceKeyType::EcdsaP384 => generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, alg_id::ECDSA_P384)?,
            DeviceKeyType::Ed25519 => generate_ed25519()?,
        };
        Ok((PrivateKeyPem::from_pkcs8_der(&pkcs8), DevicePublicKey::from_spki_der(&spki)?))
    }

    async fn rsa(&self, bits: usize) -> Result<KeyPairDer, DeviceKeyError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| DeviceKeyError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| JobLost)?;
        let (answer, made) = oneshot::channel();
        // A thread of its own, and no blocking one of the runtime: its priority cannot be raised again.
        let computing = move || {
            yield_to_others();
            // Whoever asked may have gone away.
            drop(answer.send(generate_rsa(bits)));
            drop((place, running));
        };
        thread::Builder::new().name("rsa-key".to_owned()).spawn(computing).map_err(DeviceKeyError::Thread)?;
        made.await.map_err(|_| JobLost)?
    }
}

/// Lets every other thread of the machine go first, on Linux; elsewhere the priority is the whole process's.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    // Where that is not allowed the keys are made all the same.
    let _refused = rustix::process::setpriority_process(None, 19);
}

/// An RSA key as PKCS#8 DER, and its DER `SubjectPublicKeyInfo`.
pub(crate) fn generate_rsa(bits: usize) -> Result<KeyPairDer, DeviceKeyError> {
    let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits)
        .map_err(|_| DeviceKeyError::Generation("RSA key generation"))?;
    let pkcs8 = key.to_pkcs8_der().map_err(|_| DeviceKeyError::Generation("PKCS#8 encoding"))?;
    let spki =
        key.to_public_key().to_public_key_der().map_err(|_| DeviceKeyError::Generation("public key encoding"))?;
    Ok((Zeroizing::new(pkcs8.as_bytes().to_vec()), spki.into_vec()))
}

/// A P-256 key as PKCS#8 DER, and its DER `SubjectPublicKeyInfo`.
pub(crate) fn generate_p256() -> Result<KeyPairDer, DeviceKeyError> {
    generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, alg_id::ECDSA_P256)
}

fn generate_ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    id: AlgorithmIdentifier,
) -> Result<KeyPairDer, DeviceKeyError> {
    let random = SystemRandom::new();
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| DeviceKeyError::Generation("random numbers"))?;
    let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
    let key = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random)
        .map_err(|_| DeviceKeyError::Generation("PKCS#8 decoding"))?;
    let spki =
        spki_der(id.as_ref(), key.public_key().as_ref()).ok_or(DeviceKeyError::Generation("public key encoding"))?;
    Ok((pkcs8, spki))
}

fn generate_ed25519() -> Result<KeyPairDer, DeviceKeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *seed).map_err(|_| DeviceKeyError::Generation("random numbers"))?;
    let key = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| DeviceKeyError::Generation("the seed"))?;
    let spki = spki_der(alg_id::ED25519.as_ref(), key.public_key().as_ref())
        .ok_or(DeviceKeyError::Generation("public key encoding"))?;
    let mut pkcs8 = Zeroizing::new(Vec::with_capacity(ED25519_PKCS8.len() + seed.len()));
    pkcs8.extend_from_slice(&ED25519_PKCS8);
    pkcs8.extend_from_slice(&*seed);
    Ok((pkcs8, spki))
}

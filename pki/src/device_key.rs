//! Keys that are made here for devices which cannot make their own.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use rustls_pki_types::alg_id;
use zeroize::Zeroizing;

use crate::blocking::{BlockingPool, JobLost};
use crate::csr::CsrError;
use crate::pem::PrivateKeyPem;
use crate::public_key::{DevicePublicKey, spki_der};

/// The kinds of key that can be made for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceKeyType {
    /// RSA with 2048 bits, about 100 ms of computing.
    #[default]
    Rsa2048,
    /// ECDSA on P-256.
    EcdsaP256,
}

/// A key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DeviceKeyError {
    /// The source of random numbers or the encoding failed.
    #[error("the key could not be generated: {0}")]
    Generation(&'static str),
    /// The key that came out has a known weakness.
    #[error("the generated key is not acceptable")]
    Unacceptable(#[from] CsrError),
    /// The computation did not finish.
    #[error(transparent)]
    Lost(#[from] JobLost),
}

/// Makes keys for devices, so many at a time as its pool allows.
#[derive(Debug, Clone)]
pub struct DeviceKeyGenerator {
    pool: BlockingPool,
}

impl DeviceKeyGenerator {
    /// Makes a generator that computes in `pool`.
    pub fn new(pool: BlockingPool) -> Self {
        Self { pool }
    }

    /// Makes a key pair. The private half is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`DeviceKeyError`] where the machine fails; nothing that a caller sends can cause it.
    pub async fn generate(&self, kind: DeviceKeyType) -> Result<(PrivateKeyPem, DevicePublicKey), DeviceKeyError> {
        self.pool.run(move || generate(kind)).await?
    }
}

fn generate(kind: DeviceKeyType) -> Result<(PrivateKeyPem, DevicePublicKey), DeviceKeyError> {
    let (pkcs8, spki) = match kind {
        DeviceKeyType::Rsa2048 => generate_rsa(2048)?,
        DeviceKeyType::EcdsaP256 => generate_p256()?,
    };
    Ok((PrivateKeyPem::from_pkcs8_der(&pkcs8), DevicePublicKey::from_spki_der(&spki)?))
}

/// An RSA key as PKCS#8 DER, and its DER `SubjectPublicKeyInfo`.
pub(crate) fn generate_rsa(bits: usize) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), DeviceKeyError> {
    let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits)
        .map_err(|_| DeviceKeyError::Generation("RSA key generation"))?;
    let pkcs8 = key.to_pkcs8_der().map_err(|_| DeviceKeyError::Generation("PKCS#8 encoding"))?;
    let spki =
        key.to_public_key().to_public_key_der().map_err(|_| DeviceKeyError::Generation("public key encoding"))?;
    Ok((Zeroizing::new(pkcs8.as_bytes().to_vec()), spki.into_vec()))
}

/// A P-256 key as PKCS#8 DER, and its DER `SubjectPublicKeyInfo`.
pub(crate) fn generate_p256() -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), DeviceKeyError> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
        .map_err(|_| DeviceKeyError::Generation("random numbers"))?;
    let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random)
        .map_err(|_| DeviceKeyError::Generation("PKCS#8 decoding"))?;
    let spki = spki_der(alg_id::ECDSA_P256.as_ref(), key.public_key().as_ref())
        .ok_or(DeviceKeyError::Generation("public key encoding"))?;
    Ok((pkcs8, spki))
}

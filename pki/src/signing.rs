//! Certificates signed by a key that is elsewhere, in two passes: the first records the octets that are to be signed, the
//! key store signs them without blocking a thread, the second puts the signature in its place.

use std::sync::{Mutex, PoisonError};

use rcgen::{Certificate, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::{RawPublicKeyEntity, ring as algorithms};

use crate::authority::AuthorityError;
use crate::key_store::{CaKeyStore, CaKeyType};
use crate::public_key::CaPublicKey;

/// Stands in for the private key while a certificate is put together.
pub(crate) struct TwoPassSigner<'k> {
    key: &'k CaPublicKey,
    pass: Mutex<Pass>,
}

enum Pass {
    /// Keeps what is to be signed; the signature is a placeholder.
    Record(Vec<u8>),
    /// Hands out the signature, for the same octets only.
    Replay { to_be_signed: Vec<u8>, signature: Vec<u8> },
}

impl PublicKeyData for TwoPassSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl SigningKey for TwoPassSigner<'_> {
    fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match &mut *self.pass.lock().unwrap_or_else(PoisonError::into_inner) {
            Pass::Record(to_be_signed) => {
                *to_be_signed = octets.to_vec();
                Ok(vec![0])
            }
            Pass::Replay { to_be_signed, signature } if to_be_signed == octets => Ok(signature.clone()),
            Pass::Replay { .. } => Err(rcgen::Error::RemoteKeyError),
        }
    }
}

/// Runs `build` twice around one signature of the key store. Both times it must put together the same octets.
///
/// # Errors
/// [`AuthorityError`] where the store cannot sign, its signature does not hold, or the octets differ.
pub(crate) async fn in_two_passes(
    key: &CaPublicKey,
    store: &dyn CaKeyStore,
    build: impl Fn(&TwoPassSigner<'_>) -> Result<Certificate, rcgen::Error> + Send,
) -> Result<Certificate, AuthorityError> {
    let recorder = TwoPassSigner { key, pass: Mutex::new(Pass::Record(Vec::new())) };
    build(&recorder)?;
    let Pass::Record(to_be_signed) = recorder.pass.into_inner().unwrap_or_else(PoisonError::into_inner) else {
        return Err(AuthorityError::Build(rcgen::Error::RemoteKeyError));
    };
    let signature = store.sign(&to_be_signed).await?;
    if !holds(key, &to_be_signed, &signature) {
        return Err(AuthorityError::BadSignature);
    }
    let replayer = TwoPassSigner { key, pass: Mutex::new(Pass::Replay { to_be_signed, signature }) };
    Ok(build(&replayer)?)
}

/// Whether a signature holds under the key; one from a faulty store must not get out.
pub(crate) fn holds(key: &CaPublicKey, message: &[u8], signature: &[u8]) -> bool {
    RawPublicKeyEntity::try_from(&SubjectPublicKeyInfoDer::from(key.spki_der()))
        .and_then(|entity| entity.verify_signature(verification_algorithm(key.key_type()), message, signature))
        .is_ok()
}

fn verification_algorithm(key_type: CaKeyType) -> &'static dyn SignatureVerificationAlgorithm {
    match key_type {
        CaKeyType::Rsa2048 | CaKeyType::Rsa3072 | CaKeyType::Rsa4096 => algorithms::RSA_PKCS1_2048_8192_SHA256,
        CaKeyType::EcdsaP256 => algorithms::ECDSA_P256_SHA256,
        CaKeyType::EcdsaP384 => algorithms::ECDSA_P384_SHA384,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocking::BlockingPool;
    use crate::key_store::MemoryKeyStore;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn self_signed(signer: &TwoPassSigner<'_>, serial: u64) -> Result<Certificate, rcgen::Error> {
        let mut params = rcgen::CertificateParams::default();
        params.serial_number = Some(serial.into());
        params.self_signed(signer)
    }

    #[tokio::test]
    async fn octets_that_differ_between_the_passes_are_refused() {
        let store = MemoryKeyStore::new(BlockingPool::new(1));
        let key = store.create_key(CaKeyType::EcdsaP256).await.unwrap();
        in_two_passes(&key, &store, |signer| self_signed(signer, 7)).await.unwrap();
        let calls = AtomicU64::new(1);
        let differing =
            in_two_passes(&key, &store, |signer| self_signed(signer, calls.fetch_add(1, Ordering::Relaxed))).await;
        assert!(matches!(differing, Err(AuthorityError::Build(rcgen::Error::RemoteKeyError))), "{differing:?}");
    }

    #[tokio::test]
    async fn a_signature_by_another_key_never_gets_out() {
        let store = MemoryKeyStore::new(BlockingPool::new(1));
        store.create_key(CaKeyType::EcdsaP256).await.unwrap();
        let other = MemoryKeyStore::new(BlockingPool::new(1)).create_key(CaKeyType::EcdsaP256).await.unwrap();
        let refused = in_two_passes(&other, &store, |signer| self_signed(signer, 7)).await;
        assert!(matches!(refused, Err(AuthorityError::BadSignature)), "{refused:?}");
    }
}

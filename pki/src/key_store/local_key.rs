//! A private key in this process's memory.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use zeroize::Zeroizing;

use super::{CaKeyType, KeyStoreError};
use crate::device_key::generate_rsa;
use crate::public_key::CaPublicKey;

/// A key pair that signs with the algorithm of its type.
pub(super) struct LocalKey {
    pair: Pair,
    public_key: CaPublicKey,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

/// A key's PKCS#8 DER.
pub(super) type Pkcs8 = Zeroizing<Vec<u8>>;

impl LocalKey {
    /// Generates a key; RSA takes from a tenth of a second to several seconds.
    pub(super) fn generate(key_type: CaKeyType) -> Result<Pkcs8, KeyStoreError> {
        match key_type {
            CaKeyType::Rsa2048 => rsa_pkcs8(2048),
            CaKeyType::Rsa3072 => rsa_pkcs8(3072),
            CaKeyType::Rsa4096 => rsa_pkcs8(4096),
            CaKeyType::EcdsaP256 => ecdsa_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING),
            CaKeyType::EcdsaP384 => ecdsa_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING),
        }
    }

    /// Reads PKCS#8 DER; `None` where it is no key of a supported type.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            let key_type = match pair.public().modulus_len() {
                256 => CaKeyType::Rsa2048,
                384 => CaKeyType::Rsa3072,
                512 => CaKeyType::Rsa4096,
                _ => return None,
            };
            let public_key = CaPublicKey::from_raw(key_type, pair.public().as_ref()).ok()?;
            return Some(Self { pair: Pair::Rsa(Box::new(pair)), public_key });
        }
        let random = SystemRandom::new();
        [
            (CaKeyType::EcdsaP256, &ECDSA_P256_SHA256_ASN1_SIGNING),
            (CaKeyType::EcdsaP384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        ]
        .into_iter()
        .find_map(|(key_type, algorithm)| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, der, &random).ok()?;
            let public_key = CaPublicKey::from_raw(key_type, pair.public_key().as_ref()).ok()?;
            Some(Self { pair: Pair::Ecdsa(Box::new(pair)), public_key })
        })
    }

    pub(super) fn public_key(&self) -> &CaPublicKey {
        &self.public_key
    }

    pub(super) fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let random = SystemRandom::new();
        let failed = |_| KeyStoreError::Signing("the cryptographic library refused".to_owned());
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, to_be_signed, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, to_be_signed).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

fn rsa_pkcs8(bits: usize) -> Result<Pkcs8, KeyStoreError> {
    generate_rsa(bits).map(|(pkcs8, _)| pkcs8).map_err(|error| KeyStoreError::Generation(error.to_string()))
}

fn ecdsa_pkcs8(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Pkcs8, KeyStoreError> {
    EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(|_| KeyStoreError::Generation("no random numbers".to_owned()))
}

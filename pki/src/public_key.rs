//! Public keys: which kinds are allowed, and exactly the octets that stand for them.

use std::fmt;

use rcgen::PublicKeyData;
use rsa::pkcs8::der::asn1::{AnyRef, BitStringRef};
use rsa::pkcs8::der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use rustls_pki_types::alg_id;
use signalbeam_domain::Digest;

use crate::certificate::sha256;
use crate::csr::CsrError;
use crate::curve;
use crate::key_store::CaKeyType;
use crate::key_type::DeviceKeyType;
use crate::weak_keys::{self, KeyWeakness};

/// The kinds of key that a device's certificate may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKeyAlgorithm {
    /// RSA with a modulus of 2048 to 4096 bits and exponent 65537.
    Rsa,
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519 (RFC 8410).
    Ed25519,
}

impl DeviceKeyAlgorithm {
    /// What stands for the key's algorithm in a certificate; nothing is signed with it.
    pub(crate) fn signature_algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

/// A device's public key, judged fit to be certified.
///
/// Holds the `SubjectPublicKeyInfo` octet for octet as the device sent it.
#[derive(Clone, PartialEq, Eq)]
pub struct DevicePublicKey {
    algorithm: DeviceKeyAlgorithm,
    key_type: DeviceKeyType,
    spki: Vec<u8>,
    bits: Vec<u8>,
}

impl DevicePublicKey {
    /// Takes a DER `SubjectPublicKeyInfo` of an allowed kind that has none of the known weaknesses.
    ///
    /// # Errors
    /// [`CsrError::InvalidCsr`] where it cannot be read, [`CsrError::WeakKey`] where it must not be certified.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, CsrError> {
        let parts = SpkiParts::parse(der).ok_or(CsrError::InvalidCsr("its public key cannot be read"))?;
        let (algorithm, key_type) = match parts.algorithm {
            id if id == alg_id::RSA_ENCRYPTION.as_ref() => {
                let bits = weak_keys::check_rsa(parts.bits)?;
                (DeviceKeyAlgorithm::Rsa, DeviceKeyType::of_rsa(bits))
            }
            id if id == alg_id::ECDSA_P256.as_ref() => {
                curve::P256.check(parts.bits)?;
                (DeviceKeyAlgorithm::EcdsaP256, DeviceKeyType::EcdsaP256)
            }
            id if id == alg_id::ECDSA_P384.as_ref() => {
                curve::P384.check(parts.bits)?;
                (DeviceKeyAlgorithm::EcdsaP384, DeviceKeyType::EcdsaP384)
            }
            id if id == alg_id::ED25519.as_ref() => {
                curve::check_ed25519(parts.bits)?;
                (DeviceKeyAlgorithm::Ed25519, DeviceKeyType::Ed25519)
            }
            _ => return Err(KeyWeakness::Algorithm.into()),
        };
        Ok(Self { algorithm, key_type, spki: der.to_vec(), bits: parts.bits.to_vec() })
    }

    /// Which of the types that profiles allow or not it counts as.
    pub fn key_type(&self) -> DeviceKeyType {
        self.key_type
    }

    /// Which kind of key it is.
    pub fn algorithm(&self) -> DeviceKeyAlgorithm {
        self.algorithm
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 of the DER `SubjectPublicKeyInfo`: by it a repeated request is recognised.
    pub fn sha256(&self) -> Digest {
        Digest(sha256(&self.spki))
    }
}

impl fmt::Debug for DevicePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevicePublicKey({:?}, {})", self.algorithm, self.sha256())
    }
}

impl PublicKeyData for DevicePublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm.signature_algorithm()
    }
}

/// The public half of a certificate authority's key.
#[derive(Clone, PartialEq, Eq)]
pub struct CaPublicKey {
    key_type: CaKeyType,
    spki: Vec<u8>,
    bits: Vec<u8>,
}

/// The key is of no type that a certificate authority can have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a certificate authority's key is RSA with 2048, 3072 or 4096 bits, or ECDSA on P-256 or P-384")]
pub struct UnsupportedCaKey;

impl CaPublicKey {
    /// Takes a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`UnsupportedCaKey`] where its type is none of [`CaKeyType`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, UnsupportedCaKey> {
        let parts = SpkiParts::parse(der).ok_or(UnsupportedCaKey)?;
        let key_type = match parts.algorithm {
            id if id == alg_id::RSA_ENCRYPTION.as_ref() => match weak_keys::rsa_modulus_bits(parts.bits) {
                Some(2048) => CaKeyType::Rsa2048,
                Some(3072) => CaKeyType::Rsa3072,
                Some(4096) => CaKeyType::Rsa4096,
                _ => return Err(UnsupportedCaKey),
            },
            id if id == alg_id::ECDSA_P256.as_ref() => CaKeyType::EcdsaP256,
            id if id == alg_id::ECDSA_P384.as_ref() => CaKeyType::EcdsaP384,
            _ => return Err(UnsupportedCaKey),
        };
        Ok(Self { key_type, spki: der.to_vec(), bits: parts.bits.to_vec() })
    }

    /// Puts the DER `SubjectPublicKeyInfo` together from a raw key: `RSAPublicKey` or an uncompressed point.
    ///
    /// # Errors
    /// [`UnsupportedCaKey`] where the raw key is not of that type.
    pub fn from_raw(key_type: CaKeyType, bits: &[u8]) -> Result<Self, UnsupportedCaKey> {
        let algorithm = match key_type {
            CaKeyType::Rsa2048 | CaKeyType::Rsa3072 | CaKeyType::Rsa4096 => alg_id::RSA_ENCRYPTION,
            CaKeyType::EcdsaP256 => alg_id::ECDSA_P256,
            CaKeyType::EcdsaP384 => alg_id::ECDSA_P384,
        };
        let spki = spki_der(algorithm.as_ref(), bits).ok_or(UnsupportedCaKey)?;
        Self::from_spki_der(&spki).ok().filter(|key| key.key_type == key_type).ok_or(UnsupportedCaKey)
    }

    /// Which type of key it is; it decides the signature algorithm.
    pub fn key_type(&self) -> CaKeyType {
        self.key_type
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }
}

impl fmt::Debug for CaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaPublicKey({}, {})", self.key_type, Digest(sha256(&self.spki)))
    }
}

impl PublicKeyData for CaPublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.key_type {
            CaKeyType::Rsa2048 | CaKeyType::Rsa3072 | CaKeyType::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
            CaKeyType::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            CaKeyType::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// A `SubjectPublicKeyInfo` taken apart; both parts are the contents without tag and length.
pub(crate) struct SpkiParts<'a> {
    pub(crate) algorithm: &'a [u8],
    pub(crate) bits: &'a [u8],
}

impl<'a> SpkiParts<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(sequence(der)?).ok()?;
        let algorithm = sequence(reader.tlv_bytes().ok()?)?;
        let bits = BitStringRef::decode(&mut reader).ok()?.as_bytes()?;
        reader.finish(Self { algorithm, bits }).ok()
    }
}

/// The contents of a DER `SEQUENCE` that fills the whole input.
pub(crate) fn sequence(der: &[u8]) -> Option<&[u8]> {
    let any = AnyRef::from_der(der).ok()?;
    (any.tag() == Tag::Sequence).then(|| any.value())
}

pub(crate) fn spki_der(algorithm: &[u8], bits: &[u8]) -> Option<Vec<u8>> {
    let mut contents = AnyRef::new(Tag::Sequence, algorithm).ok()?.to_der().ok()?;
    contents.extend(BitStringRef::from_bytes(bits).ok()?.to_der().ok()?);
    AnyRef::new(Tag::Sequence, &contents).ok()?.to_der().ok()
}

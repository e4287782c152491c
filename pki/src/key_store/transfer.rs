//! Authority keys that come from elsewhere, or go: read in the forms in which programs write them, and written under a
//! passphrase alone.

use std::fmt;

use rsa::pkcs8::der::Encode as _;
use rsa::pkcs8::der::asn1::AnyRef;
use rsa::pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfo};
use zeroize::Zeroizing;

use super::encryption;
use super::local_key::{LocalKey, Pkcs8};
use super::secret::KeyStoreSecret;
use crate::pem;
use crate::public_key::CaPublicKey;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const CURVES: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), ObjectIdentifier::new_unwrap("1.3.132.0.34")];

pub(super) const PLAIN: &str = "PRIVATE KEY";
pub(super) const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

/// A certificate authority's private key on its way from one place to another. Does not print.
pub struct PortableKey {
    pub(super) pkcs8: Pkcs8,
    public_key: CaPublicKey,
}

/// Why a text is no authority's private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableKey {
    /// No private key in PEM.
    #[error(
        "it is not one private key in PEM: PKCS#8 (`BEGIN PRIVATE KEY`, `BEGIN ENCRYPTED PRIVATE KEY`), PKCS#1 (`BEGIN RSA \
         PRIVATE KEY`) or SEC1 (`BEGIN EC PRIVATE KEY`)"
    )]
    NoKey,
    /// Encrypted, and no passphrase was told.
    #[error("it is encrypted: tell its passphrase with --passphrase-file")]
    PassphraseMissing,
    /// Another passphrase.
    #[error("the passphrase does not open it")]
    WrongPassphrase,
    /// Encrypted in a way that is not supported.
    #[error(
        "it is encrypted in a way that is not supported; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW"
    )]
    Unsupported,
    /// A type that cannot be an authority's here.
    #[error("it is neither an RSA key of 2048, 3072 or 4096 bits, nor one on P-256 or P-384 with its public half")]
    KeyType,
}

impl PortableKey {
    /// Reads a key from PEM; text and `EC PARAMETERS` around it are allowed.
    ///
    /// # Errors
    /// [`UnreadableKey`]
    pub fn from_pem(text: &str, passphrase: Option<&KeyStoreSecret>) -> Result<Self, UnreadableKey> {
        if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(UnreadableKey::Unsupported);
        }
        let text = text.split_once("-----END EC PARAMETERS-----").map_or(text, |(_, rest)| rest);
        let of = |label: &'static str| pem::decode_one(text, &[label]).ok();
        if let Some(der) = of(PLAIN) {
            return Self::from_pkcs8(der);
        }
        if let Some(der) = of(ENCRYPTED) {
            let key = encryption::decrypt(&der, passphrase.ok_or(UnreadableKey::PassphraseMissing)?);
            let key = key.map_err(|reason| match reason {
                encryption::CannotDecrypt::Unsupported | encryption::CannotDecrypt::TooCostly => {
                    UnreadableKey::Unsupported
                }
                encryption::CannotDecrypt::WrongPassphrase => UnreadableKey::WrongPassphrase,
            })?;
            return Self::from_pkcs8(Zeroizing::new(key.as_bytes().to_vec()));
        }
        if let Some(der) = of(PKCS1) {
            let wrapped = wrap(RSA_ENCRYPTION, AnyRef::NULL, &der).ok_or(UnreadableKey::KeyType)?;
            return Self::from_pkcs8(wrapped);
        }
        let der = of(SEC1).ok_or(UnreadableKey::NoKey)?;
        let wrapped = CURVES.iter().filter_map(|curve| wrap(EC_PUBLIC_KEY, AnyRef::from(curve), &der));
        wrapped.map(Self::from_pkcs8).find_map(Result::ok).ok_or(UnreadableKey::KeyType)
    }

    pub(super) fn from_pkcs8(pkcs8: Pkcs8) -> Result<Self, UnreadableKey> {
        let key = LocalKey::from_pkcs8(&pkcs8).ok_or(UnreadableKey::KeyType)?;
        Ok(Self { public_key: key.public_key().clone(), pkcs8 })
    }

    /// The public half.
    pub fn public_key(&self) -> &CaPublicKey {
        &self.public_key
    }

    /// The key in PEM, encrypted under a passphrase (PBES2, RFC 8018); `None` where there are no random numbers.
    pub fn to_encrypted_pem(&self, passphrase: &KeyStoreSecret) -> Option<String> {
        let encrypted = encryption::encrypt(&self.pkcs8, passphrase)?;
        Some(pem::encode(ENCRYPTED, encrypted.as_bytes()))
    }
}

impl fmt::Debug for PortableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortableKey({:?})", self.public_key)
    }
}

fn wrap(oid: ObjectIdentifier, parameters: AnyRef<'_>, private_key: &[u8]) -> Option<Pkcs8> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(parameters) };
    PrivateKeyInfo::new(algorithm, private_key).to_der().ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_store::CaKeyType;
    use crate::pem::PrivateKeyPem;

    #[test]
    fn a_key_goes_out_encrypted_and_comes_back_and_does_not_print() {
        for key_type in [CaKeyType::EcdsaP256, CaKeyType::EcdsaP384, CaKeyType::Rsa2048] {
            let pkcs8 = LocalKey::generate(key_type).unwrap();
            let plain = PrivateKeyPem::from_pkcs8_der(&pkcs8);
            let key = PortableKey::from_pem(plain.expose(), None).unwrap();
            assert_eq!(key.public_key().key_type(), key_type);
            assert!(!format!("{key:?}").contains("PRIVATE"));
            let (right, wrong) = (KeyStoreSecret::new("right".to_owned()), KeyStoreSecret::new("wrong".to_owned()));
            let pem = key.to_encrypted_pem(&right).unwrap();
            let back = PortableKey::from_pem(&pem, Some(&right)).unwrap();
            assert_eq!(back.public_key(), key.public_key());
            assert_eq!(PortableKey::from_pem(&pem, Some(&wrong)).unwrap_err(), UnreadableKey::WrongPassphrase);
            assert_eq!(PortableKey::from_pem(&pem, None).unwrap_err(), UnreadableKey::PassphraseMissing);
            let info = PrivateKeyInfo::try_from(pkcs8.as_slice()).unwrap();
            let label = if key_type == CaKeyType::Rsa2048 { PKCS1 } else { SEC1 };
            let older = format!(
                "-----BEGIN EC PARAMETERS-----\nAA==\n-----END EC PARAMETERS-----\n{}",
                pem::encode(label, info.private_key)
            );
            assert_eq!(PortableKey::from_pem(&older, None).unwrap().public_key(), key.public_key(), "{key_type}");
        }
    }

    #[test]
    fn what_is_no_authoritys_key_is_refused() {
        let certificate = pem::encode("CERTIFICATE", b"abc");
        for (text, why) in [
            ("", UnreadableKey::NoKey),
            (certificate.as_str(), UnreadableKey::NoKey),
            (&pem::encode(PLAIN, b"abc"), UnreadableKey::KeyType),
            (&pem::encode(PKCS1, b"abc"), UnreadableKey::KeyType),
            (&pem::encode(SEC1, b"abc"), UnreadableKey::KeyType),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", UnreadableKey::Unsupported),
        ] {
            assert_eq!(PortableKey::from_pem(text, None).unwrap_err(), why, "{text}");
        }
    }
}

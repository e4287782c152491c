//! Keys and signatures in the forms in which tokens and vaults have them: bare numbers, and ECDSA over a hash.

use ring::digest::{Digest, SHA256, SHA384, digest};
use rsa::pkcs8::der::asn1::AnyRef;
use rsa::pkcs8::der::asn1::UintRef;
use rsa::pkcs8::der::{Encode as _, Tag};

use super::CaKeyType;
use crate::public_key::CaPublicKey;

/// Whether a key signs by RSA.
pub(super) fn is_rsa(key_type: CaKeyType) -> bool {
    matches!(key_type, CaKeyType::Rsa2048 | CaKeyType::Rsa3072 | CaKeyType::Rsa4096)
}

/// The hash that a key of the type signs.
pub(super) fn hash(key_type: CaKeyType, message: &[u8]) -> Digest {
    match key_type {
        CaKeyType::EcdsaP384 => digest(&SHA384, message),
        _ => digest(&SHA256, message),
    }
}

/// The RSA key of a modulus and an exponent (big-endian); `None` where its size is not supported.
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Option<CaPublicKey> {
    let modulus = UintRef::new(modulus).ok()?;
    let key_type = match modulus.as_bytes().len() {
        256 => CaKeyType::Rsa2048,
        384 => CaKeyType::Rsa3072,
        512 => CaKeyType::Rsa4096,
        _ => return None,
    };
    let public_exponent = UintRef::new(exponent).ok()?;
    let key = rsa::pkcs1::RsaPublicKey { modulus, public_exponent };
    CaPublicKey::from_raw(key_type, &key.to_der().ok()?).ok()
}

/// Makes the DER `ECDSA-Sig-Value` (RFC 3279, section 2.2.3) of `r` and `s` side by side; `None` where they are not of
/// one length.
pub(super) fn ecdsa_to_der(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    let mut contents = UintRef::new(r).ok()?.to_der().ok()?;
    contents.extend(UintRef::new(s).ok()?.to_der().ok()?);
    AnyRef::new(Tag::Sequence, &contents).ok()?.to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_minimal_and_positive() {
        assert_eq!(ecdsa_to_der(&[0, 1, 0x80, 2]).unwrap(), [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 2]);
        assert_eq!(ecdsa_to_der(&[1, 2, 3]), None);
        assert_eq!(ecdsa_to_der(&[]), None);
    }
}

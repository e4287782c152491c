//! How a request names a certificate's issuer: by hashes of its name and of its key (RFC 6960, section 4.1.1).

use rcgen::PublicKeyData;
use ring::digest::{self, digest};

use super::CertId;
use crate::authority::CertificateAuthority;

/// The hash algorithms that an issuer may be named with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-1, which nearly every client uses. Nothing depends on its strength: it names, it does not prove.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The contents of the object identifier.
    pub(super) const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha1 => &[0x2b, 0x0e, 0x03, 0x02, 0x1a],
            Self::Sha256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
            Self::Sha384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
            Self::Sha512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
        }
    }

    fn digest(self, octets: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest(algorithm, octets)
    }
}

/// SHA-1, by which a responder names its own key (RFC 6960, section 4.2.1).
pub(super) fn key_hash(key_bits: &[u8]) -> digest::Digest {
    HashAlgorithm::Sha1.digest(key_bits)
}

/// An authority as requests name it, computed once.
#[derive(Debug, Clone)]
pub struct OcspIssuer([Hashes; 4]);

#[derive(Debug, Clone)]
struct Hashes {
    algorithm: HashAlgorithm,
    name: digest::Digest,
    key: digest::Digest,
}

impl OcspIssuer {
    /// Whether a request means certificates of this authority: both hashes are the authority's.
    pub fn is_named_by(&self, id: &CertId<'_>) -> bool {
        self.0.iter().any(|hashes| {
            id.hash_algorithm == Some(hashes.algorithm)
                && id.issuer_name_hash == hashes.name.as_ref()
                && id.issuer_key_hash == hashes.key.as_ref()
        })
    }
}

impl CertificateAuthority {
    /// How requests name this authority.
    pub fn ocsp_issuer(&self) -> OcspIssuer {
        OcspIssuer(HashAlgorithm::ALL.map(|algorithm| Hashes {
            algorithm,
            name: algorithm.digest(self.subject_der()),
            key: algorithm.digest(self.public_key().der_bytes()),
        }))
    }
}

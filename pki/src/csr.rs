//! Certificate signing requests (PKCS#10, RFC 2986): proof of possession is checked, and then nothing but the public key
//! is taken. The subject and the attributes, whatever they ask for, are not even parsed.

use rsa::pkcs8::der::asn1::BitStringRef;
use rsa::pkcs8::der::{Decode, Reader, SliceReader};
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::{RawPublicKeyEntity, ring as algorithms};

use crate::pem;
use crate::public_key::{DevicePublicKey, SpkiParts, sequence};
use crate::weak_keys::KeyWeakness;

/// The most octets that a request's PEM text may have.
pub const MAX_CSR_OCTETS: usize = 16 * 1024;

/// Both labels are in use: RFC 7468, section 7, allows generators of the older one.
const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/// What a request may be signed with. SHA-1 and PSS are not among it.
const SIGNATURE_ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 8] = [
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
];

/// Why a certificate signing request was refused. The two kinds have codes of their own on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// It cannot be read, or does not prove possession of the private key.
    #[error("the certificate signing request is not acceptable: {0}")]
    InvalidCsr(&'static str),
    /// It carries a key that must not be certified.
    #[error(transparent)]
    WeakKey(#[from] KeyWeakness),
}

impl DevicePublicKey {
    /// Takes the public key out of a PEM request, once that has proved possession of the private key.
    ///
    /// # Errors
    /// [`CsrError::InvalidCsr`] where it is too large, malformed, not exactly one PEM object of the right label, or its
    /// signature does not hold; [`CsrError::WeakKey`] where the key must not be certified.
    pub fn from_csr_pem(text: &str) -> Result<Self, CsrError> {
        if text.len() > MAX_CSR_OCTETS {
            return Err(CsrError::InvalidCsr("it is larger than 16 KiB"));
        }
        let der = pem::decode_one(text, &LABELS).map_err(|invalid| CsrError::InvalidCsr(describe(invalid)))?;
        Self::from_csr_der(&der)
    }

    /// Takes the public key out of a DER request, as EST sends it (RFC 7030, section 4.2.1).
    ///
    /// # Errors
    /// As [`DevicePublicKey::from_csr_pem`].
    pub fn from_csr_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_OCTETS {
            return Err(CsrError::InvalidCsr("it is larger than 16 KiB"));
        }
        let request = Request::parse(der).ok_or(CsrError::InvalidCsr("it is not a DER CertificationRequest"))?;
        // The key first: a short or odd key would otherwise surface as a bad signature.
        let key = Self::from_spki_der(request.spki)?;
        request.verify_possession()?;
        Ok(key)
    }
}

fn describe(invalid: pem::InvalidPem) -> &'static str {
    match invalid {
        pem::InvalidPem::Missing => "there is no complete PEM object",
        pem::InvalidPem::Several => "there is more than one PEM object",
        pem::InvalidPem::Label { .. } => "the PEM object is not labelled `CERTIFICATE REQUEST`",
        pem::InvalidPem::Base64 => "the PEM object is not base64",
    }
}

/// The parts of a `CertificationRequest` that count here.
struct Request<'a> {
    /// The whole `CertificationRequestInfo`, tag and length included: what is signed.
    info: &'a [u8],
    spki: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = SliceReader::new(sequence(der)?).ok()?;
        let info = outer.tlv_bytes().ok()?;
        let signature_algorithm = sequence(outer.tlv_bytes().ok()?)?;
        let signature = BitStringRef::decode(&mut outer).ok()?.as_bytes()?;
        let mut inner = SliceReader::new(sequence(info)?).ok()?;
        let version = u8::decode(&mut inner).ok()?;
        let _subject = inner.tlv_bytes().ok()?;
        let spki = inner.tlv_bytes().ok()?;
        if !inner.is_finished() {
            let _attributes = inner.tlv_bytes().ok()?;
        }
        let request = (version == 0).then_some(Self { info, spki, signature_algorithm, signature })?;
        inner.finish(()).ok()?;
        outer.finish(request).ok()
    }

    fn verify_possession(&self) -> Result<(), CsrError> {
        let key_algorithm = SpkiParts::parse(self.spki).map(|parts| parts.algorithm);
        let algorithm = SIGNATURE_ALGORITHMS
            .into_iter()
            .find(|algorithm| {
                algorithm.signature_alg_id().as_ref() == self.signature_algorithm
                    && key_algorithm == Some(algorithm.public_key_alg_id().as_ref())
            })
            .ok_or(CsrError::InvalidCsr("its signature algorithm is not supported"))?;
        RawPublicKeyEntity::try_from(&SubjectPublicKeyInfoDer::from(self.spki))
            .and_then(|key| key.verify_signature(algorithm, self.info, self.signature))
            .map_err(|_| {
                CsrError::InvalidCsr("its signature does not hold: possession of the private key is not proved")
            })
    }
}

//! What enrolment over EST (RFC 7030) reads and says beyond keys and certificates: the name in a request, the wishes that
//! cannot be granted, and what a request should be made of.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::csr::{CsrError, MAX_CSR_OCTETS};
use crate::public_key::DeviceKeyAlgorithm;

/// `id-aa-decryptKeyID` and `id-aa-asymmDecryptKeyID` (RFC 7030, sections 4.4.1.1 and 4.4.1.2).
const DECRYPT_KEY_IDS: [&str; 2] = ["1.2.840.113549.1.9.16.2.37", "1.2.840.113549.1.9.16.2.54"];

/// `ecdsa-with-SHA256`, and `id-ecPublicKey` with `secp256r1`.
const WANTS_P256: &[u8] = &[
    0x30, 0x21, //
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, //
    0x30, 0x15, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, //
    0x31, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// `sha256WithRSAEncryption`, and `rsaEncryption` with 2048 bits.
const WANTS_RSA: &[u8] = &[
    0x30, 0x1e, //
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, //
    0x30, 0x11, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, //
    0x31, 0x04, 0x02, 0x02, 0x08, 0x00,
];

/// What a request says beside its key. Nothing of it is proved, and nothing of it gets into a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFacts {
    /// The subject's first common name, where it is text.
    pub common_name: Option<String>,
    /// Whether it asks that a key made for it be encrypted beyond TLS.
    pub wants_encrypted_key: bool,
}

impl RequestFacts {
    /// Reads a DER request. Its key and its signature are not looked at.
    ///
    /// # Errors
    /// [`CsrError::InvalidCsr`] where it is too large or no request.
    pub fn from_csr_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_OCTETS {
            return Err(CsrError::InvalidCsr("it is larger than 16 KiB"));
        }
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else {
            return Err(CsrError::InvalidCsr("it is not a DER CertificationRequest"));
        };
        let info = &request.certification_request_info;
        let common_name = info.subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let mut attributes = info.iter_attributes().map(|attribute| attribute.oid.to_id_string());
        let wants_encrypted_key = attributes.any(|oid| DECRYPT_KEY_IDS.contains(&oid.as_str()));
        Ok(Self { common_name: common_name.map(str::to_owned), wants_encrypted_key })
    }
}

/// The DER `CsrAttrs` (RFC 7030, section 4.5.2) that ask for a key of this kind and a signature with SHA-256.
pub fn csr_attributes(wanted: DeviceKeyAlgorithm) -> &'static [u8] {
    match wanted {
        DeviceKeyAlgorithm::Rsa => WANTS_RSA,
        DeviceKeyAlgorithm::EcdsaP256 => WANTS_P256,
    }
}

//! What enrolment over EST (RFC 7030) reads and says beyond keys and certificates: the name in a request, the wishes that
//! cannot be granted, and what a request should be made of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::csr::{CsrError, MAX_CSR_OCTETS};
use crate::public_key::DeviceKeyAlgorithm;

/// The most octets of a body: the largest request in base64, and as much again for white space.
pub const MAX_BODY_OCTETS: usize = 3 * MAX_CSR_OCTETS;

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

/// Why a body holds nothing that could be a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the largest request needs.
    #[error("it is larger than {MAX_BODY_OCTETS} octets")]
    TooLarge,
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It has the lines around it that RFC 7030 leaves away.
    #[error("it is PEM: send what stands between the BEGIN and END lines, without them")]
    Armoured,
    /// It is not base64.
    #[error("it is not base64")]
    Base64,
}

/// The octets of a body in base64. White space may stand anywhere in it (RFC 8951, section 3.1); what else is not base64
/// is refused.
///
/// # Errors
/// [`BodyError`]
pub fn decode_body(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    if body.len() > MAX_BODY_OCTETS {
        return Err(BodyError::TooLarge);
    }
    let characters: Vec<u8> = body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    if characters.is_empty() {
        return Err(BodyError::Empty);
    }
    if characters.starts_with(b"-----BEGIN") {
        return Err(BodyError::Armoured);
    }
    STANDARD.decode(characters).map_err(|_| BodyError::Base64)
}

/// Octets in base64 as EST clients read it: without line breaks (RFC 8951, section 3.1).
pub fn encode_body(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// The DER `CsrAttrs` (RFC 7030, section 4.5.2) that ask for a key of this kind and a signature with SHA-256.
pub fn csr_attributes(wanted: DeviceKeyAlgorithm) -> &'static [u8] {
    match wanted {
        DeviceKeyAlgorithm::Rsa => WANTS_RSA,
        DeviceKeyAlgorithm::EcdsaP256 => WANTS_P256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_anywhere_does_not_matter() {
        for body in ["AQIDBAU=", "AQID\r\nBAU=\r\n", " A\tQ I\nD B A U = \n\n"] {
            assert_eq!(decode_body(body.as_bytes()), Ok(vec![1, 2, 3, 4, 5]), "{body:?}");
        }
        assert_eq!(encode_body(&[7; 600]).find(char::is_whitespace), None);
    }

    #[test]
    fn whatever_else_is_wrong_is_told() {
        for (body, error) in [
            ("", BodyError::Empty),
            (" \r\n", BodyError::Empty),
            ("-----BEGIN CERTIFICATE REQUEST-----\nAQID\n", BodyError::Armoured),
            ("\n-----BEGIN NEW", BodyError::Armoured),
            ("AQIDBAU", BodyError::Base64),
            ("AQIDBAU==", BodyError::Base64),
            ("AQIDBAV=", BodyError::Base64),
            ("AQID-_==", BodyError::Base64),
            ("AQID\0", BodyError::Base64),
            ("AQ=DBAU=", BodyError::Base64),
            ("0\u{201c}", BodyError::Base64),
        ] {
            assert_eq!(decode_body(body.as_bytes()), Err(error), "{body:?}");
        }
        assert_eq!(decode_body(&vec![b'A'; MAX_BODY_OCTETS + 1]), Err(BodyError::TooLarge));
    }
}

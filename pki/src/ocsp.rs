//! The status of certificates on request (OCSP: RFC 6960, nonces by RFC 9654): requests are read, answers are signed by
//! a certificate that the authority issued for nothing else.
//!
//! What a certificate's status is comes in from the caller; nothing here looks anything up.

mod der;
mod issuer;
mod request;
mod response;
mod signer;

pub use issuer::{HashAlgorithm, OcspIssuer};
pub use request::{CertId, MalformedRequest, OcspRequest};
pub use response::{CertificateStatus, OcspAnswer, OcspFailure, SingleAnswer};
pub use signer::{OcspSigner, OcspSigningError};

/// The contents of the object identifier id-pkix-ocsp-nonce (1.3.6.1.5.5.7.48.1.2).
const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

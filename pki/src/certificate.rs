//! What can be read from any certificate, trusted or not.

use ring::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use signalbeam_domain::{Fingerprint, SerialNumber};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::validity::Validity;

/// The SHA-256 of a certificate's DER: the only key under which a certificate is looked up.
pub fn fingerprint(der: &[u8]) -> Fingerprint {
    Fingerprint::from_digest(sha256(der))
}

/// When a certificate says that it holds, before anything else is known of it; `None` where it cannot be read.
///
/// Nothing else of an unverified certificate is worth believing.
pub fn peek_validity(der: &[u8]) -> Option<Validity> {
    parse(der).map(|certificate| validity_of(&certificate))
}

/// The certificates in a PEM text, each in DER; `None` where one of them is no PEM.
pub fn certificates_from_pem(text: &str) -> Option<Vec<Vec<u8>>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).map(|der| der.ok().map(|der| der.to_vec())).collect()
}

/// Reads a certificate that fills the whole input.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

pub(crate) fn validity_of(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity::new(validity.not_before.to_datetime(), validity.not_after.to_datetime())
}

pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    digest
}

/// A certificate's serial number as a number: a shorter one gets leading zeros. `None` beyond RFC 5280, section 4.1.2.2.
pub(crate) fn serial_number_of(certificate: &X509Certificate<'_>) -> Option<SerialNumber> {
    let raw = certificate.raw_serial();
    let mut octets = [0; 20];
    octets.get_mut(20_usize.checked_sub(raw.len())?..)?.copy_from_slice(raw);
    SerialNumber::from_octets(octets).ok()
}

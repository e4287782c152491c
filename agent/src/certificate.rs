//! Certificates and private keys as the agent meets them: read once, checked to belong together, then trusted by type.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::digest::{SHA256, digest};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::secret::Secret;
use crate::transport::crypto_provider;

/// What is wrong with a certificate or key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// There is no certificate, or no parsable one, in the PEM.
    #[error("not a PEM certificate")]
    NotACertificate,
    /// There is no private key that the TLS stack can use.
    #[error("not a usable private key")]
    NotAKey,
    /// Certificate and key are each fine but do not belong together.
    #[error("the certificate is not for this private key")]
    KeyMismatch,
    /// The certificate names another device.
    #[error("the certificate names {0} instead of this device")]
    OtherSubject(String),
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Lower-case hex, as the server writes serial numbers.
    pub serial_number: String,
    /// The subject's distinguished name.
    pub subject: String,
    /// First instant of validity.
    pub not_before: OffsetDateTime,
    /// Last instant of validity.
    pub not_after: OffsetDateTime,
}

impl CertificateInfo {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(der: &[u8]) -> Result<Self, CertificateFault> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateFault::NotACertificate)?;
        let validity = certificate.validity();
        Ok(Self {
            serial_number: hex_lower(positive_octets(certificate.raw_serial())),
            subject: certificate.subject().to_string(),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        })
    }
}

/// A certificate with the private key that it is for.
#[derive(Debug)]
pub struct KeyedCertificate {
    chain: Vec<CertificateDer<'static>>,
    certificate_pem: String,
    key_pem: Secret,
    info: CertificateInfo,
}

impl KeyedCertificate {
    /// Checks that certificate and key belong together.
    ///
    /// # Errors
    /// See [`CertificateFault`].
    pub fn new(certificate_pem: String, key_pem: Secret) -> Result<Self, CertificateFault> {
        let chain = read_chain(certificate_pem.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes()).map_err(|_| CertificateFault::NotAKey)?;
        let info = CertificateInfo::read(&chain[0])?;
        CertifiedKey::from_der(chain.clone(), key, &crypto_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateFault::KeyMismatch,
            rustls::Error::InvalidCertificate(_) => CertificateFault::NotACertificate,
            _ => CertificateFault::NotAKey,
        })?;
        Ok(Self { chain, certificate_pem, key_pem, info })
    }

    /// The certificate first, then any above it.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The certificate as it was given.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key.
    pub fn key_pem(&self) -> &Secret {
        &self.key_pem
    }

    /// What the certificate says.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }
}

/// Reads every certificate of a PEM text; there is at least one.
///
/// # Errors
/// When there is none, or one is not X.509.
pub fn read_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| CertificateFault::NotACertificate)?;
    if chain.is_empty() || chain.iter().any(|der| CertificateInfo::read(der).is_err()) {
        return Err(CertificateFault::NotACertificate);
    }
    Ok(chain)
}

/// The fingerprint that the server prints: `SHA256:` and 64 upper-case hex digits over the DER.
pub fn fingerprint(der: &[u8]) -> String {
    format!("SHA256:{}", hex_lower(digest(&SHA256, der).as_ref()).to_uppercase())
}

/// Makes an ECDSA P-256 private key in PKCS#8 PEM.
///
/// # Errors
/// When the system's random source fails.
pub fn generate_key() -> Result<Secret, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(|key| Secret::new(key.serialize_pem()))
}

/// Makes a certificate request (PKCS#10, PEM) for a key. The server takes only the public key from it.
///
/// # Errors
/// When the text is not a private key that can sign.
pub fn certificate_request(key_pem: &Secret) -> Result<String, rcgen::Error> {
    let key = KeyPair::from_pem(key_pem.expose())?;
    CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()
}

/// A DER integer's octets without the zero octet that only keeps it positive.
fn positive_octets(raw: &[u8]) -> &[u8] {
    match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => raw,
    }
}

fn hex_lower(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;

    use super::*;

    fn self_signed(key: &Secret) -> String {
        let key = KeyPair::from_pem(key.expose()).unwrap();
        CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_pair_is_accepted_and_a_mixed_one_is_not() {
        let (key, other) = (generate_key().unwrap(), generate_key().unwrap());
        let certificate = self_signed(&key);
        assert!(KeyedCertificate::new(certificate.clone(), key).is_ok());
        assert!(matches!(KeyedCertificate::new(certificate, other), Err(CertificateFault::KeyMismatch)));
    }

    #[test]
    fn what_is_neither_certificate_nor_key_is_told_apart() {
        let key = generate_key().unwrap();
        let certificate = self_signed(&key);
        let cut = certificate[..certificate.len() / 2].to_owned();
        assert!(matches!(KeyedCertificate::new(cut, key.clone()), Err(CertificateFault::NotACertificate)));
        assert!(matches!(KeyedCertificate::new(String::new(), key), Err(CertificateFault::NotACertificate)));
        let no_key = Secret::new("<html>".to_owned());
        assert!(matches!(KeyedCertificate::new(certificate, no_key), Err(CertificateFault::NotAKey)));
    }

    #[test]
    fn a_request_carries_the_key_and_verifies() {
        let key = generate_key().unwrap();
        let request = rcgen::CertificateSigningRequestParams::from_pem(&certificate_request(&key).unwrap()).unwrap();
        let pair = KeyPair::from_pem(key.expose()).unwrap();
        assert_eq!(rcgen::PublicKeyData::der_bytes(&request.public_key), rcgen::PublicKeyData::der_bytes(&pair));
    }

    #[test]
    fn a_serial_is_written_without_its_sign_octet() {
        assert_eq!(hex_lower(positive_octets(&[0, 0xab, 1])), "ab01");
        assert_eq!(hex_lower(positive_octets(&[0x0b, 1])), "0b01");
        assert_eq!(hex_lower(positive_octets(&[0])), "00");
    }

    #[test]
    fn a_fingerprint_has_the_servers_form() {
        assert_eq!(fingerprint(b""), "SHA256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855");
    }
}

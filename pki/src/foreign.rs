//! Certificates of other authorities that an admin vouches for: what is taken in, and what is read from them. Their own
//! signatures are not judged, since nothing here trusts who made them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use signalbeam_domain::Fingerprint;
use webpki::EndEntityCert;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

use crate::certificate::{self, fingerprint, sha256, validity_of};
use crate::csr::CsrError;
use crate::pem;
use crate::public_key::DevicePublicKey;
use crate::validity::Validity;
use crate::weak_keys::KeyWeakness;

/// The most characters that a certificate's text may have.
pub const MAX_CERTIFICATE_CHARACTERS: usize = 16 * 1024;
/// The most characters of a subject or an issuer.
const MAX_NAME_CHARACTERS: usize = 512;
/// The most octets of a foreign serial number. RFC 5280, section 4.1.2.2, allows 20; others have been seen.
const MAX_SERIAL_OCTETS: usize = 64;

/// Why a certificate of another authority is not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignCertificateError {
    /// A private key came along. Whoever sees the text has it.
    #[error(
        "it holds a private key; nothing of it was kept, but it has left its device: make a new key there, and import the \
         new certificate alone"
    )]
    PrivateKey,
    /// It cannot be taken in, for this reason.
    #[error("{0}")]
    Unacceptable(&'static str),
    /// Its key must not be relied on.
    #[error(transparent)]
    WeakKey(#[from] KeyWeakness),
}

/// A device's certificate that another authority issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignCertificate {
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// The serial number that its authority gave it, in lower-case hex digits.
    pub serial_number: String,
    /// Its authority's name.
    pub issuer: String,
    /// The SHA-256 of that name in DER.
    pub issuer_sha256: [u8; 32],
    /// Its subject.
    pub subject: String,
    /// The first common name of its subject.
    pub common_name: Option<String>,
    /// When it says that it holds.
    pub validity: Validity,
    /// Its key.
    pub public_key: DevicePublicKey,
    der: Vec<u8>,
}

impl ForeignCertificate {
    /// Reads one certificate in PEM, or in base64 of its DER.
    ///
    /// # Errors
    /// [`ForeignCertificateError`] where it is not one X.509 v3 certificate of a client, or its key must not be relied on.
    pub fn parse(text: &str) -> Result<Self, ForeignCertificateError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(ForeignCertificateError::PrivateKey);
        }
        if text.len() > MAX_CERTIFICATE_CHARACTERS {
            return Err(ForeignCertificateError::Unacceptable("it is larger than 16 KiB"));
        }
        Self::from_der(decode(text)?)
    }

    fn from_der(der: Vec<u8>) -> Result<Self, ForeignCertificateError> {
        let unacceptable = ForeignCertificateError::Unacceptable;
        if is_private_key(&der) {
            return Err(ForeignCertificateError::PrivateKey);
        }
        let read = certificate::parse(&der).ok_or(unacceptable("it is not an X.509 certificate in DER"))?;
        // What the handshake could not read would never get as far as to be looked up.
        EndEntityCert::try_from(&CertificateDer::from(der.as_slice()))
            .map_err(|_| unacceptable("it is not an X.509 v3 certificate that TLS can read"))?;
        require_client(&read)?;
        let public_key = DevicePublicKey::from_spki_der(read.public_key().raw).map_err(|error| match error {
            CsrError::InvalidCsr(_) => unacceptable("its public key cannot be read"),
            CsrError::WeakKey(weakness) => weakness.into(),
        })?;
        let serial = read.raw_serial();
        if serial.is_empty() || serial.len() > MAX_SERIAL_OCTETS {
            return Err(unacceptable("its serial number is longer than 64 octets"));
        }
        let common_name = read.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            fingerprint: fingerprint(&der),
            serial_number: serial.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}")),
            issuer: name(read.issuer())?,
            issuer_sha256: sha256(read.issuer().as_raw()),
            subject: name(read.subject())?,
            common_name: common_name.map(ToOwned::to_owned),
            validity: validity_of(&read),
            public_key,
            der,
        })
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, ForeignCertificateError> {
    let unacceptable = ForeignCertificateError::Unacceptable;
    if text.contains("-----BEGIN ") {
        let decoded = pem::decode_one(text, &["CERTIFICATE"]).map_err(|invalid| {
            unacceptable(match invalid {
                pem::InvalidPem::Missing => "there is no complete PEM object",
                pem::InvalidPem::Several => "there is more than one PEM object; the device's own certificate is wanted",
                pem::InvalidPem::Label { .. } => "the PEM object is not labelled `CERTIFICATE`",
                pem::InvalidPem::Base64 => "the PEM object is not base64",
            })
        })?;
        return Ok(decoded.to_vec());
    }
    let characters: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(characters).map_err(|_| unacceptable("it is neither PEM nor base64"))
}

/// Whether it is PKCS#8, PKCS#1 or SEC 1: each starts with a version number, which no certificate does.
fn is_private_key(der: &[u8]) -> bool {
    x509_parser::der_parser::parse_der(der).is_ok_and(|(_, object)| {
        object
            .as_sequence()
            .is_ok_and(|items| items.len() > 2 && items.first().is_some_and(|item| item.as_u32().is_ok()))
    })
}

/// It must not be an authority's, and what it says of its use must permit clients (RFC 5280, sections 4.2.1.9 and 4.2.1.12).
fn require_client(read: &X509Certificate<'_>) -> Result<(), ForeignCertificateError> {
    let unacceptable = ForeignCertificateError::Unacceptable;
    let malformed = |_| unacceptable("an extension stands there twice or cannot be read");
    let signs_certificates = read.key_usage().map_err(malformed)?.is_some_and(|usage| usage.value.key_cert_sign());
    let is_authority = read.basic_constraints().map_err(malformed)?.is_some_and(|basic| basic.value.ca);
    if is_authority || signs_certificates {
        return Err(unacceptable("it is a certificate authority's"));
    }
    match read.extended_key_usage().map_err(malformed)? {
        Some(usage) if !usage.value.client_auth && !usage.value.any => {
            Err(unacceptable("it is not for client authentication"))
        }
        _ => Ok(()),
    }
}

fn name(name: &X509Name<'_>) -> Result<String, ForeignCertificateError> {
    let text = name.to_string();
    if text.chars().any(char::is_control) {
        return Err(ForeignCertificateError::Unacceptable("its subject or issuer has control characters"));
    }
    if text.chars().count() > MAX_NAME_CHARACTERS {
        return Err(ForeignCertificateError::Unacceptable("its subject or issuer has more than 512 characters"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        SerialNumber,
    };

    use super::*;

    fn signed(change: impl FnOnce(&mut CertificateParams)) -> rcgen::Certificate {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Acme Device CA");
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "press-7");
        params.serial_number = Some(SerialNumber::from(1234));
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap()
    }

    fn why(text: &str) -> &'static str {
        match ForeignCertificate::parse(text) {
            Err(ForeignCertificateError::Unacceptable(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pem_and_base64_of_der_are_the_same_certificate() {
        let certificate = signed(|_| {});
        let read = ForeignCertificate::parse(&certificate.pem()).unwrap();
        assert_eq!(ForeignCertificate::parse(&STANDARD.encode(certificate.der())).unwrap(), read);
        assert_eq!(ForeignCertificate::parse(&read.pem()).unwrap(), read);
        assert_eq!(read.fingerprint, fingerprint(certificate.der()));
        assert_eq!((read.serial_number.as_str(), read.common_name.as_deref()), ("04d2", Some("press-7")));
        assert!(read.issuer.contains("Acme Device CA"), "{}", read.issuer);
        assert_eq!(read.der(), &certificate.der()[..]);
    }

    #[test]
    fn an_authority_s_or_a_server_s_certificate_is_refused() {
        let ca = signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(why(&ca.pem()), "it is a certificate authority's");
        let signs = signed(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
        assert_eq!(why(&signs.pem()), "it is a certificate authority's");
        let usages = |usages| signed(|params| params.extended_key_usages = usages).pem();
        assert_eq!(why(&usages(vec![ExtendedKeyUsagePurpose::ServerAuth])), "it is not for client authentication");
        let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        assert!(ForeignCertificate::parse(&usages(both)).is_ok());
    }

    #[test]
    fn a_private_key_is_refused_in_every_form() {
        let key = KeyPair::generate().unwrap();
        let certificate = signed(|_| {}).pem();
        for text in [
            key.serialize_pem(),
            format!("{certificate}{}", key.serialize_pem()),
            format!("{certificate}-----BEGIN EC PRIVATE KEY-----\n"),
            STANDARD.encode(key.serialize_der()),
        ] {
            assert_eq!(ForeignCertificate::parse(&text), Err(ForeignCertificateError::PrivateKey));
        }
    }

    #[test]
    fn what_is_not_one_certificate_is_refused() {
        let pem = signed(|_| {}).pem();
        for (text, expected) in [
            (String::new(), "it is not an X.509 certificate in DER"),
            ("Zm9v".to_owned(), "it is not an X.509 certificate in DER"),
            ("***".to_owned(), "it is neither PEM nor base64"),
            (pem.repeat(2), "there is more than one PEM object; the device's own certificate is wanted"),
            (pem.replace("CERTIFICATE", "CERTIFICATE REQUEST"), "the PEM object is not labelled `CERTIFICATE`"),
            ("A".repeat(MAX_CERTIFICATE_CHARACTERS + 1), "it is larger than 16 KiB"),
        ] {
            assert_eq!(why(&text), expected);
        }
        let mut trailing = signed(|_| {}).der().to_vec();
        trailing.push(0);
        assert_eq!(why(&STANDARD.encode(trailing)), "it is not an X.509 certificate in DER");
        let forged = signed(|params| params.distinguished_name.push(DnType::OrganizationName, "a\nb"));
        assert_eq!(why(&forged.pem()), "its subject or issuer has control characters");
    }

    #[test]
    fn a_key_that_would_not_be_certified_is_not_taken_in() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "press-7");
        let mut der = params.self_signed(&key).unwrap().der().to_vec();
        assert!(ForeignCertificate::parse(&STANDARD.encode(&der)).is_ok());
        let place = der.windows(32).position(|window| window == key.public_key_raw()).unwrap();
        der[place..place + 32].fill(0);
        let refused = ForeignCertificate::parse(&STANDARD.encode(der)).unwrap_err();
        assert_eq!(refused, ForeignCertificateError::WeakKey(KeyWeakness::SmallOrder));
    }
}

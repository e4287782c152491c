//! Keys, signing requests, and certificates that the product never made.

use rcgen::{
    CertificateParams, CertificateSigningRequest, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use time::{Duration, OffsetDateTime};

use crate::device::TENANT;

/// A certificate with its private key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key_pem: String,
    pub(crate) certificate_pem: String,
    pub(crate) serial_number: String,
}

/// A new P-256 key and a signing request for it.
pub(crate) fn key_and_request() -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let pem = signing_request(&key).pem().unwrap();
    (key, pem)
}

/// A signing request by this key, of any algorithm.
pub(crate) fn request_by(algorithm: &'static SignatureAlgorithm) -> String {
    signing_request(&KeyPair::generate_for(algorithm).unwrap()).pem().unwrap()
}

pub(crate) fn signing_request(key: &KeyPair) -> CertificateSigningRequest {
    CertificateParams::default().serialize_request(key).unwrap()
}

/// A certificate for a device, as a forger who holds a CA's key would make it.
pub(crate) struct Forgery<'a> {
    pub(crate) device_id: &'a str,
    /// 40 hex digits, such as those of a certificate that exists.
    pub(crate) serial_number: &'a str,
    /// Days from now to its first and its last moment.
    pub(crate) life_days: (i64, i64),
    pub(crate) usage: ExtendedKeyUsagePurpose,
}

impl Forgery<'_> {
    /// The likeness of a certificate that exists.
    pub(crate) fn of<'a>(device_id: &'a str, original: &'a Identity) -> Forgery<'a> {
        let serial_number = &original.serial_number;
        Forgery { device_id, serial_number, life_days: (-1, 90), usage: ExtendedKeyUsagePurpose::ClientAuth }
    }

    /// Signed under a CA that is given with its key.
    pub(crate) fn signed_by(&self, ca_pem: &str, ca_key_pem: &str) -> Identity {
        let issuer = Issuer::from_ca_cert_pem(ca_pem, KeyPair::from_pem(ca_key_pem).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = self.parameters().signed_by(&key, &issuer).unwrap();
        identity(&key, &certificate.pem())
    }

    /// Signed under a new CA that looks like the real one.
    pub(crate) fn signed_by_a_stranger(&self, ca_pem: &str) -> Identity {
        let real = Issuer::from_ca_cert_pem(ca_pem, AnyKey(KeyPair::generate().unwrap())).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = self.parameters().signed_by(&key, &real).unwrap();
        identity(&key, &certificate.pem())
    }

    pub(crate) fn self_signed(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        identity(&key, &self.parameters().self_signed(&key).unwrap().pem())
    }

    fn parameters(&self) -> CertificateParams {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, format!("device-{}", self.device_id));
        name.push(DnType::OrganizationName, "SignalBeam");
        let uri = format!("spiffe://signalbeam.local/tenant/{}/device/{}", TENANT, self.device_id);
        let digits = |at: usize| u8::from_str_radix(&self.serial_number[at..at + 2], 16).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.serial_number = Some(SerialNumber::from((0..40).step_by(2).map(digits).collect::<Vec<_>>()));
        parameters.distinguished_name = name;
        parameters.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        parameters.extended_key_usages = vec![self.usage.clone()];
        #[allow(clippy::disallowed_methods, reason = "a forger has a clock of its own")]
        let now = OffsetDateTime::now_utc();
        parameters.not_before = now + Duration::days(self.life_days.0);
        parameters.not_after = now + Duration::days(self.life_days.1);
        parameters
    }
}

/// A key that signs in the name of an issuer it does not belong to.
struct AnyKey(KeyPair);

impl PublicKeyData for AnyKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for AnyKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

fn identity(key: &KeyPair, certificate_pem: &str) -> Identity {
    Identity { key_pem: key.serialize_pem(), certificate_pem: certificate_pem.to_owned(), serial_number: String::new() }
}

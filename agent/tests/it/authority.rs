//! A certificate authority for tests: server certificates, and device certificates of any age.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, PublicKeyData, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::examples::DEVICE_ID;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    fingerprint: String,
}

/// A life of a certificate, relative to now.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) begins: Duration,
    pub(crate) ends: Duration,
}

impl Life {
    pub(crate) fn days(begins: i64, ends: i64) -> Self {
        Self { begins: Duration::days(begins), ends: Duration::days(ends) }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "SignalBeam Root CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let fingerprint = signalbeam_agent::certificate::fingerprint(certificate.der());
        Self { pem: certificate.pem(), fingerprint, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A server certificate for localhost and its key, both in PEM.
    pub(crate) fn server_certificate(&self, life: Life) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = dates(life);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A certificate of the examples' device for the key of a request.
    pub(crate) fn certify_request(&self, csr_pem: &str, serial: u8, life: Life) -> String {
        let request = CertificateSigningRequestParams::from_pem(csr_pem).expect("a request that proves its key");
        self.certify(&request.public_key, DEVICE_ID, serial, life)
    }

    /// A certificate for any key and device.
    pub(crate) fn certify(&self, key: &impl PublicKeyData, device_id: &str, serial: u8, life: Life) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("device-{device_id}"));
        params.distinguished_name.push(DnType::OrganizationName, "SignalBeam");
        let mut octets = [0x4a; 20];
        octets[19] = serial;
        params.serial_number = Some(SerialNumber::from(octets.to_vec()));
        (params.not_before, params.not_after) = dates(life);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

/// The serial number of a certificate as the agent and the server write it.
pub(crate) fn serial_hex(serial: u8) -> String {
    format!("{}{serial:02x}", "4a".repeat(19))
}

fn dates(life: Life) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now + life.begins, now + life.ends)
}

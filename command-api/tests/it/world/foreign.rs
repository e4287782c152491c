//! Another certificate authority, from which devices come over.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};

use super::fleet::DeviceCertificate;

/// A certificate authority that nobody here trusts.
pub(crate) struct ForeignAuthority(Issuer<'static, KeyPair>);

/// A certificate that it issued.
pub(crate) struct ForeignCertificate(rcgen::Certificate);

impl ForeignAuthority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        Self(Issuer::new(params, KeyPair::generate().unwrap()))
    }

    /// For a client of this name, valid from 2025 until the end of 2026.
    pub(crate) fn certificate(&self, name: &str) -> ForeignCertificate {
        self.certificate_with(name, |_| {})
    }

    pub(crate) fn certificate_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ForeignCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(1234.into());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        change(&mut params);
        ForeignCertificate(params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap())
    }
}

impl ForeignCertificate {
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// As it is called since its import.
    pub(crate) fn imported(&self, serial_number: &str) -> DeviceCertificate {
        DeviceCertificate { serial: serial_number.to_owned(), der: self.der(), answer: serde_json::Value::Null }
    }
}

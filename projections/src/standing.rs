//! The words that the tables have for what a certificate is and what became of it.

use serde::Serialize;
use signalbeam_domain::SerialNumber;
use signalbeam_domain::certificate::{RenewalWindow, Standing};
use x509_parser::pem::parse_x509_pem;

use crate::columns::{Columns, ReadError};

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CertificateType {
    /// A certificate authority's that signed itself.
    RootCA,
    /// A certificate authority's that another one signed.
    IntermediateCA,
    /// A device's.
    Device,
}

impl CertificateType {
    const ALL: [Self; 3] = [Self::RootCA, Self::IntermediateCA, Self::Device];

    /// As it is written in tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RootCA => "RootCA",
            Self::IntermediateCA => "IntermediateCA",
            Self::Device => "Device",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }

    /// An authority's certificate names its issuer; one that names itself is a root (RFC 5280, 3.2 calls it self-issued).
    pub(crate) fn of_authority(certificate_pem: &str) -> Self {
        let names_another = parse_x509_pem(certificate_pem.as_bytes()).is_ok_and(|(_, pem)| {
            pem.parse_x509().is_ok_and(|certificate| certificate.issuer() != certificate.subject())
        });
        if names_another { Self::IntermediateCA } else { Self::RootCA }
    }
}

/// The word for a [`Standing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StandingName {
    Superseded,
    Revoked,
}

/// When the device was asked to renew the certificate, out of its columns.
pub(crate) fn renewal_window(row: &impl Columns) -> Result<Option<RenewalWindow>, ReadError> {
    let start = row.optional_moment("renewal_window_start")?;
    Ok(start.zip(row.optional_moment("renewal_window_end")?).map(|(start, end)| RenewalWindow { start, end }))
}

/// Puts a [`Standing`] together from its columns.
pub(crate) fn standing(row: &impl Columns) -> Result<Standing, ReadError> {
    let superseded_by = row.optional("superseded_by", SerialNumber::from_hex)?;
    row.required("standing", |name| match (name, superseded_by) {
        ("active", None) => Ok(Standing::Active),
        ("superseded", Some(by)) => Ok(Standing::Superseded { by }),
        ("revoked", _) => Ok(Standing::Revoked),
        _ => Err(()),
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    fn authority(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    #[test]
    fn an_authority_that_another_one_signed_is_an_intermediate() {
        let root_key = KeyPair::generate().unwrap();
        let root = authority("Root").self_signed(&root_key).unwrap();
        assert_eq!(CertificateType::of_authority(&root.pem()), CertificateType::RootCA);
        let issuer = Issuer::new(authority("Root"), root_key);
        let intermediate = authority("Intermediate").signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        assert_eq!(CertificateType::of_authority(&intermediate.pem()), CertificateType::IntermediateCA);
    }
}

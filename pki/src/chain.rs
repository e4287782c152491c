//! Whether a client's certificate is one of ours: what is judged once for a connection, because it cannot change.
//!
//! Time, revocation and the device's status can change while a connection is open; whoever answers requests judges those
//! every time, with what [`VerifiedDeviceCertificate`] tells.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use signalbeam_domain::{DeviceId, Fingerprint, SerialNumber, TenantId};
use webpki::{EndEntityCert, KeyUsage, ring as algorithms};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use crate::certificate::{self, fingerprint, validity_of};
use crate::spiffe::DeviceIdentity;
use crate::validity::Validity;

/// What certificates may be signed with: what the types of an authority's key sign with, and nothing else.
pub(crate) const SIGNATURE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[algorithms::RSA_PKCS1_2048_8192_SHA256, algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA384];

/// A device's certificate whose chain ends at one of our anchors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDeviceCertificate {
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Its serial number.
    pub serial: SerialNumber,
    /// The device that it names.
    pub device_id: DeviceId,
    /// The tenant that it names.
    pub tenant_id: TenantId,
    /// When the certificate itself holds.
    pub validity: Validity,
    /// When its issuer holds, and all who vouch for that one. Outside of it the chain is broken, whatever the certificate
    /// says of itself.
    pub issuers_validity: Validity,
}

/// Why a client's certificate is not accepted as one of ours. Nothing that it says of itself may be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// It cannot be read as an X.509 v3 certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// None of our issuing authorities signed it for client authentication.
    #[error("the certificate was not issued by this certificate authority for client authentication")]
    NotOurs(#[source] webpki::Error),
    /// It does not say that it is for client authentication; saying nothing is not enough.
    #[error("the certificate is not for client authentication")]
    NotForClients,
    /// We issued it, but it names no device.
    #[error("the certificate names no device")]
    NotADevice,
}

/// A trust anchor cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// There is none at all.
    #[error("there is no trust anchor")]
    None,
    /// One cannot be read.
    #[error("a trust anchor cannot be read as a certificate")]
    Malformed,
}

/// Judges certificates against the authorities that issue them (several while one is being replaced), each of which is an
/// anchor of its own: what leads from it to its root is judged when it is opened, and no client can bring another one in.
#[derive(Debug, Clone)]
pub struct ChainVerifier {
    anchors: Vec<TrustAnchor<'static>>,
    /// In the order of `anchors`.
    validities: Vec<Validity>,
}

impl ChainVerifier {
    /// Takes the issuing authorities' certificates, DER.
    ///
    /// # Errors
    /// [`AnchorError`] where there is none or one cannot be read.
    pub fn new<D: AsRef<[u8]>>(anchors: impl IntoIterator<Item = D>) -> Result<Self, AnchorError> {
        let anchors: Vec<_> = anchors
            .into_iter()
            .map(|der| certificate::peek_validity(der.as_ref()).map(|validity| (der, validity)))
            .collect::<Option<_>>()
            .ok_or(AnchorError::Malformed)?;
        Self::with_validities(anchors)
    }

    /// Takes the issuing authorities' certificates, DER, each with when it and all who vouch for it hold.
    ///
    /// # Errors
    /// [`AnchorError`] where there is none or one cannot be read.
    pub fn with_validities<D: AsRef<[u8]>>(
        anchors: impl IntoIterator<Item = (D, Validity)>,
    ) -> Result<Self, AnchorError> {
        let (anchors, validities): (Vec<_>, Vec<_>) = anchors
            .into_iter()
            .map(|(der, validity)| read_anchor(der.as_ref()).map(|anchor| (anchor, validity)))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        if anchors.is_empty() { Err(AnchorError::None) } else { Ok(Self { anchors, validities }) }
    }

    /// Judges a certificate (DER).
    ///
    /// # Errors
    /// [`ChainError`]
    pub fn verify(&self, leaf: &[u8]) -> Result<VerifiedDeviceCertificate, ChainError> {
        let parsed = certificate::parse(leaf).ok_or(ChainError::Malformed)?;
        let validity = validity_of(&parsed);
        let der = CertificateDer::from(leaf);
        let end_entity = EndEntityCert::try_from(&der).map_err(|_| ChainError::Malformed)?;
        let at = first_instant(validity)?;
        // Issuers need not name a usage (RFC 5280, section 4.2.1.12); the certificate itself must, see below.
        let usage = KeyUsage::client_auth();
        let path = end_entity
            .verify_for_usage(SIGNATURE_ALGORITHMS, &self.anchors, &[], at, usage, None, None)
            .map_err(ChainError::NotOurs)?;
        let issuers_validity = self.anchor_validity(path.anchor()).ok_or(ChainError::Malformed)?;
        if !names_client_authentication(&parsed) {
            return Err(ChainError::NotForClients);
        }
        let identity = identity(&parsed).ok_or(ChainError::NotADevice)?;
        let serial: [u8; 20] = parsed.raw_serial().try_into().map_err(|_| ChainError::NotADevice)?;
        Ok(VerifiedDeviceCertificate {
            fingerprint: fingerprint(leaf),
            serial: SerialNumber::from_octets(serial).map_err(|_| ChainError::NotADevice)?,
            device_id: identity.device_id,
            tenant_id: identity.tenant_id,
            validity,
            issuers_validity,
        })
    }

    /// The same name and key may stand in several anchors, where one was renewed; the longest-lived counts.
    fn anchor_validity(&self, anchor: &TrustAnchor<'_>) -> Option<Validity> {
        self.anchors
            .iter()
            .zip(&self.validities)
            .filter(|(ours, _)| *ours == anchor)
            .map(|(_, validity)| *validity)
            .max_by_key(|validity| validity.not_after)
    }
}

fn read_anchor(der: &[u8]) -> Result<TrustAnchor<'static>, AnchorError> {
    let der = CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| AnchorError::Malformed)?;
    Ok(anchor.to_owned())
}

/// An instant at which the certificate holds: whether it does now is judged on each request, and an expired certificate of
/// ours must still be told from a foreign one.
fn first_instant(validity: Validity) -> Result<UnixTime, ChainError> {
    let instant = validity.not_before.min(validity.not_after);
    let seconds = u64::try_from(instant.unix_timestamp()).map_err(|_| ChainError::Malformed)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

fn names_client_authentication(certificate: &X509Certificate<'_>) -> bool {
    certificate.extended_key_usage().ok().flatten().is_some_and(|usages| usages.value.client_auth)
}

/// The device's identity from the one URI among the subject's alternative names.
fn identity(certificate: &X509Certificate<'_>) -> Option<DeviceIdentity> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let identity = DeviceIdentity::parse(uris.next()?)?;
    uris.next().is_none().then_some(identity)
}

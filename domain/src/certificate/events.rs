//! What can happen to a device's certificates, as it is recorded.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::revocation_reason::RevocationReason;
use crate::credential::Digest;
use crate::event::events;
use crate::ids::{AuthorityId, DeviceId, TenantId};
use crate::serial::{Fingerprint, SerialNumber};
use crate::text::Reason;
use crate::timestamp::Timestamp;

/// A certificate is about to be signed. Recorded first, so that a crash leaves a record and never an unknown certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateIntended {
    /// The serial number that it will have.
    pub serial_number: SerialNumber,
    /// Whose it will be.
    pub device_id: DeviceId,
    /// The device's tenant.
    pub tenant_id: TenantId,
    /// The profile that decides its contents.
    pub profile: String,
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub public_key_sha256: Digest,
    /// The first moment of its validity, to the second.
    pub not_before: Timestamp,
    /// The last moment of its validity, to the second.
    pub not_after: Timestamp,
    /// The certificate that it renews, where it renews one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_of: Option<SerialNumber>,
}

/// A certificate was signed, and is valid from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateIssued {
    /// What was intended.
    #[serde(flatten)]
    pub intended: CertificateIntended,
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Its subject, as `CN=device-..., O=SignalBeam`.
    pub subject: String,
    /// Who signed it.
    pub authority_id: AuthorityId,
    /// The certificate itself.
    pub certificate_pem: String,
}

/// An admin vouched for a certificate of another authority: exactly these octets authenticate their device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateImported {
    /// Its name here, made from its fingerprint: [`SerialNumber::of_imported`]. Serial numbers of other authorities may be
    /// short, and may collide.
    pub serial_number: SerialNumber,
    /// Whose it is.
    pub device_id: DeviceId,
    /// The device's tenant.
    pub tenant_id: TenantId,
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// The serial number that its own authority gave it, in lower-case hex digits.
    pub foreign_serial_number: String,
    /// Its own authority's name.
    pub issuer: String,
    /// An id for that authority, made from its name: all that are imported from one authority have the same.
    pub authority_id: AuthorityId,
    /// Its subject.
    pub subject: String,
    /// The first moment of its validity, to the second.
    pub not_before: Timestamp,
    /// The last moment of its validity, to the second.
    pub not_after: Timestamp,
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub public_key_sha256: Digest,
    /// The certificate itself.
    pub certificate_pem: String,
}

impl CertificateImported {
    /// What stands in the place of a profile: none of ours decided its contents.
    pub const PROFILE: &'static str = "imported";

    /// The same as if it had been issued here: from now on the same rules hold for it.
    pub(super) fn as_issued(&self) -> CertificateIssued {
        CertificateIssued {
            intended: CertificateIntended {
                serial_number: self.serial_number,
                device_id: self.device_id,
                tenant_id: self.tenant_id,
                profile: Self::PROFILE.to_owned(),
                public_key_sha256: self.public_key_sha256,
                not_before: self.not_before,
                not_after: self.not_after,
                renewal_of: None,
            },
            fingerprint: self.fingerprint,
            subject: self.subject.clone(),
            authority_id: self.authority_id,
            certificate_pem: self.certificate_pem.clone(),
        }
    }
}

/// An intended certificate will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAbandoned {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Why not.
    pub cause: AbandonCause,
}

/// Why an intended certificate was not issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbandonCause {
    /// The key store could not sign.
    SigningFailed,
    /// The device was suspended or decommissioned, or the renewed certificate revoked, in between.
    NoLongerEligible,
    /// Another authority signs in the place of the one that was to.
    AuthorityReplaced,
    /// The clock turned out to be far behind the log.
    ClockBehind,
    /// The process ended in between; found when it started again.
    Interrupted,
}

/// A certificate authenticated for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFirstUsed {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// The address that it was used from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_from: Option<IpAddr>,
}

/// Another certificate took its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSuperseded {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// The serial number of the one that took its place.
    pub superseded_by: SerialNumber,
}

/// A certificate was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRevoked {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Why, in an admin's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, in the words of RFC 5280; nothing was said where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<RevocationReason>,
}

/// Somebody was told that a certificate is about to expire, so that each threshold is told once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateExpiryNoticed {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// The threshold that was reached, in days before the end.
    pub threshold_days: u16,
}

/// The device was asked to renew a certificate earlier than its end demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRenewalRequested {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// From when on it may and should be renewed.
    pub window_start: Timestamp,
    /// By when it should be.
    pub window_end: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A superseded certificate turned up in a way that its device gives no reason for: its key is probably held twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReuseSuspected {
    /// The serial number of the superseded one.
    pub serial_number: SerialNumber,
    /// The serial number of the one that is in its place.
    pub successor: SerialNumber,
    /// The address that it was seen from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_from: Option<IpAddr>,
    /// What its holder did.
    pub how: ReuseSign,
}

/// What the holder of a superseded certificate did that its device would not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReuseSign {
    /// It showed the certificate although what took its place has been in use for a while.
    PresentedAfterSuccession,
    /// It asked to renew the certificate for another key than the one that the successor was issued for.
    AskedForAnotherKey,
}

events! {
    /// What can happen to a device's set of certificates.
    CertificateEvent {
        /// One is about to be signed.
        Intended(CertificateIntended) = ("certificate.intended", 1),
        /// One was signed.
        Issued(CertificateIssued) = ("certificate.issued", 1),
        /// One of another authority was imported.
        Imported(CertificateImported) = ("certificate.imported", 1),
        /// An intended one will not be.
        Abandoned(CertificateAbandoned) = ("certificate.abandoned", 1),
        /// One authenticated for the first time.
        FirstUsed(CertificateFirstUsed) = ("certificate.first_used", 1),
        /// Another one took its place.
        Superseded(CertificateSuperseded) = ("certificate.superseded", 1),
        /// One was revoked.
        Revoked(CertificateRevoked) = ("certificate.revoked", 1),
        /// One is about to expire.
        ExpiryNoticed(CertificateExpiryNoticed) = ("certificate.expiry_noticed", 1),
        /// One should be renewed early.
        RenewalRequested(CertificateRenewalRequested) = ("certificate.renewal_requested", 1),
        /// One seems to be held twice.
        ReuseSuspected(CertificateReuseSuspected) = ("certificate.reuse_suspected", 1),
    }
}

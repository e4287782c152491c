//! What an event means for the index. Payloads are read only as far as that needs: no PEM is copied
//! but that of an imported certificate, which alone names its issuer.

use std::sync::Arc;

use serde::Deserialize;
use signalbeam_domain::admin_token::{AdminTokenRevoked, AllAdminTokensRevoked};
use signalbeam_domain::certificate::{RenewalWindow, Standing};
use signalbeam_domain::{
    AdminTokenId, AllowedNetworks, ApiKeyId, AuthorityId, DecodeError, DeviceId, DeviceStatus, Envelope, Fingerprint,
    Prefix, SecretVerifier, SerialNumber, TenantId, Timestamp, TokenIssuer,
};
use signalbeam_event_store::Recorded;

use super::entries::{ApiKeyEntry, CertificateEntry, DeviceEntry};
use super::labels::profile_label;
use crate::progress::ProjectionFailure;
use crate::standing::issuer_der;

/// What an event changes.
#[derive(Debug)]
pub(super) enum Fact {
    DeviceRegistered(DeviceId, DeviceEntry),
    DeviceBecame(DeviceId, DeviceStatus),
    DeviceRestricted(DeviceId, AllowedNetworks),
    KeyIssued(ApiKeyEntry),
    KeyUsed(DeviceId, ApiKeyId),
    KeyRevoked(DeviceId, ApiKeyId),
    CertificateIssued(CertificateEntry),
    /// With its issuer's name, DER, as far as that can be read.
    CertificateImported(CertificateEntry, Option<Arc<[u8]>>),
    CertificateUsed(SerialNumber),
    CertificateEnded(SerialNumber, Standing),
    RenewalRequested(SerialNumber, RenewalWindow),
    ReuseSuspected(SerialNumber),
    AuthorityRotated(AuthorityId),
    /// And when it expires anyway, where that is known.
    AdminTokenRevoked(TokenIssuer, AdminTokenId, Option<Timestamp>),
    AdminTokensRevokedBefore(Timestamp),
    /// Nobody's authentication depends on it.
    Nothing,
}

/// The types that change nothing in here. A type that stands neither here nor in [`Fact::read`] stops the index.
const OF_NO_CONCERN: &[(&str, u16)] = &[
    ("device.renamed", 1),
    ("registration_token.issued", 1),
    ("registration_token.consumed", 1),
    ("registration_token.revoked", 1),
    ("api_key.expiry_noticed", 1),
    ("certificate.intended", 1),
    ("certificate.abandoned", 1),
    ("certificate.expiry_noticed", 1),
    ("certificate_authority.created", 1),
    ("certificate_authority.activated", 1),
    ("certificate_authority.retired", 1),
    ("certificate_authority.service_certificate_intended", 1),
    ("certificate_authority.crl_published", 1),
    ("event_log.rollback_acknowledged", 1),
    ("audit_segment.sealed", 1),
    ("audit_segment.dropped", 1),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    device_id: DeviceId,
    tenant_id: TenantId,
}

#[derive(Deserialize)]
struct Restricted {
    networks: AllowedNetworks,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyIssued {
    key_id: ApiKeyId,
    device_id: DeviceId,
    prefix: Prefix,
    verifier: SecretVerifier,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    key_id: ApiKeyId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateIssued {
    serial_number: SerialNumber,
    device_id: DeviceId,
    not_before: Timestamp,
    not_after: Timestamp,
    fingerprint: Fingerprint,
    /// Empty where none of ours decided its contents: an imported one names none.
    #[serde(default)]
    profile: String,
    authority_id: AuthorityId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalRequested {
    serial_number: SerialNumber,
    window_start: Timestamp,
    window_end: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Imported {
    #[serde(flatten)]
    certificate: CertificateIssued,
    certificate_pem: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    serial_number: SerialNumber,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Superseded {
    serial_number: SerialNumber,
    superseded_by: SerialNumber,
}

impl Fact {
    pub(super) fn read(recorded: &Recorded) -> Result<Self, ProjectionFailure> {
        let Envelope { stream, event_type, schema_version, .. } = &recorded.envelope;
        let device = || DeviceId::parse(stream.id()).map_err(|_| ProjectionFailure::nameless(&recorded.envelope));
        let became = |status| Ok(Self::DeviceBecame(device()?, status));
        if !event_type.strip_prefix(stream.category().as_str()).is_some_and(|rest| rest.starts_with('.')) {
            return Err(unknown(recorded));
        }
        match (event_type.as_str(), *schema_version) {
            ("device.registered", 1) => {
                let Registered { device_id, tenant_id } = payload(recorded)?;
                Ok(Self::DeviceRegistered(device_id, DeviceEntry { tenant_id, status: DeviceStatus::Pending }))
            }
            ("device.imported", 1) => {
                let Registered { device_id, tenant_id } = payload(recorded)?;
                Ok(Self::DeviceRegistered(device_id, DeviceEntry { tenant_id, status: DeviceStatus::Approved }))
            }
            ("device.approved" | "device.reinstated", 1) => became(DeviceStatus::Approved),
            ("device.rejected", 1) => became(DeviceStatus::Rejected),
            ("device.suspended", 1) => became(DeviceStatus::Suspended),
            ("device.decommissioned", 1) => became(DeviceStatus::Decommissioned),
            ("device.networks_restricted", 1) => {
                Ok(Self::DeviceRestricted(device()?, payload::<Restricted>(recorded)?.networks))
            }
            ("api_key.issued", 1) => payload::<KeyIssued>(recorded).map(Self::from),
            ("api_key.first_used", 1) => Ok(Self::KeyUsed(device()?, payload::<Key>(recorded)?.key_id)),
            ("api_key.revoked", 1) => Ok(Self::KeyRevoked(device()?, payload::<Key>(recorded)?.key_id)),
            ("certificate.issued", 1) => Ok(Self::CertificateIssued(payload::<CertificateIssued>(recorded)?.into())),
            ("certificate.imported", 1) => {
                let Imported { certificate, certificate_pem } = payload(recorded)?;
                let entry = CertificateEntry { is_imported: true, ..certificate.into() };
                Ok(Self::CertificateImported(entry, issuer_der(&certificate_pem).map(Into::into)))
            }
            ("certificate.first_used", 1) => Ok(Self::CertificateUsed(payload::<Certificate>(recorded)?.serial_number)),
            ("certificate.superseded", 1) => {
                let Superseded { serial_number, superseded_by: by } = payload(recorded)?;
                Ok(Self::CertificateEnded(serial_number, Standing::Superseded { by }))
            }
            ("certificate.revoked", 1) => {
                let Certificate { serial_number } = payload(recorded)?;
                Ok(Self::CertificateEnded(serial_number, Standing::Revoked))
            }
            ("certificate.renewal_requested", 1) => {
                let RenewalRequested { serial_number, window_start: start, window_end: end } = payload(recorded)?;
                Ok(Self::RenewalRequested(serial_number, RenewalWindow { start, end }))
            }
            ("certificate.reuse_suspected", 1) => {
                Ok(Self::ReuseSuspected(payload::<Certificate>(recorded)?.serial_number))
            }
            ("certificate_authority.rotated", 1) => AuthorityId::parse(stream.id())
                .map(Self::AuthorityRotated)
                .map_err(|_| ProjectionFailure::nameless(&recorded.envelope)),
            ("admin_token.revoked", 1) => {
                let AdminTokenRevoked { jti, issuer, expires_at, .. } = payload(recorded)?;
                Ok(Self::AdminTokenRevoked(issuer, jti, expires_at))
            }
            ("admin_token.all_revoked", 1) => {
                Ok(Self::AdminTokensRevokedBefore(payload::<AllAdminTokensRevoked>(recorded)?.issued_before))
            }
            kind if OF_NO_CONCERN.contains(&kind) => Ok(Self::Nothing),
            _ => Err(unknown(recorded)),
        }
    }
}

impl From<KeyIssued> for Fact {
    fn from(issued: KeyIssued) -> Self {
        Self::KeyIssued(ApiKeyEntry {
            key_id: issued.key_id,
            prefix: issued.prefix,
            device_id: issued.device_id,
            verifier: Arc::new(issued.verifier),
            expires_at: issued.expires_at,
            is_revoked: false,
            is_used: false,
        })
    }
}

impl From<CertificateIssued> for CertificateEntry {
    fn from(issued: CertificateIssued) -> Self {
        Self {
            fingerprint: issued.fingerprint,
            serial_number: issued.serial_number,
            device_id: issued.device_id,
            not_before: issued.not_before,
            not_after: issued.not_after,
            is_imported: false,
            standing: Standing::Active,
            authority_id: issued.authority_id,
            is_used: false,
            profile: profile_label(&issued.profile),
            is_reuse_suspected: false,
        }
    }
}

fn payload<'a, T: Deserialize<'a>>(recorded: &'a Recorded) -> Result<T, ProjectionFailure> {
    serde_json::from_slice(&recorded.envelope.data).map_err(|source| {
        let event_type = recorded.envelope.event_type.clone();
        ProjectionFailure::unreadable(recorded, DecodeError::Payload { event_type, source })
    })
}

fn unknown(recorded: &Recorded) -> ProjectionFailure {
    let Envelope { event_type, schema_version, .. } = &recorded.envelope;
    let event_type = event_type.clone();
    ProjectionFailure::unreadable(recorded, DecodeError::UnknownType { event_type, schema_version: *schema_version })
}

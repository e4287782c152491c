//! Certificates: the inventory, one by one, a device's, the authority's, and when to renew.

pub mod ca;
pub mod get;
pub mod list;
pub mod of_device;
pub mod renewal_info;

use serde::Serialize;
use signalbeam_domain::{DeviceId, Fingerprint, SerialNumber, TenantId, Timestamp};
use signalbeam_projections::{CertificateRow, CertificateType};
use utoipa::ToSchema;

/// A certificate.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedCertificate {
    /// 40 lower-case hex digits.
    #[schema(value_type = String, example = "4a2b3c4d5e6f708192a3b4c5d6e7f80910111213")]
    serial_number: SerialNumber,
    /// Its device; absent for an authority's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    device_id: Option<DeviceId>,
    /// The device's tenant; absent for an authority's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// `SHA256:` and 64 upper-case hex digits.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    /// Its subject.
    subject: String,
    /// What it is for: `Device`, `RootCA` or `IntermediateCA`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "Device")]
    kind: CertificateType,
    /// The profile that decided its contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    /// The first moment of its validity; earlier than `issuedAt`, for devices whose clocks are slow.
    #[schema(value_type = String, format = DateTime)]
    not_before: Timestamp,
    /// The last moment of its validity.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it first authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    first_used_at: Option<Timestamp>,
    /// When it was superseded or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Who did that, as `kind:id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by: Option<String>,
    /// Why it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_reason: Option<String>,
    /// The serial number of the certificate that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    superseded_by: Option<SerialNumber>,
    /// The serial number of the certificate that it renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    renewal_of: Option<SerialNumber>,
    /// From when on its device was asked to renew it, earlier than its end demands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    renewal_requested_from: Option<Timestamp>,
    /// When it turned up although another one had taken its place: its key is probably held twice, by a cloned device or a
    /// thief. Its device's history says from where.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    reuse_suspected_at: Option<Timestamp>,
    /// Where it stands now: `active`, `superseded`, `revoked` or `expired`.
    #[schema(example = "active")]
    status: &'static str,
}

impl ListedCertificate {
    pub(crate) fn new(row: CertificateRow, now: Timestamp) -> Self {
        Self {
            status: row.status(now).as_str(),
            serial_number: row.serial_number,
            device_id: row.device_id,
            tenant_id: row.tenant_id,
            fingerprint: row.fingerprint,
            subject: row.subject,
            kind: row.kind,
            profile: row.profile,
            issued_at: row.issued_at,
            not_before: row.not_before,
            expires_at: row.expires_at,
            first_used_at: row.first_used_at,
            revoked_at: row.revoked_at,
            revoked_by: row.revoked_by,
            revocation_reason: row.revocation_reason,
            superseded_by: row.superseded_by,
            renewal_of: row.renewal_of,
            renewal_requested_from: row.renewal_requested.map(|window| window.start),
            reuse_suspected_at: row.reuse_suspected_at,
        }
    }
}

//! Registration tokens, without what verifies them.

pub mod list;

use serde::Serialize;
use signalbeam_domain::{DeviceId, Prefix, RegistrationTokenId, TenantId, Timestamp};
use signalbeam_projections::TokenRow;
use utoipa::ToSchema;

/// A registration token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedRegistrationToken {
    /// Its id, by which it is revoked.
    #[schema(value_type = Uuid)]
    id: RegistrationTokenId,
    /// Its public prefix.
    #[schema(value_type = String)]
    token_prefix: Prefix,
    /// The tenant that its device will belong to.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// Where it stands now: `active`, `used`, `expired` or `revoked`.
    #[schema(example = "active")]
    status: &'static str,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who created it, as `kind:id`.
    created_by: String,
    /// The first moment at which it no longer registers anything.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When a device registered with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    used_at: Option<Timestamp>,
    /// That device.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    used_by_device_id: Option<DeviceId>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_reason: Option<String>,
}

impl ListedRegistrationToken {
    fn new(row: TokenRow, now: Timestamp) -> Self {
        Self {
            status: row.status(now).as_str(),
            id: row.id,
            token_prefix: row.prefix,
            tenant_id: row.tenant_id,
            description: row.description,
            created_at: row.created_at,
            created_by: row.created_by,
            expires_at: row.expires_at,
            used_at: row.used_at,
            used_by_device_id: row.used_by_device_id,
            revoked_at: row.revoked_at,
            revocation_reason: row.revocation_reason,
        }
    }
}

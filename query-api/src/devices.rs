//! Devices, without what verifies their secrets.

pub mod by_status;
pub mod get;
pub mod history;
pub mod list;
pub mod registration_status;

use axum::Json;
use serde::Serialize;
use signalbeam_authn::{Caller, DevicePrincipal, Permission, Problem};
use signalbeam_domain::{
    AllowedNetworks, DeviceId, DeviceName, DeviceStatus, Metadata, Prefix, ProfileName, Tags, TenantId, Timestamp,
};
use signalbeam_projections::{DeviceFilter, DeviceRow};
use utoipa::ToSchema;

use crate::listing::{Limit, List, ListName};
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// A device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedDevice {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// Its tenant, for life.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// Its name, a label: two devices may have the same.
    #[schema(value_type = String)]
    device_name: DeviceName,
    /// Where it stands. Only an approved device authenticates.
    #[schema(value_type = String, example = "Approved")]
    status: DeviceStatus,
    /// What it told of itself.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// What it is found by, sorted.
    #[schema(value_type = Vec<String>, example = json!(["hall 3", "site:north"]))]
    tags: Tags,
    /// When it registered or was imported.
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
    /// The public prefix of the registration token that it registered with; absent where it was imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    registration_token_prefix: Option<Prefix>,
    /// When it was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    approved_at: Option<Timestamp>,
    /// Who approved it, as `kind:id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
    /// When it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    rejected_at: Option<Timestamp>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection_reason: Option<String>,
    /// When its status last changed.
    #[schema(value_type = String, format = DateTime)]
    status_changed_at: Timestamp,
    /// Who changed it, as `kind:id`.
    status_changed_by: String,
    /// What was said of that change.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// The profile of its certificates.
    #[schema(value_type = String, example = "device")]
    certificate_profile: ProfileName,
    /// When it last authenticated, a second or so behind; absent where it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
    /// The only networks from which it may authenticate; absent: everywhere.
    #[serde(skip_serializing_if = "AllowedNetworks::is_everywhere")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_networks: AllowedNetworks,
}

impl From<DeviceRow> for ListedDevice {
    fn from(row: DeviceRow) -> Self {
        Self {
            device_id: row.device_id,
            tenant_id: row.tenant_id,
            device_name: row.name,
            status: row.status,
            metadata: row.metadata,
            tags: row.tags,
            registered_at: row.registered_at,
            registration_token_prefix: row.token_prefix,
            approved_at: row.approved_at,
            approved_by: row.approved_by,
            rejected_at: row.rejected_at,
            rejection_reason: row.rejection_reason,
            status_changed_at: row.status_changed_at,
            status_changed_by: row.status_changed_by,
            status_reason: row.status_reason,
            certificate_profile: row.certificate_profile,
            last_seen_at: row.last_seen_at,
            allowed_networks: row.allowed_networks,
        }
    }
}

/// What a list of devices was asked for.
struct Asked {
    filter: DeviceFilter,
    limit: Limit,
    cursor: Option<String>,
    min_position: Option<u64>,
}

/// A page of the devices that exist for the caller: for a device, that is itself.
async fn list(api: &QueryApi, caller: &Caller, asked: Asked) -> Result<Json<List<ListedDevice>>, Problem> {
    caller.require(Permission::Read)?;
    asked.filter.tenant_id.map_or(Ok(()), |tenant_id| caller.require_tenant(tenant_id))?;
    let after = ListName::Devices.after(asked.cursor.as_deref())?;
    api.settle(asked.min_position).await?;
    if let Caller::Device(device) = caller {
        let items = if after.is_none() { itself(api, device, &asked.filter).await? } else { vec![] };
        return Ok(Json(List { items, next_cursor: None }));
    }
    let devices = api.read_model.devices(caller.tenant_id(), &asked.filter, after, asked.limit.get()).await;
    let devices = devices.map_err(|error| store_unavailable(&error))?;
    Ok(Json(List {
        items: devices.items.into_iter().map(ListedDevice::from).collect(),
        next_cursor: devices.next.map(|next| ListName::Devices.cursor(&next)),
    }))
}

async fn itself(api: &QueryApi, device: &DevicePrincipal, filter: &DeviceFilter) -> Result<Vec<ListedDevice>, Problem> {
    let found = api.read_model.device(Some(device.tenant_id), device.device_id).await;
    let row = found.map_err(|error| store_unavailable(&error))?.map(|detail| detail.device);
    let is_named = |row: &DeviceRow, part: &str| row.name.as_str().to_lowercase().contains(&part.to_lowercase());
    let row = row
        .filter(|row| filter.tags.iter().all(|tag| row.tags.contains(tag)))
        .filter(|row| filter.status.is_none_or(|status| status == row.status))
        .filter(|row| filter.name_contains.as_deref().is_none_or(|part| is_named(row, part)));
    Ok(row.into_iter().map(ListedDevice::from).collect())
}

//! `PATCH /api/devices/{id}`

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission, RequestContext};
use signalbeam_domain::device::{Device, DeviceCommand, DeviceRenamed};
use signalbeam_domain::{DeviceId, DeviceName, DeviceStatus, Metadata, MetadataValue, StreamId};
use utoipa::ToSchema;

use super::refused;
use crate::command::{Cause, Changed};
use crate::state::CommandApi;

/// What changes; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RenameDevice {
    /// The new name.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    device_name: Option<DeviceName>,
    /// The new metadata as a whole: at most 128 values, 4 levels, 8,192 characters.
    #[schema(value_type = Option<Object>)]
    metadata: Option<BTreeMap<String, MetadataValue>>,
}

/// The device's label and description after the change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RenamedDevice {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// Its name.
    #[schema(value_type = String)]
    device_name: DeviceName,
    /// Its metadata.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Where it stands.
    #[schema(value_type = String, example = "Approved")]
    status: DeviceStatus,
}

/// Rename a device, or replace its metadata.
#[utoipa::path(
    patch, path = "/api/devices/{id}", tag = "Devices", operation_id = "renameDevice",
    params(("id" = Uuid, Path, description = "The device")),
    request_body = RenameDevice,
    responses(
        (status = 200, body = RenamedDevice, description = "It has the new name and metadata"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: it was rejected or is out of service"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn rename_device(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    body: JsonBody<RenameDevice>,
) -> Result<Changed<Json<RenamedDevice>>, Problem> {
    admin.require(Permission::ManageDevices)?;
    let metadata = body.value.metadata.map(Metadata::new).transpose();
    let metadata = metadata.map_err(|error| Problem::invalid("/metadata", error.to_string()))?;
    let renamed = DeviceRenamed { device_name: body.value.device_name, metadata };
    let tenant_id = api.device(id, admin.tenant_id).await?.device.registered.tenant_id;
    let cause = Cause { actor: admin.actor(), context, idempotency: None };
    let command = || DeviceCommand::Rename(renamed.clone());
    let outcome =
        api.execute::<Device>(&cause, &StreamId::device(id), tenant_id, command, |error| refused(&error)).await?;
    let device = api.device(id, admin.tenant_id).await?.device;
    let answer = RenamedDevice {
        device_id: id,
        device_name: device.registered.device_name,
        metadata: device.registered.metadata,
        status: device.status,
    };
    Ok(Changed::new(StatusCode::OK, Json(answer), outcome.position))
}

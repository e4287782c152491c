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
use signalbeam_domain::{
    AllowedNetworks, DeviceId, DeviceName, DeviceStatus, Metadata, MetadataValue, ProfileName, StreamId, Tags,
};
use utoipa::ToSchema;

use super::refused;
use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// What changes; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RenameDevice {
    /// The new name.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    device_name: Option<DeviceName>,
    /// The new metadata as a whole: an object, at most 64 members in any object, 128 values and 8,192 characters in all,
    /// 4 levels.
    #[schema(value_type = Option<Object>)]
    metadata: Option<BTreeMap<String, MetadataValue>>,
    /// The new tags as a whole: at most 32 different ones of 1 to 64 characters: letters, digits, `.`, `_`, `-`, `:`, `/`,
    /// `=`, `@`, `+`, and spaces in between. Their order does not matter.
    #[schema(value_type = Option<Vec<String>>, max_items = 32, example = json!(["hall 3", "site:north"]))]
    tags: Option<Tags>,
    /// The only networks (CIDR) from which it may authenticate, at most 32; an empty list lifts the restriction.
    #[schema(value_type = Option<Vec<String>>, max_items = 32)]
    allowed_networks: Option<AllowedNetworks>,
    /// The profile of its further certificates; what it has stays until it is renewed.
    #[schema(example = "device")]
    certificate_profile: Option<String>,
}

/// The device's label, description and tags after the change.
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
    /// Its tags, sorted.
    #[schema(value_type = Vec<String>)]
    tags: Tags,
    /// Where it stands.
    #[schema(value_type = String, example = "Approved")]
    status: DeviceStatus,
    /// The only networks from which it may authenticate; absent: everywhere.
    #[serde(skip_serializing_if = "AllowedNetworks::is_everywhere")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_networks: AllowedNetworks,
    /// The profile of its certificates.
    #[schema(value_type = String, example = "device")]
    certificate_profile: ProfileName,
}

/// Change a device.
///
/// Renames it, replaces its metadata or its tags, gives it another certificate profile, or binds it to networks; what the body leaves out stays as it is. From
/// outside of its networks a device gets `ADDRESS_NOT_ALLOWED`, from the next request on, whatever its credential.
#[utoipa::path(
    patch, path = "/api/devices/{id}", tag = "Devices", operation_id = "renameDevice",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = RenameDevice,
    responses(
        (status = 200, body = RenamedDevice, description = "It has the new name, metadata and tags"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: it was rejected or is out of service; `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn rename_device(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<RenameDevice>,
) -> Result<Changed<Json<RenamedDevice>>, Problem> {
    admin.require(Permission::ManageDevices)?;
    let metadata = body.value.metadata.map(Metadata::new).transpose();
    let metadata = metadata.map_err(|error| Problem::invalid("/metadata", error.to_string()))?;
    let renamed = DeviceRenamed {
        device_name: body.value.device_name,
        metadata,
        tags: body.value.tags,
        certificate_profile: api.chosen_profile(body.value.certificate_profile.as_deref())?,
    };
    let tenant_id = api.device(id, admin.tenant_id).await?.device.registered.tenant_id;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let networks = body.value.allowed_networks;
    let command = || DeviceCommand::Change { renamed: renamed.clone(), networks: networks.clone() };
    let outcome =
        api.execute::<Device>(&cause, &StreamId::device(id), tenant_id, command, |error| refused(&error)).await?;
    // As this command left it, whatever has happened since.
    let device = api.device_at(id, outcome.position).await?;
    let device = device.known().cloned().ok_or_else(|| Problem::not_found("device"))?;
    let answer = RenamedDevice {
        device_id: id,
        certificate_profile: device.profile(),
        device_name: device.registered.device_name,
        metadata: device.registered.metadata,
        tags: device.registered.tags,
        status: device.status,
        allowed_networks: device.allowed_networks,
    };
    Ok(Changed::new(StatusCode::OK, Json(answer), outcome.position))
}

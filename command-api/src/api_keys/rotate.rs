//! `POST /api/devices/{id}/rotate-api-key`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Caller, Permission, RequestContext};
use signalbeam_domain::DeviceId;
use utoipa::ToSchema;

use super::{Asker, ShownApiKey, issue};
use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// How the new key shall be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RotateApiKey {
    /// How long it lives, in days: 1 to 730, 90 by default.
    expiration_days: Option<i64>,
}

/// Rotate the device's API key.
///
/// By an admin (`admin` or `operator`), the old key is revoked at once and the device may claim its key again. By the
/// device itself, the old key lives until the new one is first used, so that a lost answer locks nobody out.
#[utoipa::path(
    post, path = "/api/devices/{id}/rotate-api-key", tag = "API keys", operation_id = "rotateApiKey",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<RotateApiKey>,
    responses(
        (status = 200, body = ShownApiKey, description = "The new key, shown once"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`, or the device credential's code"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`, `DEVICE_NOT_APPROVED`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: the device has no key to rotate; `ALREADY_PROCESSED`, `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = []), ("clientCertificate" = []), ("apiKey" = [])),
)]
pub(crate) async fn rotate_api_key(
    State(api): State<CommandApi>,
    caller: Caller,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<RotateApiKey>,
) -> Result<Changed<Json<ShownApiKey>>, Problem> {
    caller.require(Permission::ManageApiKeys)?;
    let asker = match &caller {
        Caller::Admin(_) => Asker::Admin,
        Caller::Device(device) => {
            device.require_self(id)?;
            Asker::Device(device.credential)
        }
    };
    let days = api.policy.api_key_validity.judge(body.value.expiration_days);
    let days = days.map_err(|error| Problem::invalid("/expirationDays", error.to_string()))?;
    let device = api.device(id, caller.tenant_id()).await?;
    let idempotency = key.bind(&caller.actor(), caller.tenant_id(), &body.bytes);
    let cause = Cause { actor: caller.actor(), context, idempotency };
    if let Some(outcome) = api.repeated(&cause).await? {
        outcome.require_first()?;
    }
    let (shown, position) = issue(&api, &cause, device, asker, days).await?;
    Ok(Changed::new(StatusCode::OK, Json(shown), position))
}

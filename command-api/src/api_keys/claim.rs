//! `POST /api/devices/{id}/api-key/claim`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbeam_authn::extractors::PresentedClaim;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{ErrorCode, RequestContext};
use signalbeam_domain::{Actor, DeviceId};
use utoipa::ToSchema;

use super::{Asker, ShownApiKey, issue};
use crate::command::{Cause, Changed, LoadedDevice, internal};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// Nothing is asked for beside the route itself.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimApiKey {}

/// Claim the device's API key.
///
/// With the claim secret as bearer token, once the device is approved. May be repeated, each time revoking the key before,
/// until a key has authenticated.
#[utoipa::path(
    post, path = "/api/devices/{id}/api-key/claim", tag = "API keys", operation_id = "claimApiKey",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<ClaimApiKey>,
    responses(
        (status = 200, body = ShownApiKey, description = "The key, shown once"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_CLAIM_SECRET`"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`"),
        (status = 409, body = ProblemBody, description = "`API_KEY_ALREADY_CLAIMED`, `ALREADY_PROCESSED`, `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("claimSecret" = [])),
)]
pub(crate) async fn claim_api_key(
    State(api): State<CommandApi>,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    PresentedClaim(claim): PresentedClaim,
    key: IdempotencyKey,
    body: Result<JsonBody<ClaimApiKey>, Problem>,
) -> Result<Changed<Json<ShownApiKey>>, Problem> {
    let claim = claim.ok_or_else(|| {
        Problem::new(ErrorCode::AuthenticationRequired, "present the claim secret as `Authorization: Bearer sbc_...`")
    })?;
    let claimant = api.authenticator.claimant(&context, id, &claim).await?;
    let body = body?;
    let actor = Actor::device(id);
    let idempotency = key.bind(&actor, None, &body.bytes);
    let cause = Cause { actor, context, idempotency };
    if let Some(outcome) = api.repeated(&cause).await? {
        outcome.require_first()?;
    }
    let device = LoadedDevice { device: claimant.device, version: claimant.version };
    device.require_approved()?;
    let validity = match device.device.api_key_validity_days {
        Some(days) => days,
        None => api.policy.api_key_validity.judge(None).map_err(|error| internal(&error))?,
    };
    let (shown, position) = issue(&api, &cause, device, Asker::Claimant, validity).await?;
    Ok(Changed::new(StatusCode::OK, Json(shown), position))
}

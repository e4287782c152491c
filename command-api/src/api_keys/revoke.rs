//! `POST /api/devices/{id}/revoke-api-key`

use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission, RequestContext};
use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeys, KeyRevocationCause};
use signalbeam_domain::{DeviceId, Reason, StreamId};
use utoipa::ToSchema;

use super::refused;
use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// Why the key ends.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokeApiKey {
    /// Why.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
}

/// Revoke the device's API key.
///
/// Takes effect before it is answered. The device cannot claim another one; a rotation gives it one.
#[utoipa::path(
    post, path = "/api/devices/{id}/revoke-api-key", tag = "API keys", operation_id = "revokeApiKey",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<RevokeApiKey>,
    responses(
        (status = 204, description = "The device has no API key"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn revoke_api_key(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<RevokeApiKey>,
) -> Result<Changed<()>, Problem> {
    admin.require(Permission::ManageApiKeys)?;
    let tenant_id = api.device(id, admin.tenant_id).await?.device.registered.tenant_id;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let command = || ApiKeyCommand::RevokeAll { cause: KeyRevocationCause::Admin, reason: body.value.reason.clone() };
    let outcome =
        api.execute::<ApiKeys>(&cause, &StreamId::api_keys(id), tenant_id, command, |error| refused(&error)).await?;
    Ok(Changed::no_content(outcome.position))
}

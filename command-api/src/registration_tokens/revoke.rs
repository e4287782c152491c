//! `DELETE /api/registration-tokens/{id}`

use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission, RequestContext};
use signalbeam_domain::registration_token::{RegistrationToken, RegistrationTokenCommand};
use signalbeam_domain::{Reason, RegistrationTokenId, StreamId};
use utoipa::ToSchema;

use super::refused;
use crate::command::{Cause, Changed, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// Why something is taken back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokeRegistrationToken {
    /// Why.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
}

/// Revoke a registration token.
///
/// It registers nothing from here on. Revoking it again changes nothing.
#[utoipa::path(
    delete, path = "/api/registration-tokens/{id}", tag = "Registration tokens", operation_id = "revokeRegistrationToken",
    params(("id" = Uuid, Path, description = "The token's id"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<RevokeRegistrationToken>,
    responses(
        (status = 204, description = "It is revoked"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, or another tenant's"),
        (status = 409, body = ProblemBody, description = "`REGISTRATION_TOKEN_USED`: a device has registered with it; `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn revoke_registration_token(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<RegistrationTokenId>,
    key: IdempotencyKey,
    body: JsonBody<RevokeRegistrationToken>,
) -> Result<Changed<()>, Problem> {
    admin.require(Permission::ManageRegistrationTokens)?;
    // The stream is named by the prefix, which only the table knows by the token's id.
    let found = api.tables().await?.registration_token(admin.tenant_id, id).await;
    let token =
        found.map_err(|error| store_unavailable(&error))?.ok_or_else(|| Problem::not_found("registration token"))?;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let stream = StreamId::registration_token(token.prefix);
    let command = || RegistrationTokenCommand::Revoke { reason: body.value.reason.clone() };
    let outcome =
        api.execute::<RegistrationToken>(&cause, &stream, token.tenant_id, command, |error| refused(&error)).await?;
    Ok(Changed::no_content(outcome.position))
}

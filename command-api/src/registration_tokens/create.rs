//! `POST /api/registration-tokens`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission, RequestContext, draw};
use signalbeam_domain::registration_token::{
    RegistrationToken, RegistrationTokenCommand, RegistrationTokenError, TokenIssued,
};
use signalbeam_domain::{Description, Fingerprint, Prefix, RegistrationTokenId, StreamId, TenantId, Timestamp};
use signalbeam_pki::fingerprint;
use utoipa::ToSchema;
use uuid::Uuid;

use super::refused;
use crate::command::{Cause, Changed, Outcome, internal};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// How often another prefix is drawn where one is taken.
const MAX_DRAWS: usize = 5;

/// What is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateRegistrationToken {
    /// The tenant that the device will belong to.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// How long the token can be used, in days: 1 to 365, 30 by default.
    validity_days: Option<i64>,
    /// What it is for.
    #[schema(value_type = Option<String>, max_length = 512)]
    description: Option<Description>,
}

/// The token, shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedRegistrationToken {
    /// Its id, by which it is revoked.
    #[schema(value_type = Uuid)]
    id: RegistrationTokenId,
    /// The token itself: give it to the device, it is not kept in plaintext.
    token: String,
    /// Its public prefix.
    #[schema(value_type = String)]
    token_prefix: Prefix,
    /// The tenant that the device will belong to.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// The first moment at which it no longer registers anything.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The certificate authority's fingerprint, for the agent's `--ca-fingerprint`.
    #[schema(value_type = String)]
    ca_fingerprint: Fingerprint,
}

impl std::fmt::Debug for CreatedRegistrationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedRegistrationToken").field("token_prefix", &self.token_prefix).finish_non_exhaustive()
    }
}

/// Create a registration token.
///
/// The token registers one device of the tenant, once. It is shown in this answer and never again.
#[utoipa::path(
    post, path = "/api/registration-tokens", tag = "Registration tokens", operation_id = "createRegistrationToken",
    request_body = CreateRegistrationToken,
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the command: a repetition creates no second token")),
    responses(
        (status = 201, body = CreatedRegistrationToken, description = "The token, shown once"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: the role, or another tenant; `QUOTA_EXCEEDED`, with `limit` and `current`"),
        (status = 409, body = ProblemBody, description = "`ALREADY_PROCESSED`, `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn create_registration_token(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<CreateRegistrationToken>,
) -> Result<Changed<Json<CreatedRegistrationToken>>, Problem> {
    admin.require(Permission::ManageRegistrationTokens)?;
    let request = body.value;
    admin.require_tenant(request.tenant_id)?;
    let days = api.policy.registration_token_validity.judge(request.validity_days);
    let days = days.map_err(|error| Problem::invalid("/validityDays", error.to_string()))?;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    if let Some(outcome) = api.repeated(&cause).await? {
        outcome.require_first()?;
    }
    let expires_at = api.now().plus_days(days.get().into());
    // Asked before anything is hashed, and again where it counts.
    drop(api.token_slot(request.tenant_id).await?);
    for _ in 0..MAX_DRAWS {
        let token = draw::registration_token().map_err(|error| internal(&error))?;
        let text = token.expose();
        let issued = TokenIssued {
            token_id: RegistrationTokenId::from_uuid(Uuid::now_v7()),
            tenant_id: request.tenant_id,
            prefix: token.prefix(),
            verifier: api.keeper.verifier(&text).await.map_err(|error| internal(&error))?,
            expires_at,
            description: request.description.clone(),
        };
        let _slot = api.token_slot(request.tenant_id).await?;
        let Some(outcome) = issue(&api, &cause, &issued).await? else { continue };
        let outcome = outcome.require_first()?;
        let created = CreatedRegistrationToken {
            id: issued.token_id,
            token: text,
            token_prefix: issued.prefix,
            tenant_id: issued.tenant_id,
            expires_at,
            ca_fingerprint: fingerprint(api.authorities.current().signing().root_der()),
        };
        return Ok(Changed::new(StatusCode::CREATED, Json(created), outcome.position));
    }
    Err(internal(&RegistrationTokenError::PrefixTaken))
}

/// `None` where the prefix is taken.
async fn issue(api: &CommandApi, cause: &Cause, issued: &TokenIssued) -> Result<Option<Outcome>, Problem> {
    let stream = StreamId::registration_token(issued.prefix);
    let command = || RegistrationTokenCommand::Issue(issued.clone());
    let (token, _) = api.load::<RegistrationToken>(&stream).await?;
    if token.issued().is_some() {
        return Ok(None);
    }
    api.execute::<RegistrationToken>(cause, &stream, issued.tenant_id, command, |error| refused(&error)).await.map(Some)
}

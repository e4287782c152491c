//! `POST /api/admin-tokens/revoke`

use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{AdminSession, ErrorCode, Permission, RequestContext, SignedInAdmin};
use signalbeam_domain::admin_token::{
    AdminTokenCommand, AdminTokenError, AdminTokenRevoked, AllAdminTokensRevoked, RevokedAdminTokens,
};
use signalbeam_domain::{AdminTokenId, Reason, StreamId, Timestamp, TokenIssuer};
use utoipa::ToSchema;

use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// Which admin tokens are revoked: exactly one of `jti` and `issuedBefore`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokeAdminTokens {
    /// One token, by its claim `jti`.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    jti: Option<AdminTokenId>,
    /// Who issued that token: its claim `iss`. By default the issuer of the presented token where `jti` is its own, and
    /// this installation (`signalbeam`) otherwise.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    issuer: Option<TokenIssuer>,
    /// All tokens of this installation whose claim `iat` lies before this moment, which must not lie in the future.
    #[schema(value_type = Option<String>, format = DateTime)]
    issued_before: Option<Timestamp>,
    /// Why.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
}

/// Revoke admin tokens.
///
/// One by its `jti`, or all that this installation issued before a moment. Takes effect before it is answered; the tokens
/// are refused with `INVALID_TOKEN` from then on. Every admin may revoke the very token that is presented, which logs out;
/// anything else takes the role `admin` without confinement to a tenant. Tokens of an OIDC issuer can be revoked by
/// `jti` where they carry one; by `issuedBefore` only this installation's are.
#[utoipa::path(
    post, path = "/api/admin-tokens/revoke", tag = "Admin tokens", operation_id = "revokeAdminTokens",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = RevokeAdminTokens,
    responses(
        (status = 204, description = "They are revoked"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: somebody else's token"),
        (status = 409, body = ProblemBody, description = "`IDEMPOTENCY_KEY_REUSED`"),
        (status = 503, body = ProblemBody, description = "`AUTH_STATE_STALE`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn revoke_admin_tokens(
    State(api): State<CommandApi>,
    SignedInAdmin(session): SignedInAdmin,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<RevokeAdminTokens>,
) -> Result<Changed<()>, Problem> {
    session.admin.require(Permission::LogOut)?;
    let command = command(&session, &body.value)?;
    let stream = match &command {
        AdminTokenCommand::Revoke(token) => StreamId::admin_token(&token.jti),
        AdminTokenCommand::RevokeAll(_) => StreamId::all_admin_tokens(),
    };
    let actor = session.admin.actor();
    let idempotency = key.bind(&actor, session.admin.tenant_id, &body.bytes);
    let cause = Cause { actor, context, idempotency };
    let refused = |error: AdminTokenError| Problem::invalid("/issuedBefore", error.to_string());
    let outcome = api.execute::<RevokedAdminTokens>(&cause, &stream, None, || command.clone(), refused).await?;
    Ok(Changed::no_content(outcome.position))
}

/// What is asked for, if the caller may ask for it.
fn command(session: &AdminSession, body: &RevokeAdminTokens) -> Result<AdminTokenCommand, Problem> {
    let reason = body.reason.clone();
    match (&body.jti, body.issued_before) {
        (Some(jti), None) => {
            let is_presented = session.jti.as_ref() == Some(jti)
                && body.issuer.as_ref().is_none_or(|issuer| *issuer == session.issuer);
            if is_presented {
                let expires_at = Some(session.expires_at);
                let (jti, issuer) = (jti.clone(), session.issuer.clone());
                return Ok(AdminTokenCommand::Revoke(AdminTokenRevoked { jti, issuer, reason, expires_at }));
            }
            require_all_tenants(session)?;
            let issuer = body.issuer.clone().unwrap_or_else(TokenIssuer::built_in);
            let revoked = AdminTokenRevoked { jti: jti.clone(), issuer, reason, expires_at: None };
            Ok(AdminTokenCommand::Revoke(revoked))
        }
        (None, Some(issued_before)) => {
            require_all_tenants(session)?;
            if body.issuer.is_some() {
                return Err(Problem::invalid("/issuer", "goes with `jti` alone"));
            }
            Ok(AdminTokenCommand::RevokeAll(AllAdminTokensRevoked { issued_before, reason }))
        }
        (None, None) => Err(Problem::invalid("/jti", "either `jti` or `issuedBefore` is needed")),
        (Some(_), Some(_)) => Err(Problem::invalid("/issuedBefore", "must not stand beside `jti`")),
    }
}

fn require_all_tenants(session: &AdminSession) -> Result<(), Problem> {
    session.admin.require(Permission::ManageAdminTokens)?;
    if session.admin.tenant_id.is_none() {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::Forbidden, "only an admin of every tenant may revoke others' tokens"))
}

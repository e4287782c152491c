//! `POST /api/certificate-authorities/{id}/retire`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, ErrorCode, RequestContext};
use signalbeam_domain::authority::{AuthorityCommand, AuthorityStatus};
use signalbeam_domain::{AuthorityId, RevocationReason};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_projections::authorities::{KnownAuthority, known_authorities};
use utoipa::ToSchema;

use super::activate::step;
use super::prepare::AuthorityChanged;
use super::require_all_tenants;
use crate::command::{Cause, Changed, Outcome, contended, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// A body without any field.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFields {}

/// How an authority is retired.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RetireAuthority {
    /// Also where devices still live by certificates that it signed: they are refused from then on, and need their API key
    /// to get new ones.
    #[serde(default)]
    force: bool,
    /// What the revocation lists of the authority that signed its certificate say of it, in the words of RFC 5280, section
    /// 5.3.1: `superseded`, which is the default, `cACompromise`, or another one. Of a root no list tells.
    #[schema(value_type = Option<String>, example = "superseded")]
    reason_code: Option<RevocationReason>,
}

/// Retire a certificate authority.
///
/// It is trusted no longer: what it signed lets nobody in, and devices are told of it no more. Refused while devices still
/// live by certificates of it, unless forced, and while it signs or vouches for one that is trusted. Its last revocation list
/// is served until its `nextUpdate`, and where another authority of this installation signed its certificate, that one's
/// list names it.
#[utoipa::path(
    post, path = "/api/certificate-authorities/{id}/retire", tag = "Certificate authorities",
    operation_id = "retireCertificateAuthority",
    params(("id" = Uuid, Path, description = "The authority"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<RetireAuthority>,
    responses(
        (status = 200, body = AuthorityChanged, description = "It is trusted no longer"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`, with `liveCertificates` where devices still live by it; `IDEMPOTENCY_KEY_REUSED`"),
        (status = 503, body = ProblemBody, description = "`STORE_UNAVAILABLE`, `PROJECTION_BEHIND`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn retire_certificate_authority(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<AuthorityId>,
    key: IdempotencyKey,
    body: JsonBody<RetireAuthority>,
) -> Result<Changed<Json<AuthorityChanged>>, Problem> {
    require_all_tenants(&admin)?;
    let idempotency = key.bind(&admin.actor(), None, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let _turn = api.authority_turn().await;
    let known = known_authorities(&*api.store).await.map_err(|error| store_unavailable(&error))?;
    let one = known.iter().find(|one| one.created.authority_id == id);
    let one = one.ok_or_else(|| Problem::not_found("certificate authority"))?;
    let outcome = if let Some(outcome) = api.repeated(&cause).await? {
        outcome
    } else {
        require_free(&api, one, &known, body.value.force).await?;
        retire(&api, &cause, id, body.value.reason_code).await?
    };
    api.reload_authorities().await?;
    tracing::info!(authority_id = %id, fingerprint = %one.created.fingerprint, "this certificate authority is retired");
    let body = Json(AuthorityChanged::new(&one.created, AuthorityStatus::Retired));
    Ok(Changed::new(StatusCode::OK, body, outcome.position))
}

/// Nobody may depend on it.
async fn require_free(
    api: &CommandApi,
    one: &KnownAuthority,
    known: &[KnownAuthority],
    is_forced: bool,
) -> Result<(), Problem> {
    let id = one.created.authority_id;
    let depends =
        |other: &&KnownAuthority| other.created.issuer_id == Some(id) && other.status != AuthorityStatus::Retired;
    if let Some(other) = known.iter().find(depends) {
        let detail = format!("it vouches for the authority {}; retire that one first", other.created.authority_id);
        return Err(Problem::new(ErrorCode::InvalidState, detail));
    }
    if is_forced || one.status != AuthorityStatus::Rotated {
        return Ok(());
    }
    // Also what other nodes issued; no certificate of it has been recorded since it was rotated.
    let head = api.store.head().await.map_err(|error| store_unavailable(&error))?;
    let counted = api.tables_at(head).await?.live_certificates_of_authority(id, api.now()).await;
    match counted.map_err(|error| store_unavailable(&error))? {
        0 => Ok(()),
        live => {
            let detail = format!(
                "{live} certificates that it signed are in use; wait until their devices have renewed, or set `force`, which \
                 shuts them out"
            );
            Err(Problem::new(ErrorCode::InvalidState, detail).with("liveCertificates", live))
        }
    }
}

async fn retire(
    api: &CommandApi,
    cause: &Cause,
    id: AuthorityId,
    reason_code: Option<RevocationReason>,
) -> Result<Outcome, Problem> {
    for _ in 0..MAX_DECISIONS {
        let write = step(api, id, AuthorityCommand::Retire { reason_code }).await?;
        if let Some(appended) = api.append(cause, vec![write]).await? {
            return Ok(appended.into());
        }
    }
    Err(contended())
}

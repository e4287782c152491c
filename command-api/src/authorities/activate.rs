//! `POST /api/certificate-authorities/{id}/activate`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, ErrorCode, RequestContext};
use signalbeam_domain::authority::{Authority, AuthorityCommand, AuthorityStatus};
use signalbeam_domain::{Aggregate, AuthorityId, Context, StreamId};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{ExpectedVersion, StreamWrite, new_events};
use signalbeam_pki::Timeliness;

use super::prepare::AuthorityChanged;
use super::retire::NoFields;
use super::{refused, require_all_tenants, unavailable};
use crate::command::{Cause, Changed, Outcome, contended};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// Activate a certificate authority.
///
/// It signs from now on, in the place of the one that did, which stays trusted until it is retired. Devices with a
/// certificate of that one may renew at once, and are told to over the next days. Wait with it until your devices have
/// learned to trust the prepared one: those that ask for renewal information do so within a day.
#[utoipa::path(
    post, path = "/api/certificate-authorities/{id}/activate", tag = "Certificate authorities",
    operation_id = "activateCertificateAuthority",
    params(("id" = Uuid, Path, description = "The authority"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<NoFields>,
    responses(
        (status = 200, body = AuthorityChanged, description = "It signs"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`; `IDEMPOTENCY_KEY_REUSED`"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`: its key cannot sign; `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn activate_certificate_authority(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<AuthorityId>,
    key: IdempotencyKey,
    body: JsonBody<NoFields>,
) -> Result<Changed<Json<AuthorityChanged>>, Problem> {
    require_all_tenants(&admin)?;
    let idempotency = key.bind(&admin.actor(), None, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let _turn = api.authority_turn().await;
    let (authority, _) = api.load::<Authority>(&StreamId::certificate_authority(id)).await?;
    let created = authority.created().cloned().ok_or_else(|| Problem::not_found("certificate authority"))?;
    let outcome = match api.repeated(&cause).await? {
        Some(outcome) => outcome,
        None => activate(&api, &cause, id).await?,
    };
    api.reload_authorities().await?;
    tracing::info!(authority_id = %id, fingerprint = %created.fingerprint, "this certificate authority signs now");
    let body = Json(AuthorityChanged::new(&created, AuthorityStatus::Active));
    Ok(Changed::new(StatusCode::OK, body, outcome.position))
}

async fn activate(api: &CommandApi, cause: &Cause, id: AuthorityId) -> Result<Outcome, Problem> {
    // Another node may have changed them a moment ago.
    api.reload_authorities().await?;
    let present = api.authorities.current();
    if let Some(one) = present.by_id(id) {
        if present.trusted().iter().any(|other| other.authority.issuer_der() == Some(one.authority.certificate_der())) {
            let detail =
                "the authority vouches for another one that signs under it; it does not sign for devices itself";
            return Err(Problem::new(ErrorCode::InvalidState, detail));
        }
        if one.authority.own_validity().timeliness(api.now().to_offset_date_time()) != Timeliness::Within {
            let detail = "the authority, or one that vouches for it, is not valid now";
            return Err(Problem::new(ErrorCode::InvalidState, detail));
        }
        // A key that cannot sign would stop all issuing.
        one.authority.prove_key().await.map_err(|error| unavailable(&error))?;
    }
    let before = present.signing().id();
    for _ in 0..MAX_DECISIONS {
        let mut writes = vec![step(api, id, AuthorityCommand::Activate).await?];
        if before != id {
            writes.push(step(api, before, AuthorityCommand::Rotate { successor_id: id }).await?);
        }
        if let Some(appended) = api.append(cause, writes).await? {
            return Ok(appended.into());
        }
    }
    Err(contended())
}

/// A step of one authority.
pub(super) async fn step(api: &CommandApi, id: AuthorityId, command: AuthorityCommand) -> Result<StreamWrite, Problem> {
    let stream = StreamId::certificate_authority(id);
    let (authority, version) = api.load::<Authority>(&stream).await?;
    let events = authority.decide(command, &Context { now: api.now() }).map_err(|error| refused(&error))?;
    Ok(StreamWrite { stream, expected: ExpectedVersion::Exact(version), events: new_events(None, events) })
}

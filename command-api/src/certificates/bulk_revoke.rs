//! `POST /api/certificates/revoke`

mod run;
mod tally;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, AdminPrincipal, Permission, RequestContext};
use signalbeam_domain::{Position, Reason, RevocationReason};
use tokio::sync::watch;
use tracing::Instrument as _;
use utoipa::ToSchema;

use self::run::Run;
use self::tally::{RevokedCertificate, RevokedOfProfile, Tally};
use super::filter::CertificateSelection;
use crate::command::{Cause, Changed, internal};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// How long the caller waits before it is told how far the command has come; the command goes on.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// Which certificates are revoked, and why.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokeCertificates {
    /// Which ones.
    filter: CertificateSelection,
    /// That a filter which names nothing means every certificate that the caller may see.
    #[serde(default)]
    all: bool,
    /// Why, in your own words.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
    /// Why, in the words of RFC 5280, section 5.3.1: `unspecified`, `keyCompromise`, `cACompromise`, `affiliationChanged`,
    /// `superseded`, `cessationOfOperation`, `privilegeWithdrawn` or `aACompromise`.
    #[schema(value_type = Option<String>, example = "keyCompromise")]
    reason_code: Option<RevocationReason>,
    /// Whether to only say what would be revoked.
    dry_run: bool,
}

/// What would be, or was, revoked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevokedCertificates {
    /// Whether nothing was changed.
    dry_run: bool,
    /// Whether everything that was meant is told, and where `dryRun` is false, revoked and in force.
    complete: bool,
    /// The position in the event log up to which it is: every certificate that fits and was issued at or before it. Absent
    /// where the command is not complete yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    complete_to: Option<Position>,
    /// How many certificates there are, or were revoked by this command so far.
    count: u64,
    /// The same by tenant and profile, the most first; at most 500 rows.
    by_tenant_and_profile: Vec<RevokedOfProfile>,
    /// The first 100 of them.
    certificates: Vec<RevokedCertificate>,
}

/// Revoke many certificates.
///
/// All that fit every member of the filter and are neither superseded nor revoked yet, expired ones included, as one command
/// under one correlation id. A filter that names nothing is refused unless `all` is true. `dryRun` says what would be
/// revoked, and changes nothing.
///
/// What is answered with 200 is in force, on open connections too. A command that takes longer than 25 seconds is answered
/// with 202 and the numbers so far, and goes on to its end, whether or not anybody waits: the same request again, best with the
/// same `Idempotency-Key`, waits for the rest. So it does after a crash in the middle: what was revoked stays revoked.
/// Certificates that are issued while the command runs are found as well; `completeTo` says up to which position of the log.
/// A certificate that is renewed while the command runs does not escape: its successor is revoked too.
#[utoipa::path(
    post, path = "/api/certificates/revoke", tag = "Certificates", operation_id = "revokeCertificates",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the command, over all its attempts")),
    request_body = RevokeCertificates,
    responses(
        (status = 200, body = RevokedCertificates, description = "What would be, or was, revoked"),
        (status = 202, body = RevokedCertificates, description = "What was revoked so far; the command goes on"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`: also a filter that names nothing, without `all`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: the role may not, or the filter names another tenant"),
        (status = 409, body = ProblemBody, description = "`IDEMPOTENCY_KEY_REUSED`; `CONFLICT`: try again, what was revoked stays revoked"),
        (status = 503, body = ProblemBody, description = "`STORE_UNAVAILABLE`, `PROJECTION_BEHIND`, `AUTH_STATE_STALE`: try again, what was revoked stays revoked"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn revoke_certificates(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<RevokeCertificates>,
) -> Result<Changed<Json<RevokedCertificates>>, Problem> {
    admin.require(Permission::ManageCertificates)?;
    body.value.check(&admin)?;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let run = Run::new(api, cause, admin.tenant_id, body.value);
    if run.is_dry() {
        let (tally, through) = run.rehearse().await?;
        return Ok(Changed::new(StatusCode::OK, Json(tally.answer(true, Some(through))), through));
    }
    revoke(run).await
}

/// Runs to its end also where the caller goes away, or has waited long enough.
async fn revoke(run: Run) -> Result<Changed<Json<RevokedCertificates>>, Problem> {
    let (told, progress) = watch::channel(Tally::default());
    let mut running = tokio::spawn(async move { run.carry_out(&told).await }.in_current_span());
    let Ok(finished) = tokio::time::timeout(ANSWER_WITHIN, &mut running).await else {
        let so_far = progress.borrow().clone();
        let position = so_far.position();
        return Ok(Changed::new(StatusCode::ACCEPTED, Json(so_far.answer(false, None)), position));
    };
    let done = finished.map_err(|error| internal(&error))??;
    let answer = done.tally.answer(false, Some(done.complete_to));
    Ok(Changed::new(StatusCode::OK, Json(answer), done.position))
}

impl RevokeCertificates {
    fn check(&self, admin: &AdminPrincipal) -> Result<(), Problem> {
        self.filter.check(admin)?;
        match (self.filter.is_empty(), self.all) {
            (true, false) => {
                Err(Problem::invalid("/filter", "names nothing; to mean every certificate, say so with all: true"))
            }
            (false, true) => Err(Problem::invalid("/all", "goes with a filter that names nothing")),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

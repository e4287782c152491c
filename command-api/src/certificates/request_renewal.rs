//! `POST /api/certificates/request-renewal`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::secrets::sha256;
use signalbeam_authn::{Admin, Permission, RequestContext};
use signalbeam_domain::certificate::{
    CertificateCommand, CertificateEvent, CertificateRenewalRequested, Certificates, RenewalWindow,
};
use signalbeam_domain::{DeviceId, Event, Position, Reason, SerialNumber, StreamId, TenantId, Timestamp};
use signalbeam_event_store::{Idempotency, Recorded};
use tokio::task::JoinSet;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::filter::{CertificateSelection, Scope, Target};
use super::refused;
use crate::command::{Cause, Changed, Outcome, internal, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// How many certificates are named in the answer.
const NAMED: usize = 1_000;
/// How many certificates are dealt with at a time: their appends share a commit.
const CONCURRENT: usize = 64;
/// Over how long the renewals are spread unless the request says so: a day.
const DEFAULT_SPREAD_HOURS: u16 = 24;
/// The longest that they are spread over: thirty days.
const MAX_SPREAD_HOURS: u16 = 720;
/// The furthest that a window may lie ahead.
const MAX_DAYS_AHEAD: i64 = 397;

/// Which certificates shall be renewed, and when.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestRenewal {
    /// Which of the active ones are meant; `{}` for all of them.
    filter: CertificateSelection,
    /// From when on; at once by default.
    #[schema(value_type = Option<String>, format = DateTime)]
    start: Option<Timestamp>,
    /// Over how many hours the devices spread their renewals: 1 to 720, 24 by default.
    #[schema(minimum = 1, maximum = 720)]
    spread_hours: Option<u16>,
    /// Why.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
    /// Whether to say only what would be asked for.
    #[serde(default)]
    dry_run: bool,
}

/// What was, or would be, asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestedRenewals {
    /// Whether nothing was recorded.
    dry_run: bool,
    /// From when on the certificates may and should be renewed.
    #[schema(value_type = String, format = DateTime)]
    window_start: Timestamp,
    /// By when.
    #[schema(value_type = String, format = DateTime)]
    window_end: Timestamp,
    /// How many active certificates the filter means.
    matched: usize,
    /// For how many of them the renewal was asked for, now or by the same request before; 0 in a dry run.
    requested: usize,
    /// How many were to be renewed that early anyway, or had ended when their turn came.
    unchanged: usize,
    /// For how many it could not be recorded; ask again, and the rest is done.
    failed: usize,
    /// The first 1,000 of them, the newest first.
    #[schema(max_items = 1000)]
    certificates: Vec<MeantCertificate>,
}

/// A certificate that is meant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MeantCertificate {
    /// Its serial number.
    #[schema(value_type = String)]
    serial_number: SerialNumber,
    /// Its device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
}

/// Ask for early renewals.
///
/// Tells a whole fleet, or a part of it, to renew now: before an authority is replaced, after a profile was changed, or when
/// keys may have leaked. Each active certificate that is meant may be renewed from `start` on, its renewal information shows
/// the window, and its device's heartbeats say `renewalRequired`; the agent renews at a moment of its own in the window.
/// Nothing is revoked: who does not renew goes on until the certificate's end.
///
/// Runs to its end also where the caller goes away. Asking again, with or without the same `Idempotency-Key`, does what is
/// left and asks nobody twice.
#[utoipa::path(
    post, path = "/api/certificates/request-renewal", tag = "Certificates", operation_id = "requestRenewal",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the whole request")),
    request_body = RequestRenewal,
    responses(
        (status = 200, body = RequestedRenewals, description = "What was asked for, or would be"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: also another tenant"),
        (status = 409, body = ProblemBody, description = "`IDEMPOTENCY_KEY_REUSED`"),
        (status = 503, body = ProblemBody, description = "`STORE_UNAVAILABLE`, `PROJECTION_BEHIND`, `LOG_ROLLED_BACK`: ask again, and the rest is done"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn request_renewal(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<RequestRenewal>,
) -> Result<Changed<Json<RequestedRenewals>>, Problem> {
    admin.require(Permission::ManageCertificates)?;
    let request = body.value;
    request.filter.check(&admin)?;
    let window = request.window(api.now())?;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let asking = Asking { api, cause, confined_to: admin.tenant_id, window, reason: request.reason };
    let running = async move { asking.run(&request.filter, request.dry_run).await };
    let (answer, position) = tokio::spawn(running.in_current_span()).await.map_err(|error| internal(&error))??;
    tracing::info!(
        matched = answer.matched,
        requested = answer.requested,
        dry_run = answer.dry_run,
        "renewals asked for"
    );
    Ok(Changed::new(StatusCode::OK, Json(answer), position))
}

impl RequestRenewal {
    fn window(&self, now: Timestamp) -> Result<RenewalWindow, Problem> {
        let hours = self.spread_hours.unwrap_or(DEFAULT_SPREAD_HOURS);
        if !(1..=MAX_SPREAD_HOURS).contains(&hours) {
            return Err(Problem::invalid("/spreadHours", format!("must be 1 to {MAX_SPREAD_HOURS}")));
        }
        let start = self.start.unwrap_or(now);
        if start > now.plus_days(MAX_DAYS_AHEAD) {
            return Err(Problem::invalid("/start", format!("must be within {MAX_DAYS_AHEAD} days")));
        }
        Ok(RenewalWindow { start, end: start.plus_seconds(i64::from(hours) * 3_600) })
    }
}

/// One request for renewals, with all that carrying it out takes.
#[derive(Clone)]
struct Asking {
    api: CommandApi,
    cause: Cause,
    confined_to: Option<TenantId>,
    window: RenewalWindow,
    reason: Option<Reason>,
}

/// What came of it so far.
#[derive(Default)]
struct Tally {
    matched: usize,
    requested: usize,
    unchanged: usize,
    failed: usize,
    named: Vec<MeantCertificate>,
    position: Position,
    /// The window that the same request recorded before.
    recorded: Option<RenewalWindow>,
}

impl Asking {
    async fn run(self, filter: &CertificateSelection, dry_run: bool) -> Result<(RequestedRenewals, Position), Problem> {
        let mut tally = Tally { position: self.take_name(dry_run).await?, ..Tally::default() };
        let mut targets = filter.find(&self.api, self.confined_to, Scope::Active);
        while let Some(page) = targets.page().await? {
            tally.matched += page.len();
            let named = page.iter().take(NAMED - tally.named.len());
            tally.named.extend(named.map(MeantCertificate::of));
            if !dry_run {
                self.ask_for(page, &mut tally).await?;
            }
        }
        let window = tally.recorded.unwrap_or(self.window);
        let answer = RequestedRenewals {
            dry_run,
            window_start: window.start,
            window_end: window.end,
            matched: tally.matched,
            requested: tally.requested,
            unchanged: tally.unchanged,
            failed: tally.failed,
            certificates: tally.named,
        };
        Ok((answer, tally.position))
    }

    /// Takes the request's name before anything is done under it: another body is refused, whatever became of the first.
    async fn take_name(&self, dry_run: bool) -> Result<Position, Problem> {
        if dry_run || self.cause.idempotency.is_none() {
            return self.api.store.head().await.map_err(|error| store_unavailable(&error));
        }
        let taken = self.api.append(&self.cause, vec![]).await?;
        Ok(taken.map(|taken| taken.position).unwrap_or_default())
    }

    async fn ask_for(&self, page: Vec<Target>, tally: &mut Tally) -> Result<(), Problem> {
        let mut waiting = page.into_iter();
        let mut running = JoinSet::new();
        let mut given_up = None;
        loop {
            while given_up.is_none()
                && running.len() < CONCURRENT
                && let Some(target) = waiting.next()
            {
                let asking = self.clone();
                running.spawn(async move { asking.ask(target).await }.in_current_span());
            }
            let Some(finished) = running.join_next().await else { break };
            match finished.map_err(|error| internal(&error))? {
                Ok(outcome) => tally.count(&outcome),
                // Without a store the rest fails too; asking again does it.
                Err(problem) if problem.code().status() == StatusCode::SERVICE_UNAVAILABLE => given_up = Some(problem),
                Err(_) => tally.failed += 1,
            }
        }
        given_up.map_or(Ok(()), Err)
    }

    async fn ask(&self, target: Target) -> Result<Outcome, Problem> {
        let idempotency = self.cause.idempotency.map(|whole| part_of(whole, target.serial_number));
        let cause = Cause { idempotency, ..self.cause.clone() };
        let command = || {
            CertificateCommand::RequestRenewal(CertificateRenewalRequested {
                serial_number: target.serial_number,
                window_start: self.window.start,
                window_end: self.window.end,
                reason: self.reason.clone(),
            })
        };
        let stream = StreamId::certificates(target.device_id);
        self.api.execute::<Certificates>(&cause, &stream, target.tenant_id, command, |error| refused(&error)).await
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        self.position = self.position.max(outcome.position);
        match outcome.events.first().map(Recorded::event) {
            Some(Ok(Event::CertificateEvent(CertificateEvent::RenewalRequested(requested)))) => {
                self.requested += 1;
                let window = RenewalWindow { start: requested.window_start, end: requested.window_end };
                self.recorded = Some(self.recorded.filter(|known| known.start <= window.start).unwrap_or(window));
            }
            _ => self.unchanged += 1,
        }
    }
}

impl MeantCertificate {
    fn of(target: &Target) -> Self {
        Self { serial_number: target.serial_number, device_id: target.device_id }
    }
}

/// The name of one certificate's part.
fn part_of(whole: Idempotency, serial_number: SerialNumber) -> Idempotency {
    let name = [whole.command_id.0.as_slice(), serial_number.to_string().as_bytes()].concat();
    Idempotency { command_id: sha256(&name), ..whole }
}

//! `POST /api/devices/bulk`

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::secrets::sha256;
use signalbeam_authn::{Admin, RequestContext};
use signalbeam_domain::device::{DecisionReason, Device};
use signalbeam_domain::{Aggregate, Context, DeviceId, DeviceStatus, Position, Reason, TenantId};
use signalbeam_event_store::Idempotency;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::decision::{Decision, Refusals};
use super::refused;
use crate::command::{Cause, Changed, Outcome, internal, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// The most devices of one request.
const MAX_DEVICES: usize = 1_000;
/// How many devices are decided on at a time: their appends share a commit.
const CONCURRENT: usize = 64;

/// What can be done to many devices at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BulkAction {
    /// As `/approve`.
    Approve,
    /// As `/reject`.
    Reject,
    /// As `/suspend`.
    Suspend,
    /// As `/reinstate`.
    Reinstate,
    /// As `/decommission`.
    Decommission,
}

/// One decision on many devices.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DecideDevices {
    /// What is done to each.
    action: BulkAction,
    /// The devices, each once: 1 to 1,000.
    #[schema(value_type = Vec<Uuid>, min_items = 1, max_items = 1000)]
    device_ids: Vec<DeviceId>,
    /// Why; not with `approve`.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
    /// With `approve`: how long the API key that each device claims lives, in days: 1 to 730, 90 by default.
    api_key_expiration_days: Option<i64>,
    /// With `approve`: the profile of each device's certificates; `device` by default.
    #[schema(example = "device")]
    certificate_profile: Option<String>,
}

/// What became of each device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DecidedDevices {
    /// What was asked for.
    action: BulkAction,
    /// For how many devices it was done.
    succeeded: usize,
    /// For how many it was not.
    failed: usize,
    /// One for each device, in the order of the request.
    results: Vec<DeviceResult>,
}

/// What became of one device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceResult {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// `done` or `failed`.
    outcome: BulkOutcome,
    /// Where the device stands, where it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Approved")]
    status: Option<DeviceStatus>,
    /// Why it was not done: the code that the device's own route would have answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "INVALID_STATE")]
    code: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Whether a device's part was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BulkOutcome {
    /// It was.
    Done,
    /// It was not; the others were not held up by it.
    Failed,
}

/// Decide on many devices.
///
/// Each device is decided on by itself, as on its own route and with the same permission: one that cannot be changes nothing
/// for the others, and is told by its `code` (`NOT_FOUND` also for another tenant's). Runs to its end also where the caller
/// goes away. With an `Idempotency-Key` the same request again gets the same results again, refusals included; what
/// failed for want of a store (`STORE_UNAVAILABLE`, `CONFLICT`, `AUTH_STATE_STALE`) is tried again.
/// `decommission` needs the role `admin`, as on its own route.
#[utoipa::path(
    post, path = "/api/devices/bulk", tag = "Devices", operation_id = "decideDevices",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the whole request")),
    request_body = DecideDevices,
    responses(
        (status = 200, body = DecidedDevices, description = "A result for each device; some or all of them may have failed"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`: also where a device is named twice"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 409, body = ProblemBody, description = "`IDEMPOTENCY_KEY_REUSED`"),
        (status = 503, body = ProblemBody, description = "`STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn decide_devices(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<DecideDevices>,
) -> Result<Changed<Json<DecidedDevices>>, Problem> {
    let decision = body.value.decision(&api)?;
    admin.require(decision.permission())?;
    let device_ids = body.value.checked_ids()?;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let bulk = Bulk {
        cause: Cause { actor: admin.actor(), context, idempotency },
        confined_to: admin.tenant_id,
        decision,
        api,
    };
    let deciding = async move { bulk.run(device_ids).await };
    let decided = tokio::spawn(deciding.in_current_span()).await.map_err(|error| internal(&error))??;
    let succeeded = decided.results.iter().filter(|result| result.outcome == BulkOutcome::Done).count();
    let failed = decided.results.len() - succeeded;
    let answer = DecidedDevices { action: body.value.action, succeeded, failed, results: decided.results };
    Ok(Changed::new(StatusCode::OK, Json(answer), decided.position))
}

impl DecideDevices {
    fn decision(&self, api: &CommandApi) -> Result<Decision, Problem> {
        let is_approval = self.action == BulkAction::Approve;
        if is_approval && self.reason.is_some() {
            return Err(Problem::invalid("/reason", "an approval has no reason"));
        }
        if !is_approval && self.api_key_expiration_days.is_some() {
            return Err(Problem::invalid("/apiKeyExpirationDays", "only an approval decides on it"));
        }
        if !is_approval && self.certificate_profile.is_some() {
            return Err(Problem::invalid("/certificateProfile", "only an approval decides on it"));
        }
        let reason = DecisionReason { reason: self.reason.clone() };
        Ok(match self.action {
            BulkAction::Approve => {
                Decision::approval(api, self.api_key_expiration_days, self.certificate_profile.as_deref())?
            }
            BulkAction::Reject => Decision::Reject(reason),
            BulkAction::Suspend => Decision::Suspend(reason),
            BulkAction::Reinstate => Decision::Reinstate(reason),
            BulkAction::Decommission => Decision::Decommission(reason),
        })
    }

    fn checked_ids(&self) -> Result<Vec<DeviceId>, Problem> {
        if !(1..=MAX_DEVICES).contains(&self.device_ids.len()) {
            return Err(Problem::invalid("/deviceIds", format!("must name 1 to {MAX_DEVICES} devices")));
        }
        let mut seen = HashSet::with_capacity(self.device_ids.len());
        match self.device_ids.iter().position(|id| !seen.insert(*id)) {
            Some(at) => Err(Problem::invalid(format!("/deviceIds/{at}"), "the device is named twice")),
            None => Ok(self.device_ids.clone()),
        }
    }
}

/// One decision on many devices, with all that carrying it out takes.
#[derive(Clone)]
struct Bulk {
    api: CommandApi,
    cause: Cause,
    confined_to: Option<TenantId>,
    decision: Decision,
}

/// What a bulk led to, in the order in which its devices were named.
struct Ran {
    results: Vec<DeviceResult>,
    position: Position,
}

impl Bulk {
    async fn run(self, device_ids: Vec<DeviceId>) -> Result<Ran, Problem> {
        let mut position = self.take_name().await?;
        let mut waiting = device_ids.into_iter().enumerate();
        let mut running = JoinSet::new();
        let mut results = vec![];
        loop {
            while running.len() < CONCURRENT
                && let Some((at, id)) = waiting.next()
            {
                let bulk = self.clone();
                running.spawn(async move { (at, bulk.result(id).await) }.in_current_span());
            }
            let Some(finished) = running.join_next().await else { break };
            let (at, (result, reached)) = finished.map_err(|error| internal(&error))?;
            position = position.max(reached.unwrap_or_default());
            results.push((at, result));
        }
        results.sort_unstable_by_key(|(at, _)| *at);
        Ok(Ran { results: results.into_iter().map(|(_, result)| result).collect(), position })
    }

    /// Takes the request's name before anything is done under it: another body is refused, whatever became of the first.
    async fn take_name(&self) -> Result<Position, Problem> {
        if self.cause.idempotency.is_none() {
            return self.api.store.head().await.map_err(|error| store_unavailable(&error));
        }
        // A batch without streams has nothing to conflict with.
        let taken = self.api.append(&self.cause, vec![]).await?;
        Ok(taken.map(|taken| taken.position).unwrap_or_default())
    }

    async fn result(&self, id: DeviceId) -> (DeviceResult, Option<Position>) {
        match self.decide(id).await {
            Ok(outcome) => {
                let status = Some(self.decision.status());
                let result =
                    DeviceResult { device_id: id, outcome: BulkOutcome::Done, status, code: None, detail: None };
                (result, Some(outcome.position))
            }
            Err(problem) => {
                let (code, detail) = (Some(problem.code().as_str()), Some(problem.detail().to_owned()));
                (DeviceResult { device_id: id, outcome: BulkOutcome::Failed, status: None, code, detail }, None)
            }
        }
    }

    async fn decide(&self, id: DeviceId) -> Result<Outcome, Problem> {
        let tenant_id = self.api.device(id, self.confined_to).await?.device.registered.tenant_id;
        let cause = Cause { idempotency: self.cause.idempotency.map(|bulk| of_device(bulk, id)), ..self.cause.clone() };
        let outcome = self.decision.carry_out(&self.api, &cause, id, tenant_id, Refusals::Kept).await?;
        if outcome.events.is_empty() {
            return Err(self.refusal_at(id, outcome.position).await?);
        }
        Ok(outcome)
    }

    /// Why the decision was refused when the log ended at this position.
    async fn refusal_at(&self, id: DeviceId, position: Position) -> Result<Problem, Problem> {
        let device: Device = self.api.device_at(id, position).await?;
        let decided = device.decide(self.decision.command(), &Context { now: self.api.now() });
        // Under this name nothing was recorded but a refusal at exactly this state.
        Ok(decided.map_or_else(|error| refused(&error), |_| internal(&NotRefused)))
    }
}

/// A refusal that was kept cannot be told again.
#[derive(Debug, thiserror::Error)]
#[error("a refusal was kept under this name, but the device's history does not show why")]
struct NotRefused;

/// The name of one device's part.
fn of_device(bulk: Idempotency, id: DeviceId) -> Idempotency {
    let name = [bulk.command_id.0.as_slice(), id.as_uuid().as_bytes()].concat();
    Idempotency { command_id: sha256(&name), ..bulk }
}

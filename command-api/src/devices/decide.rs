//! `POST /api/devices/{id}/approve`, `/reject`, `/suspend`, `/reinstate`, `/decommission`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, AdminPrincipal, RequestContext};
use signalbeam_domain::DeviceId;
use utoipa::ToSchema;

use super::decision::{Decision, Refusals};
use super::{Decide, Decided};
use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// How a device is let in.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Approve {
    /// How long the API key that the device claims lives, in days: 1 to 730, 90 by default.
    api_key_expiration_days: Option<i64>,
    /// The profile of its certificates; `device` by default.
    #[schema(example = "device")]
    certificate_profile: Option<String>,
}

/// Approve a device.
///
/// It may now claim its API key with its claim secret; the key is shown to nobody else.
#[utoipa::path(
    post, path = "/api/devices/{id}/approve", tag = "Devices", operation_id = "approveDevice",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Approve>,
    responses(
        (status = 200, body = Decided, description = "It is approved"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: it is not pending; `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn approve_device(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<Approve>,
) -> Result<Changed<Json<Decided>>, Problem> {
    let Approve { api_key_expiration_days, certificate_profile } = &body.value;
    let decision = Decision::approval(&api, *api_key_expiration_days, certificate_profile.as_deref())?;
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, &decision).await
}

/// Reject a device.
///
/// For good: it registers anew, with a new token, if that was a mistake.
#[utoipa::path(
    post, path = "/api/devices/{id}/reject", tag = "Devices", operation_id = "rejectDevice",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Decide>,
    responses(
        (status = 200, body = Decided, description = "It is rejected"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: it is not pending; `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn reject_device(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<Decide>,
) -> Result<Changed<Json<Decided>>, Problem> {
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, &Decision::Reject(body.value.reason())).await
}

/// Suspend a device.
///
/// It authenticates nothing from the moment of the answer until it is reinstated.
#[utoipa::path(
    post, path = "/api/devices/{id}/suspend", tag = "Devices", operation_id = "suspendDevice",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Decide>,
    responses(
        (status = 200, body = Decided, description = "It is suspended"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: it is not approved; `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn suspend_device(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<Decide>,
) -> Result<Changed<Json<Decided>>, Problem> {
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, &Decision::Suspend(body.value.reason())).await
}

/// Reinstate a suspended device.
///
/// Its credentials, as far as they are still valid, authenticate again.
#[utoipa::path(
    post, path = "/api/devices/{id}/reinstate", tag = "Devices", operation_id = "reinstateDevice",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Decide>,
    responses(
        (status = 200, body = Decided, description = "It is approved again"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: it is not suspended; `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn reinstate_device(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<Decide>,
) -> Result<Changed<Json<Decided>>, Problem> {
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, &Decision::Reinstate(body.value.reason())).await
}

/// Take a device out of service.
///
/// For good: its API keys and certificates are revoked in the same step.
#[utoipa::path(
    post, path = "/api/devices/{id}/decommission", tag = "Devices", operation_id = "decommissionDevice",
    params(("id" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Decide>,
    responses(
        (status = 200, body = Decided, description = "It is out of service"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: it is out of service already; `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn decommission_device(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<Decide>,
) -> Result<Changed<Json<Decided>>, Problem> {
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, &Decision::Decommission(body.value.reason())).await
}

struct DecisionRequest<'a> {
    api: &'a CommandApi,
    admin: &'a AdminPrincipal,
    context: RequestContext,
    key: &'a IdempotencyKey,
    body: &'a [u8],
}

impl DecisionRequest<'_> {
    async fn decide(self, id: DeviceId, decision: &Decision) -> Result<Changed<Json<Decided>>, Problem> {
        self.admin.require(decision.permission())?;
        let tenant_id = self.api.device(id, self.admin.tenant_id).await?.device.registered.tenant_id;
        let actor = self.admin.actor();
        let idempotency = self.key.bind(&actor, self.admin.tenant_id, self.body);
        let cause = Cause { actor, context: self.context, idempotency };
        let outcome = decision.carry_out(self.api, &cause, id, tenant_id, Refusals::Forgotten).await?;
        let decided = Decided { device_id: id, status: decision.status() };
        Ok(Changed::new(StatusCode::OK, Json(decided), outcome.position))
    }
}

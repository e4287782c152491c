//! `POST /api/devices/{id}/approve`, `/reject`, `/suspend`, `/reinstate`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, AdminPrincipal, Permission, RequestContext};
use signalbeam_domain::device::{Device, DeviceCommand};
use signalbeam_domain::{DeviceId, DeviceStatus, StreamId};
use utoipa::ToSchema;

use super::{Decide, Decided, refused};
use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// How a device is let in.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Approve {
    /// How long the API key that the device claims lives, in days: 1 to 730, 90 by default.
    api_key_expiration_days: Option<i64>,
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
    let days = api.policy.api_key_validity.judge(body.value.api_key_expiration_days);
    let api_key_validity_days = days.map_err(|error| Problem::invalid("/apiKeyExpirationDays", error.to_string()))?;
    let command = || DeviceCommand::Approve { api_key_validity_days };
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, command, DeviceStatus::Approved).await
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
    let command = || DeviceCommand::Reject(body.value.reason());
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, command, DeviceStatus::Rejected).await
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
    let command = || DeviceCommand::Suspend(body.value.reason());
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, command, DeviceStatus::Suspended).await
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
    let command = || DeviceCommand::Reinstate(body.value.reason());
    let request = DecisionRequest { api: &api, admin: &admin, context, key: &key, body: &body.bytes };
    request.decide(id, command, DeviceStatus::Approved).await
}

struct DecisionRequest<'a> {
    api: &'a CommandApi,
    admin: &'a AdminPrincipal,
    context: RequestContext,
    key: &'a IdempotencyKey,
    body: &'a [u8],
}

impl DecisionRequest<'_> {
    async fn decide(
        self,
        id: DeviceId,
        command: impl Fn() -> DeviceCommand,
        status: DeviceStatus,
    ) -> Result<Changed<Json<Decided>>, Problem> {
        self.admin.require(Permission::DecideDevices)?;
        let device = self.api.device(id, self.admin.tenant_id).await?.device;
        let actor = self.admin.actor();
        let idempotency = self.key.bind(&actor, self.admin.tenant_id, self.body);
        let cause = Cause { actor, context: self.context, idempotency };
        let tenant_id = device.registered.tenant_id;
        let outcome = self
            .api
            .execute::<Device>(&cause, &StreamId::device(id), tenant_id, command, |error| refused(&error))
            .await?;
        Ok(Changed::new(StatusCode::OK, Json(Decided { device_id: id, status }), outcome.position))
    }
}

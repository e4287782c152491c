//! `POST /api/devices/{id}/decommission`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission, RequestContext};
use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeys, KeyRevocationCause};
use signalbeam_domain::certificate::{CertificateCommand, Certificates};
use signalbeam_domain::device::{Device, DeviceCommand};
use signalbeam_domain::{Aggregate, Context, DeviceId, DeviceStatus, Event, StreamId, TenantId};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{ExpectedVersion, StreamWrite, new_events};

use super::{Decide, Decided, refused};
use crate::command::{Cause, Changed, contended, internal};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

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
    admin.require(Permission::ManageDevices)?;
    let tenant_id = api.device(id, admin.tenant_id).await?.device.registered.tenant_id;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let answer = || Json(Decided { device_id: id, status: DeviceStatus::Decommissioned });
    for _ in 0..MAX_DECISIONS {
        let reason = body.value.reason.clone();
        let (keys, certificates) = (StreamId::api_keys(id), StreamId::certificates(id));
        let revoke_keys =
            ApiKeyCommand::RevokeAll { cause: KeyRevocationCause::Decommissioned, reason: reason.clone() };
        let decommission = DeviceCommand::Decommission(body.value.reason());
        let device = plan::<Device>(&api, StreamId::device(id), tenant_id, decommission, |error| refused(&error)).await;
        let device = match (device, api.repeated(&cause).await?) {
            // The same command was carried out in the meantime: this is no refusal but a repetition.
            (Err(_), Some(outcome)) => return Ok(Changed::new(StatusCode::OK, answer(), outcome.position)),
            (device, _) => device?,
        };
        let writes = vec![
            device,
            plan::<ApiKeys>(&api, keys, tenant_id, revoke_keys, |error| internal(&error)).await?,
            plan::<Certificates>(&api, certificates, tenant_id, CertificateCommand::RevokeAll { reason }, |error| {
                internal(&error)
            })
            .await?,
        ];
        if let Some(appended) = api.append(&cause, writes).await? {
            return Ok(Changed::new(StatusCode::OK, answer(), Some(appended.position)));
        }
    }
    Err(contended())
}

/// What a command does to one stream, to be appended together with others.
async fn plan<A>(
    api: &CommandApi,
    stream: StreamId,
    tenant_id: TenantId,
    command: A::Command,
    refused: impl Fn(A::Error) -> Problem,
) -> Result<StreamWrite, Problem>
where
    A: Aggregate,
    A::Event: TryFrom<Event> + Into<Event>,
{
    let (aggregate, version) = api.load::<A>(&stream).await?;
    let events = aggregate.decide(command, &Context { now: api.now() }).map_err(refused)?;
    Ok(StreamWrite { stream, expected: ExpectedVersion::Exact(version), events: new_events(Some(tenant_id), events) })
}

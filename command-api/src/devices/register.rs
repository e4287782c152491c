//! `POST /api/devices`

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::limits::HashingPermit;
use signalbeam_authn::recorder::FailedAttempt;
use signalbeam_authn::secrets::{MacVerdict, claim_secret_sha256};
use signalbeam_authn::{RequestContext, draw};
use signalbeam_domain::device::{Device, DeviceCommand, DeviceEvent, DeviceRegistered};
use signalbeam_domain::registration_token::{
    RegistrationToken as Token, RegistrationTokenCommand, RegistrationTokenError, TokenConsumed,
};
use signalbeam_domain::{
    Actor, ActorKind, Aggregate, ClaimSecret, Context, DeviceId, DeviceName, Metadata, MetadataValue, Position, Prefix,
    RegistrationToken, StreamId, Tags, TenantId, Timestamp, Version,
};
use signalbeam_event_store::audit::AuthenticationMethod;
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{ExpectedVersion, StreamWrite, new_events};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::command::{Cause, Changed, contended, internal, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::registration_tokens::refused;
use crate::state::CommandApi;

/// What a device says when it registers.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RegisterDevice {
    /// The tenant that it belongs to.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// The registration token, `sbt_...`.
    #[schema(value_type = String)]
    token: Zeroizing<String>,
    /// Its name, a label.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    device_name: DeviceName,
    /// What else it tells of itself: an object, at most 64 members in any object, 128 values and 8,192 characters in all,
    /// 4 levels.
    #[schema(value_type = Option<Object>)]
    metadata: Option<BTreeMap<String, MetadataValue>>,
    /// What it is found by: at most 32 different tags of 1 to 64 characters: letters, digits, `.`, `_`, `-`, `:`, `/`, `=`,
    /// `@`, `+`, and spaces in between. Their order does not matter.
    #[schema(value_type = Option<Vec<String>>, max_items = 32, example = json!(["site:north"]))]
    tags: Option<Tags>,
    /// The claim secret that it drew, `sbc_` and 43 characters of base64url: the same token with the same claim secret gets
    /// the same answer again, so a lost answer loses nothing. Without one, the server draws it.
    #[schema(value_type = Option<String>)]
    claim_secret: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for RegisterDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisterDevice").field("device_name", &self.device_name).finish_non_exhaustive()
    }
}

/// The registration, which waits for an admin.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredDevice {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// Its tenant.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// Its name.
    #[schema(value_type = String)]
    device_name: DeviceName,
    /// `Pending`
    status: &'static str,
    /// With it the device follows its registration and fetches its API key.
    claim_secret: String,
}

impl std::fmt::Debug for RegisteredDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisteredDevice").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

/// Register a device.
///
/// The registration token is the caller's right to ask; it is used up by it. The device is `Pending` until an admin
/// approves it.
#[utoipa::path(
    post, path = "/api/devices", tag = "Devices", operation_id = "registerDevice",
    request_body = RegisterDevice,
    params(("Idempotency-Key" = Option<String>, Header, description = "Not needed where the device draws its claim secret")),
    responses(
        (status = 201, body = RegisteredDevice, description = "Registered, now or before with the same claim secret"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`INVALID_REGISTRATION_TOKEN`: unknown, wrong secret, or another tenant's"),
        (status = 403, body = ProblemBody, description = "`ADDRESS_NOT_ALLOWED`; `QUOTA_EXCEEDED`, with `limit` and `current`: the token is still good"),
        (status = 409, body = ProblemBody, description = "`REGISTRATION_TOKEN_USED`, `REGISTRATION_TOKEN_EXPIRED`, `REGISTRATION_TOKEN_REVOKED`, `ALREADY_PROCESSED`, `IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(()),
)]
pub(crate) async fn register_device(
    State(api): State<CommandApi>,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<RegisterDevice>,
) -> Result<Changed<Json<RegisteredDevice>>, Problem> {
    let request = &body.value;
    let metadata = Metadata::new(request.metadata.clone().unwrap_or_default());
    let metadata = metadata.map_err(|error| Problem::invalid("/metadata", error.to_string()))?;
    let claim_secret = claim_secret(request)?;
    let Ok(token) = RegistrationToken::parse(&request.token) else {
        return Err(fail(&api, &context, &RegistrationTokenError::Invalid, None, None).await);
    };
    let actor = Actor { kind: ActorKind::RegistrationToken, id: token.prefix().to_string() };
    let idempotency = key.bind(&actor, None, &body.bytes);
    let cause = Cause { actor, context, idempotency };
    let registration = TokenConsumed {
        device_id: DeviceId::from_uuid(Uuid::now_v7()),
        tenant_id: request.tenant_id,
        device_name: request.device_name.clone(),
        metadata,
        tags: request.tags.clone().unwrap_or_default(),
        claim_secret_sha256: claim_secret_sha256(&claim_secret),
    };
    let (registered, position) = consume(&api, &cause, &token, registration).await?;
    let answer = RegisteredDevice {
        device_id: registered.device_id,
        tenant_id: registered.tenant_id,
        device_name: registered.device_name,
        status: "Pending",
        claim_secret: claim_secret.expose(),
    };
    Ok(Changed::new(StatusCode::CREATED, Json(answer), position))
}

fn claim_secret(request: &RegisterDevice) -> Result<ClaimSecret, Problem> {
    match &request.claim_secret {
        Some(text) => ClaimSecret::parse(text).map_err(|error| Problem::invalid("/claimSecret", error.to_string())),
        None => draw::claim_secret().map_err(|error| internal(&error)),
    }
}

/// Uses the token up and records the device, in one append: of many that race for one token, one wins.
pub(crate) async fn consume(
    api: &CommandApi,
    cause: &Cause,
    token: &RegistrationToken,
    registration: TokenConsumed,
) -> Result<(TokenConsumed, Position), Problem> {
    let stream = StreamId::registration_token(token.prefix());
    for _ in 0..MAX_DECISIONS {
        let (known, version) = api.load::<Token>(&stream).await?;
        let (secret_matches, permit) = secret_matches(api, &cause.context, &known, token).await?;
        let command = RegistrationTokenCommand::Consume { secret_matches, registration: registration.clone() };
        let decided = known.decide(command, &Context { now: api.now() });
        let is_done_with_hashing = match &decided {
            Ok(events) => !events.is_empty(),
            Err(error) => *error == RegistrationTokenError::Invalid,
        };
        if let Some(permit) = permit.filter(|_| is_done_with_hashing) {
            permit.judged();
        }
        let events = match decided {
            Ok(events) => events,
            Err(error) => {
                // Whoever left drawing the claim secret to us, and named the command, asks for it a second time.
                if error == RegistrationTokenError::Used
                    && let Some(outcome) = api.repeated(cause).await?
                {
                    outcome.require_first()?;
                }
                let tenant_id = known.issued().map(|issued| issued.tenant_id);
                return Err(fail(api, &cause.context, &error, Some(token.prefix()), tenant_id).await);
            }
        };
        admit(api, &cause.context, token.prefix(), registration.tenant_id).await?;
        if events.is_empty() {
            let first = known.registration().cloned().unwrap_or(registration);
            // The same registration; another body under the same name is refused all the same.
            api.repeated(cause).await?;
            let position = registered_at(api, &first).await?;
            return Ok((first, position));
        }
        let _slot = api.device_slot(registration.tenant_id).await?;
        let client = cause.context.client_address;
        api.authenticator.limits().registration(client)?;
        let tenant_id = Some(registration.tenant_id);
        let device = StreamWrite {
            stream: StreamId::device(registration.device_id),
            expected: ExpectedVersion::Exact(Version(0)),
            events: new_events(tenant_id, device_events(&registration, token.prefix(), api.now())?),
        };
        let token_write = StreamWrite {
            stream: stream.clone(),
            expected: ExpectedVersion::Exact(version),
            events: new_events(tenant_id, events),
        };
        let appended = api.append(cause, vec![token_write, device]).await;
        if let Ok(Some(appended)) = &appended
            && !appended.is_repeat
        {
            return Ok((registration, appended.position));
        }
        // Others were faster, perhaps with the same command: what they recorded decides. Or nothing could be recorded now:
        // a fleet that tries again behind one address must not find it used up afterwards.
        api.authenticator.limits().registration_failed(client);
        appended?;
    }
    Err(contended())
}

/// The position that the registration was answered with the first time.
async fn registered_at(api: &CommandApi, registration: &TokenConsumed) -> Result<Position, Problem> {
    let recorded = api.store.read_stream(&StreamId::device(registration.device_id)).await;
    let recorded = recorded.map_err(|error| store_unavailable(&error))?;
    let position = recorded.first().map(|first| first.envelope.position).unwrap_or_default();
    api.authenticator.await_own_write(position).await?;
    Ok(position)
}

/// The tenant may have bound its devices to networks, and to a rate. Asked of whoever has the token.
async fn admit(api: &CommandApi, context: &RequestContext, prefix: Prefix, tenant_id: TenantId) -> Result<(), Problem> {
    let Err(problem) = api.authenticator.admit(context, tenant_id, None) else { return Ok(()) };
    record(api, context, &problem, Some(prefix), Some(tenant_id)).await;
    Err(problem)
}

fn device_events(
    registration: &TokenConsumed,
    token_prefix: Prefix,
    now: Timestamp,
) -> Result<Vec<DeviceEvent>, Problem> {
    let registered = DeviceRegistered {
        device_id: registration.device_id,
        tenant_id: registration.tenant_id,
        device_name: registration.device_name.clone(),
        metadata: registration.metadata.clone(),
        tags: registration.tags.clone(),
        token_prefix,
        claim_secret_sha256: registration.claim_secret_sha256,
    };
    // The id has just been drawn, so nothing can have happened to the device.
    let decided = Device::default().decide(DeviceCommand::Register(registered), &Context { now });
    decided.map_err(|error| internal(&error))
}

/// Whether the token is the one that was issued, with the permit where that took hashing.
async fn secret_matches<'a>(
    api: &'a CommandApi,
    context: &RequestContext,
    known: &Token,
    token: &RegistrationToken,
) -> Result<(bool, Option<HashingPermit<'a>>), Problem> {
    let text = Zeroizing::new(token.expose());
    // Computed also for an unknown token, so that its answer takes as long.
    let presented = api.keeper.present(&text);
    let Some(issued) = known.issued() else { return Ok((false, None)) };
    match presented.judge(&issued.verifier.mac, &issued.verifier.mac_key_id) {
        MacVerdict::Matches => Ok((true, None)),
        MacVerdict::Differs => Ok((false, None)),
        MacVerdict::KeyUnknown => {
            let permit = api.authenticator.limits().before_hashing(context.client_address, token.prefix());
            let permit = match permit {
                Ok(permit) => permit,
                Err(problem) => {
                    record(api, context, &problem, Some(token.prefix()), Some(issued.tenant_id)).await;
                    return Err(problem);
                }
            };
            let matches = api.keeper.bcrypt_matches(&text, &issued.verifier.bcrypt).await;
            Ok((matches.map_err(|error| internal(&error))?, Some(permit)))
        }
    }
}

pub(crate) async fn fail(
    api: &CommandApi,
    context: &RequestContext,
    error: &RegistrationTokenError,
    prefix: Option<Prefix>,
    tenant_id: Option<TenantId>,
) -> Problem {
    let problem = refused(error);
    record(api, context, &problem, prefix, tenant_id).await;
    api.authenticator.limits().failed(context.client_address, prefix, problem)
}

pub(crate) async fn record(
    api: &CommandApi,
    context: &RequestContext,
    problem: &Problem,
    prefix: Option<Prefix>,
    tenant_id: Option<TenantId>,
) {
    let method = AuthenticationMethod::RegistrationToken;
    let failure = FailedAttempt { method, code: problem.code(), device_id: None, tenant_id, prefix };
    api.authenticator.recorder().record_failure(context, failure).await;
}

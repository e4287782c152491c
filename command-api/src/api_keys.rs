//! API keys: claimed by the device, rotated by an admin or the device, revoked by an admin.

pub(crate) mod claim;
pub(crate) mod revoke;
pub(crate) mod rotate;

use serde::Serialize;
use signalbeam_authn::draw;
use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeyError, ApiKeys, KeyIssued, KeyOrigin};
use signalbeam_domain::{Aggregate, ApiKeyId, Context, Days, DeviceId, Position, Prefix, StreamId, Timestamp};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{ExpectedVersion, StreamWrite, new_events};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::command::{Cause, LoadedDevice, Outcome, contended, internal};
use crate::state::CommandApi;

/// An API key, shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownApiKey {
    /// The key itself, `sb_device_...`: it is not kept in plaintext.
    api_key: String,
    /// Its public prefix.
    #[schema(value_type = String)]
    key_prefix: Prefix,
    /// The first moment at which it no longer authenticates.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl std::fmt::Debug for ShownApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShownApiKey").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}

pub(crate) fn refused(error: &ApiKeyError) -> Problem {
    match error {
        ApiKeyError::AlreadyClaimed => Problem::new(
            ErrorCode::ApiKeyAlreadyClaimed,
            "a key of this device has been used or revoked; an admin's rotation opens the claim again",
        ),
        ApiKeyError::NothingToRotate => Problem::new(ErrorCode::InvalidState, error.to_string()),
        ApiKeyError::Unknown => Problem::not_found("API key"),
        ApiKeyError::Revoked => Problem::new(ErrorCode::ApiKeyRevoked, error.to_string()),
    }
}

/// What a device asks for is limited. What an admin does is not.
fn count(api: &CommandApi, cause: &Cause, device_id: DeviceId, origin: KeyOrigin) -> Result<(), Problem> {
    let limits = api.authenticator.limits();
    match origin {
        KeyOrigin::Claim => limits.claim(cause.context.client_address, device_id),
        KeyOrigin::DeviceRotation => limits.issuance(device_id),
        KeyOrigin::AdminRotation => Ok(()),
    }
}

/// Gives an approved device a new key. Nothing may happen to the device in between.
///
/// The key is drawn and hashed only once everything else allows it, for hashing costs a fifth of a second.
pub(crate) async fn issue(
    api: &CommandApi,
    cause: &Cause,
    mut device: LoadedDevice,
    origin: KeyOrigin,
    validity: Days,
) -> Result<(ShownApiKey, Option<Position>), Problem> {
    let (device_id, tenant_id) = (device.device.registered.device_id, device.device.registered.tenant_id);
    let stream = StreamId::api_keys(device_id);
    device.require_approved()?;
    let (keys, _) = api.load::<ApiKeys>(&stream).await?;
    if origin == KeyOrigin::Claim && !keys.is_claimable() {
        return Err(refused(&ApiKeyError::AlreadyClaimed));
    }
    count(api, cause, device_id, origin)?;
    let key = draw::api_key().map_err(|error| internal(&error))?;
    let text = key.expose();
    let issued = KeyIssued {
        key_id: ApiKeyId::from_uuid(Uuid::now_v7()),
        device_id,
        tenant_id,
        prefix: key.prefix(),
        verifier: api.keeper.verifier(&text).await.map_err(|error| internal(&error))?,
        expires_at: api.now().plus_days(validity.get().into()),
        origin,
    };
    for _ in 0..MAX_DECISIONS {
        let (keys, version) = api.load::<ApiKeys>(&stream).await?;
        let decided = keys.decide(ApiKeyCommand::Issue(issued.clone()), &Context { now: api.now() });
        let write = StreamWrite {
            stream: stream.clone(),
            expected: ExpectedVersion::Exact(version),
            events: new_events(Some(tenant_id), decided.map_err(|error| refused(&error))?),
        };
        if let Some(appended) = api.append(cause, vec![write, device.unchanged()]).await? {
            let outcome = Outcome::from(appended).require_first()?;
            let shown = ShownApiKey { api_key: text, key_prefix: issued.prefix, expires_at: issued.expires_at };
            return Ok((shown, outcome.position));
        }
        device = api.device(device_id, None).await?;
        device.require_approved()?;
    }
    Err(contended())
}

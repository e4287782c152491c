//! API keys: claimed by the device, rotated by an admin or the device, revoked by an admin.

pub(crate) mod claim;
pub(crate) mod revoke;
pub(crate) mod rotate;

use serde::Serialize;
use signalbeam_authn::device::DeviceCredential;
use signalbeam_authn::{ErrorCode, Problem, draw};
use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeyError, ApiKeys, KeyIssued, KeyOrigin};
use signalbeam_domain::certificate::Certificates;
use signalbeam_domain::{
    Aggregate, ApiKeyId, Context, Days, DeviceId, Position, Prefix, SerialNumber, StreamId, Timestamp,
};
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

/// Who asks for a key: that decides what becomes of the keys before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Whoever holds the claim secret.
    Claimant,
    /// An admin.
    Admin,
    /// The device, authenticated by this.
    Device(DeviceCredential),
}

impl Asker {
    fn origin(self) -> KeyOrigin {
        match self {
            Self::Claimant => KeyOrigin::Claim,
            Self::Admin => KeyOrigin::AdminRotation,
            Self::Device(_) => KeyOrigin::DeviceRotation,
        }
    }

    fn command(self, issued: &KeyIssued) -> ApiKeyCommand {
        match self {
            Self::Device(DeviceCredential::ApiKey { key_id, .. }) => {
                ApiKeyCommand::Succeed { issued: issued.clone(), presented: key_id }
            }
            Self::Claimant | Self::Admin | Self::Device(DeviceCredential::Certificate { .. }) => {
                ApiKeyCommand::Issue(issued.clone())
            }
        }
    }
}

/// Asserts that the certificate that the device authenticated by does not end while it gets a key for it: whoever holds what
/// an admin has just revoked must not come by something new.
async fn certificate_still_in_force(
    api: &CommandApi,
    device_id: DeviceId,
    serial_number: SerialNumber,
) -> Result<StreamWrite, Problem> {
    let stream = StreamId::certificates(device_id);
    let (certificates, version) = api.load::<Certificates>(&stream).await?;
    if certificates.active().is_none_or(|active| active.serial_number() != serial_number) {
        return Err(Problem::new(ErrorCode::CertificateRevoked, "the certificate was revoked or superseded meanwhile"));
    }
    Ok(StreamWrite { stream, expected: ExpectedVersion::Exact(version), events: vec![] })
}

/// Asserts that the API key that the device authenticated by does not end while it gets something for it.
///
/// # Errors
/// 401 `API_KEY_REVOKED` where it has ended already.
pub(crate) async fn key_still_in_force(
    api: &CommandApi,
    device_id: DeviceId,
    key_id: ApiKeyId,
) -> Result<StreamWrite, Problem> {
    let stream = StreamId::api_keys(device_id);
    let (keys, version) = api.load::<ApiKeys>(&stream).await?;
    if keys.keys().iter().any(|key| key.issued.key_id == key_id && !key.is_revoked) {
        return Ok(StreamWrite { stream, expected: ExpectedVersion::Exact(version), events: vec![] });
    }
    Err(refused(&ApiKeyError::Revoked))
}

/// A refusal; or, where the same command was carried out in the meantime, that it was.
async fn repeated_or(api: &CommandApi, cause: &Cause, refusal: Problem) -> Problem {
    match api.repeated(cause).await {
        Ok(Some(outcome)) => outcome.require_first().err().unwrap_or(refusal),
        Ok(None) => refusal,
        Err(problem) => problem,
    }
}

/// What a device asks for is limited. What an admin does is not.
fn count(api: &CommandApi, cause: &Cause, device_id: DeviceId, asker: Asker) -> Result<(), Problem> {
    let limits = api.authenticator.limits();
    match asker {
        Asker::Claimant => limits.claim(cause.context.client_address, device_id),
        Asker::Device(_) => limits.issuance(device_id),
        Asker::Admin => Ok(()),
    }
}

/// Gives an approved device a new key. Nothing may happen to the device in between.
///
/// The key is drawn and hashed only once everything else allows it, for hashing costs a fifth of a second.
pub(crate) async fn issue(
    api: &CommandApi,
    cause: &Cause,
    mut device: LoadedDevice,
    asker: Asker,
    validity: Days,
) -> Result<(ShownApiKey, Position), Problem> {
    let (device_id, tenant_id) = (device.device.registered.device_id, device.device.registered.tenant_id);
    let stream = StreamId::api_keys(device_id);
    device.require_approved()?;
    let (keys, _) = api.load::<ApiKeys>(&stream).await?;
    if asker == Asker::Claimant && !keys.is_claimable() {
        return Err(repeated_or(api, cause, refused(&ApiKeyError::AlreadyClaimed)).await);
    }
    count(api, cause, device_id, asker)?;
    let key = draw::api_key().map_err(|error| internal(&error))?;
    let text = key.expose();
    let issued = KeyIssued {
        key_id: ApiKeyId::from_uuid(Uuid::now_v7()),
        device_id,
        tenant_id,
        prefix: key.prefix(),
        verifier: api.keeper.verifier(&text).await.map_err(|error| internal(&error))?,
        expires_at: api.now().plus_days(validity.get().into()),
        origin: asker.origin(),
    };
    for _ in 0..MAX_DECISIONS {
        let (keys, version) = api.load::<ApiKeys>(&stream).await?;
        let events = match keys.decide(asker.command(&issued), &Context { now: api.now() }) {
            Ok(events) => events,
            Err(error) => return Err(repeated_or(api, cause, refused(&error)).await),
        };
        let write = StreamWrite {
            stream: stream.clone(),
            expected: ExpectedVersion::Exact(version),
            events: new_events(Some(tenant_id), events),
        };
        let mut writes = vec![write, device.unchanged()];
        if let Asker::Device(DeviceCredential::Certificate { serial_number }) = asker {
            writes.push(certificate_still_in_force(api, device_id, serial_number).await?);
        }
        if let Some(appended) = api.append(cause, writes).await? {
            let outcome = Outcome::from(appended).require_first()?;
            let shown = ShownApiKey { api_key: text, key_prefix: issued.prefix, expires_at: issued.expires_at };
            return Ok((shown, outcome.position));
        }
        device = api.device(device_id, None).await?;
        device.require_approved()?;
    }
    Err(contended())
}

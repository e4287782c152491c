//! A device that comes with a registration token and nothing else: it registers with the first request, and gets its
//! certificate for repeating that once an admin has approved it.
//!
//! The protocol has no place for a claim secret, so nobody gets one. The token and the key together are what the device is
//! recognised by: the digest that otherwise is the claim secret's is made of the key here, and is no digest of any claim
//! secret that could be found.

use axum::response::Response;
use signalbeam_authn::basic::BasicCredentials;
use signalbeam_authn::secrets::sha256;
use signalbeam_authn::{ErrorCode, Problem, RequestContext};
use signalbeam_domain::certificate::Certificates;
use signalbeam_domain::registration_token::{RegistrationTokenError, TokenConsumed};
use signalbeam_domain::{
    Actor, ActorKind, DeviceId, DeviceName, DeviceStatus, Digest, Metadata, Prefix, RegistrationToken, StreamId, Tags,
    TenantId,
};
use signalbeam_event_store::Idempotency;
use signalbeam_pki::DevicePublicKey;
use uuid::Uuid;

use super::wire::{self, SigningRequest};
use crate::certificates::issuance::{Issued, issued_by};
use crate::command::{Cause, LoadedDevice, internal};
use crate::devices::register::{consume, fail, record};
use crate::state::CommandApi;

/// Registers the device, or finds that this token has registered it with this key before, and tells how it stands.
pub(super) async fn enrol(
    api: &CommandApi,
    context: RequestContext,
    credentials: &BasicCredentials,
    request: &SigningRequest,
) -> Result<Response, Problem> {
    api.authenticator.log_lock().require_released()?;
    let key = request.public_key()?;
    let invalid = RegistrationTokenError::Invalid;
    let Ok(token) = RegistrationToken::parse(credentials.expose_password()) else {
        return Err(fail(api, &context, &invalid, None, None).await);
    };
    let prefix = token.prefix();
    let Ok(tenant_id) = TenantId::parse(credentials.user()) else {
        return Err(fail(api, &context, &invalid, Some(prefix), None).await);
    };
    let device_id = DeviceId::from_uuid(Uuid::now_v7());
    let registration = TokenConsumed {
        device_id,
        tenant_id,
        device_name: device_name(request, device_id)?,
        metadata: Metadata::default(),
        tags: Tags::default(),
        claim_secret_sha256: recognised_by(&key),
    };
    let actor = Actor { kind: ActorKind::RegistrationToken, id: prefix.to_string() };
    let cause = Cause { actor, context, idempotency: None };
    let (registered, position) = consume(api, &cause, &token, registration).await?;
    let device = api.device(registered.device_id, Some(tenant_id)).await?;
    if let Err(problem) = may_come_in(&device, &cause.context) {
        record(api, &cause.context, &problem, Some(prefix), Some(tenant_id)).await;
        return Err(problem);
    }
    if device.device.status == DeviceStatus::Pending {
        return Ok(wire::come_again(api.policy.est_retry_after_seconds, position));
    }
    match certificate(api, &cause, prefix, device, key).await? {
        Some(issued) => wire::certificate(&issued),
        None => Err(fail(api, &cause.context, &RegistrationTokenError::Used, Some(prefix), Some(tenant_id)).await),
    }
}

/// The name that the request's subject has, where a device can have it.
fn device_name(request: &SigningRequest, device_id: DeviceId) -> Result<DeviceName, Problem> {
    let asked_for = request.facts().ok().and_then(|facts| facts.common_name);
    if let Some(name) = asked_for.and_then(|name| DeviceName::parse(&name).ok()) {
        return Ok(name);
    }
    let id = device_id.to_string();
    // The last group of an id is random; the first ones are the time.
    let short = id.rsplit('-').next().unwrap_or(&id);
    DeviceName::parse(&format!("est-{short}")).map_err(|error| internal(&error))
}

fn recognised_by(key: &DevicePublicKey) -> Digest {
    sha256(&[b"signalbeam: registered over EST\n".as_slice(), &key.sha256().0].concat())
}

/// A device that waits may ask; one that was approved may come in from its networks.
fn may_come_in(device: &LoadedDevice, context: &RequestContext) -> Result<(), Problem> {
    if device.device.status != DeviceStatus::Pending {
        device.require_approved()?;
    }
    if device.device.allowed_networks.permit(context.client_address) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::AddressNotAllowed, "the device may not enrol from this address"))
}

/// The one certificate that a token gives: again as long as nobody has used it, since its answer may have been lost.
/// `None` where the device has been given another one, or this one has been used or withdrawn.
async fn certificate(
    api: &CommandApi,
    cause: &Cause,
    prefix: Prefix,
    device: LoadedDevice,
    public_key: DevicePublicKey,
) -> Result<Option<Issued>, Problem> {
    let device_id = device.device.registered.device_id;
    // Named by the token: however often and however fast it is asked for, it is issued once.
    let name = format!("certificate of a registration over EST\n{prefix}");
    let idempotency = Idempotency { command_id: sha256(name.as_bytes()), body_sha256: public_key.sha256() };
    let cause = Cause { idempotency: Some(idempotency), ..cause.clone() };
    let stream = StreamId::certificates(device_id);
    let outcome = match api.repeated(&cause).await? {
        Some(outcome) => outcome,
        None if !api.load::<Certificates>(&stream).await?.0.issued().is_empty() => return Ok(None),
        None => {
            api.authenticator.limits().issuance(device_id)?;
            super::issue(api, &cause, device, public_key.clone(), None).await?
        }
    };
    let issued = issued_by(&outcome)?;
    let (certificates, _) = api.load::<Certificates>(&stream).await?;
    let unused = super::unused(&certificates, &public_key, api.now());
    Ok(unused.is_some_and(|unused| unused.issued.fingerprint == issued.certificate.fingerprint).then_some(issued))
}

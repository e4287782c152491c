//! Issuing, crash-safe: check, record the intent, sign, record the certificate. Whatever ends in between leaves a record
//! and never a certificate that nobody knows of.

use std::sync::Arc;

use signalbeam_authn::device::{DeviceCredential, DevicePrincipal};
use signalbeam_authn::{ErrorCode, Problem, draw};
use signalbeam_domain::certificate::{
    AbandonCause, CertificateAbandoned, CertificateCommand, CertificateError, CertificateEvent, CertificateIntended,
    CertificateIssued, Certificates, RenewalRules,
};
use signalbeam_domain::{
    Actor, Aggregate, ApiKeyId, Context, CorrelationId, Days, DeviceId, Event, Position, SerialNumber, StreamId,
    TenantId, Timestamp,
};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{
    Appended, CommandMetadata, EventStore, ExecuteError, ExpectedVersion, Recorded, StreamWrite, execute, new_events,
};
use signalbeam_pki::{CertificateAuthority, DeviceCertificateRequest, DevicePublicKey, IssuedCertificate, Profile};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{profiles, refused};
use crate::api_keys::key_still_in_force;
use crate::command::{Cause, LoadedDevice, Outcome, contended, internal, store_unavailable};
use crate::state::CommandApi;

/// How far the clock may be behind the log before nothing is issued: an hour.
const MAX_CLOCK_LAG_SECONDS: i64 = 3_600;
/// How many authorities are tried, where each is replaced while it signs.
const MAX_AUTHORITIES: usize = 3;

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub(crate) struct Issuance {
    pub(crate) public_key: DevicePublicKey,
    /// Decides the certificate's contents; the same one to the end, whatever is configured meanwhile.
    pub(crate) profile: Arc<Profile>,
    pub(crate) validity: Days,
    pub(crate) renewing: Option<Renewing>,
    /// The device's API key, where it asks with that: what an admin revokes while the certificate is being signed gets none.
    pub(crate) asked_with: Option<ApiKeyId>,
}

/// The certificate that a renewal renews, and when it may be renewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renewing {
    pub(crate) serial_number: SerialNumber,
    pub(crate) rules: RenewalRules,
}

/// The API key that a device authenticated by, where it did by one.
pub(crate) fn key_of(device: &DevicePrincipal) -> Option<ApiKeyId> {
    match device.credential {
        DeviceCredential::ApiKey { key_id, .. } => Some(key_id),
        DeviceCredential::Certificate { .. } => None,
    }
}

/// A certificate that was issued, now or by the same command before.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) certificate: CertificateIssued,
    pub(crate) at: Timestamp,
    pub(crate) position: Position,
}

/// The certificate that a command issued, out of what it recorded.
pub(crate) fn issued_by(outcome: &Outcome) -> Result<Issued, Problem> {
    let position = outcome.position;
    let issued = outcome.events.iter().find_map(issued_event);
    let issued = issued.ok_or_else(|| internal(&CertificateError::Unknown))?;
    Ok(Issued { position, ..issued })
}

/// A certificate that was issued before, with the moment at which it was.
pub(crate) async fn issued_before(api: &CommandApi, certificate: &CertificateIssued) -> Result<Issued, Problem> {
    let stream = StreamId::certificates(certificate.intended.device_id);
    let recorded = api.store.read_stream(&stream).await.map_err(|error| store_unavailable(&error))?;
    let mut issued = recorded.iter().filter_map(issued_event);
    let found = issued.find(|other| other.certificate.fingerprint == certificate.fingerprint);
    found.ok_or_else(|| internal(&CertificateError::Unknown))
}

fn issued_event(recorded: &Recorded) -> Option<Issued> {
    let Ok(Event::CertificateEvent(CertificateEvent::Issued(certificate))) = recorded.event() else { return None };
    Some(Issued { certificate, at: recorded.envelope.recorded_at, position: recorded.envelope.position })
}

/// Issues a certificate for an approved device; its other active certificate is superseded in the same append. Where the
/// same command was carried out meanwhile, its outcome is that of the first.
///
/// Runs to its end also where the client goes away in the middle: what was intended is then issued or abandoned.
pub(crate) async fn issue(
    api: &CommandApi,
    cause: &Cause,
    device: LoadedDevice,
    issuance: Issuance,
) -> Result<Outcome, Problem> {
    let (api, cause) = (api.clone(), cause.clone());
    let issuing = async move { issue_to_the_end(&api, &cause, device, issuance).await };
    tokio::spawn(issuing.in_current_span()).await.map_err(|error| internal(&error))?
}

async fn issue_to_the_end(
    api: &CommandApi,
    cause: &Cause,
    device: LoadedDevice,
    issuance: Issuance,
) -> Result<Outcome, Problem> {
    device.require_approved()?;
    profiles::require_key(&issuance.profile, &issuance.public_key)?;
    for _ in 0..MAX_AUTHORITIES {
        if let Some(outcome) = issue_once(api, cause, device.clone(), issuance.clone()).await? {
            return Ok(outcome);
        }
        api.reload_authorities().await?;
    }
    Err(contended())
}

/// Issues a certificate by the authority that signs as far as this node knows; `None` where another one does by now.
async fn issue_once(
    api: &CommandApi,
    cause: &Cause,
    device: LoadedDevice,
    issuance: Issuance,
) -> Result<Option<Outcome>, Problem> {
    let registered = &device.device.registered;
    let (device_id, tenant_id) = (registered.device_id, registered.tenant_id);
    let (public_key, profile, asked_with) =
        (issuance.public_key.clone(), Arc::clone(&issuance.profile), issuance.asked_with);
    // One authority from the intent to the signature, whichever signs afterwards.
    let authority = Arc::clone(api.authorities.current().signing());
    let intended = intend(api, cause, &authority, &device, issuance).await?;
    let request = DeviceCertificateRequest {
        serial: intended.serial_number,
        tenant_id,
        device_id,
        public_key,
        profile,
        validity: signalbeam_pki::Validity::new(
            intended.not_before.to_offset_date_time(),
            intended.not_after.to_offset_date_time(),
        ),
    };
    let (serial_number, renewal_of) = (intended.serial_number, intended.renewal_of);
    let signed = match authority.issue_device(&request).await {
        Ok(signed) => signed,
        Err(error) => {
            metrics::counter!("signalbeam_ca_errors_total").increment(1);
            tracing::error!(error = &error as &dyn std::error::Error, %serial_number, "a certificate could not be signed");
            abandon(api, cause, device_id, tenant_id, serial_number, AbandonCause::SigningFailed).await;
            return Err(Problem::new(
                ErrorCode::SigningUnavailable,
                "the certificate authority cannot sign; try again",
            ));
        }
    };
    let recorded = record(api, cause, device, asked_with, issued(&authority, intended, signed)).await;
    let why_not = match &recorded {
        Ok(Some(outcome)) if !outcome.is_repeat => {
            tracing::info!(%device_id, %serial_number, renewal_of = ?renewal_of.map(|old| old.to_string()), "certificate issued");
            return recorded;
        }
        Ok(None) => AbandonCause::AuthorityReplaced,
        Ok(Some(_)) | Err(_) => AbandonCause::NoLongerEligible,
    };
    abandon(api, cause, device_id, tenant_id, serial_number, why_not).await;
    recorded
}

async fn intend(
    api: &CommandApi,
    cause: &Cause,
    authority: &CertificateAuthority,
    device: &LoadedDevice,
    issuance: Issuance,
) -> Result<CertificateIntended, Problem> {
    let registered = &device.device.registered;
    let stream = StreamId::certificates(registered.device_id);
    let now = api.now().to_offset_date_time();
    let validity = authority.device_validity(&issuance.profile, now, issuance.validity.get().into());
    let rules = issuance.renewing.map_or(RenewalRules::window(0), |renewing| renewing.rules);
    for _ in 0..MAX_DECISIONS {
        let intended = CertificateIntended {
            serial_number: draw::serial_number().map_err(|error| internal(&error))?,
            device_id: registered.device_id,
            tenant_id: registered.tenant_id,
            profile: issuance.profile.name().to_string(),
            public_key_sha256: issuance.public_key.sha256(),
            not_before: Timestamp::from_offset_date_time(validity.not_before),
            not_after: Timestamp::from_offset_date_time(validity.not_after),
            renewal_of: issuance.renewing.map(|renewing| renewing.serial_number),
        };
        let (certificates, version) = api.load::<Certificates>(&stream).await?;
        let command = CertificateCommand::Intend { intended: intended.clone(), rules };
        let events = certificates.decide(command, &Context { now: api.now() }).map_err(|error| refused(&error))?;
        let write = StreamWrite {
            stream: stream.clone(),
            expected: ExpectedVersion::Exact(version),
            events: new_events(Some(registered.tenant_id), events),
        };
        if let Some(appended) = api.append(&cause.unnamed(), vec![write, device.unchanged()]).await? {
            require_clock(api, cause, &intended, &appended).await?;
            return Ok(intended);
        }
        api.device(registered.device_id, None).await?.require_approved()?;
    }
    Err(contended())
}

/// Under a clock that is far behind the log, every certificate would be short-lived or dead on arrival, and would supersede
/// a good one. The store never stamps backwards, so the intent's own stamp shows the gap.
async fn require_clock(
    api: &CommandApi,
    cause: &Cause,
    intended: &CertificateIntended,
    appended: &Appended,
) -> Result<(), Problem> {
    let last = appended.events.iter().map(|event| event.envelope.recorded_at).max();
    if last.is_none_or(|last| last <= api.now().plus_seconds(MAX_CLOCK_LAG_SECONDS)) {
        return Ok(());
    }
    metrics::counter!("signalbeam_ca_errors_total").increment(1);
    tracing::error!(now = %api.now(), log = ?last, "the clock is behind the event log: no certificate is issued");
    let CertificateIntended { device_id, tenant_id, serial_number, .. } = *intended;
    abandon(api, cause, device_id, tenant_id, serial_number, AbandonCause::ClockBehind).await;
    Err(Problem::new(ErrorCode::SigningUnavailable, "the server's clock is behind its own log; set it, then try again"))
}

fn issued(
    authority: &CertificateAuthority,
    intended: CertificateIntended,
    signed: IssuedCertificate,
) -> CertificateIssued {
    CertificateIssued {
        intended,
        fingerprint: signed.fingerprint,
        subject: signed.subject,
        authority_id: authority.id(),
        certificate_pem: signed.pem,
    }
}

/// Records what was signed, unless the device lost its approval, or the renewed certificate or the API key that asked for
/// it was revoked, in between. `None` where another authority signs by now.
async fn record(
    api: &CommandApi,
    cause: &Cause,
    mut device: LoadedDevice,
    asked_with: Option<ApiKeyId>,
    issued: CertificateIssued,
) -> Result<Option<Outcome>, Problem> {
    let (device_id, tenant_id) = (issued.intended.device_id, issued.intended.tenant_id);
    let stream = StreamId::certificates(device_id);
    for _ in 0..MAX_DECISIONS {
        let (certificates, version) = api.load::<Certificates>(&stream).await?;
        let decided = certificates.decide(CertificateCommand::Issue(issued.clone()), &Context { now: api.now() });
        if decided.is_err() {
            // Whoever takes a device out of service revokes its certificates too, and that says more.
            api.device(device_id, None).await?.require_approved()?;
        }
        let write = StreamWrite {
            stream: stream.clone(),
            expected: ExpectedVersion::Exact(version),
            events: new_events(Some(tenant_id), decided.map_err(|error| refused(&error))?),
        };
        let Some(signing) = api.still_signs(issued.authority_id).await? else { return Ok(None) };
        let mut writes = vec![write, device.unchanged(), signing];
        if let Some(key_id) = asked_with {
            let asserted = key_still_in_force(api, device_id, key_id).await;
            if asserted.is_err() {
                // Whoever takes a device out of service ends its key too, and that says more.
                api.device(device_id, None).await?.require_approved()?;
            }
            writes.push(asserted?);
        }
        if let Some(appended) = api.append(cause, writes).await? {
            return Ok(Some(appended.into()));
        }
        device = api.device(device_id, None).await?;
        device.require_approved()?;
    }
    Err(contended())
}

async fn abandon(
    api: &CommandApi,
    cause: &Cause,
    device_id: DeviceId,
    tenant_id: TenantId,
    serial_number: SerialNumber,
    why: AbandonCause,
) {
    let stream = StreamId::certificates(device_id);
    let command = || CertificateCommand::Abandon(CertificateAbandoned { serial_number, cause: why });
    if let Err(problem) =
        api.execute::<Certificates>(&cause.unnamed(), &stream, tenant_id, command, |error| refused(&error)).await
    {
        // The intent stays open and is resolved at the next start.
        tracing::warn!(%serial_number, detail = problem.detail(), "an intended certificate could not be abandoned");
    }
}

/// Resolves what an earlier process left open: intents that were neither issued nor abandoned. Returns how many.
///
/// # Errors
/// The store's failure; what was resolved before it stays resolved.
pub async fn abandon_open_intents(
    store: &dyn EventStore,
    open: impl IntoIterator<Item = (DeviceId, TenantId, SerialNumber)>,
    now: Timestamp,
) -> Result<usize, ExecuteError<CertificateError>> {
    let metadata = CommandMetadata {
        actor: Actor::system("issuance"),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    let mut resolved = 0;
    for (device_id, tenant_id, serial_number) in open {
        let stream = StreamId::certificates(device_id);
        let abandoned = CertificateAbandoned { serial_number, cause: AbandonCause::Interrupted };
        let command = || CertificateCommand::Abandon(abandoned.clone());
        let appended = execute::<Certificates>(store, &stream, Some(tenant_id), &metadata, now, command).await?;
        resolved += usize::from(appended.is_some());
    }
    Ok(resolved)
}

//! The decisions that admins take on devices, and carrying one out: on its own route, or as one of many.

use signalbeam_authn::{Permission, Problem};
use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeys, KeyRevocationCause};
use signalbeam_domain::certificate::{CertificateCommand, Certificates, RevocationReason};
use signalbeam_domain::device::{DecisionReason, Device, DeviceCommand};
use signalbeam_domain::{
    Aggregate, Context, Days, DeviceId, DeviceStatus, Event, ProfileName, StreamId, TenantId, Version,
};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{ExpectedVersion, StreamWrite, new_events};

use super::refused;
use crate::command::{Cause, Outcome, contended, internal};
use crate::state::CommandApi;

/// What an admin decides on a device.
#[derive(Debug, Clone)]
pub(crate) enum Decision {
    Approve { api_key_validity_days: Days, certificate_profile: Option<ProfileName> },
    Reject(DecisionReason),
    Suspend(DecisionReason),
    Reinstate(DecisionReason),
    Decommission(DecisionReason),
}

/// What is kept of a command that the device's state forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// Nothing: the same command later may well be carried out.
    Forgotten,
    /// The command's name: the same command later is refused as it was. Its outcome has no events then.
    Kept,
}

impl Decision {
    /// An approval, with the API key's validity and the certificates' profile where the admin named them.
    ///
    /// # Errors
    /// 400 `INVALID_REQUEST` where the one is out of bounds or the other is not configured.
    pub(crate) fn approval(
        api: &CommandApi,
        api_key_expiration_days: Option<i64>,
        certificate_profile: Option<&str>,
    ) -> Result<Self, Problem> {
        let days = api.policy.api_key_validity.judge(api_key_expiration_days);
        let days = days.map_err(|error| Problem::invalid("/apiKeyExpirationDays", error.to_string()))?;
        Ok(Self::Approve { api_key_validity_days: days, certificate_profile: api.chosen_profile(certificate_profile)? })
    }

    /// Which permission it takes.
    pub(crate) fn permission(&self) -> Permission {
        match self {
            Self::Approve { .. } | Self::Reject(_) | Self::Suspend(_) | Self::Reinstate(_) => Permission::DecideDevices,
            Self::Decommission(_) => Permission::ManageDevices,
        }
    }

    /// Where the device stands afterwards.
    pub(crate) fn status(&self) -> DeviceStatus {
        match self {
            Self::Approve { .. } | Self::Reinstate(_) => DeviceStatus::Approved,
            Self::Reject(_) => DeviceStatus::Rejected,
            Self::Suspend(_) => DeviceStatus::Suspended,
            Self::Decommission(_) => DeviceStatus::Decommissioned,
        }
    }

    pub(crate) fn command(&self) -> DeviceCommand {
        match self.clone() {
            Self::Approve { api_key_validity_days, certificate_profile } => {
                DeviceCommand::Approve { api_key_validity_days, certificate_profile }
            }
            Self::Reject(reason) => DeviceCommand::Reject(reason),
            Self::Suspend(reason) => DeviceCommand::Suspend(reason),
            Self::Reinstate(reason) => DeviceCommand::Reinstate(reason),
            Self::Decommission(reason) => DeviceCommand::Decommission(reason),
        }
    }

    /// Carries the decision out on a device of this tenant.
    ///
    /// # Errors
    /// 409 `INVALID_STATE` where the device's status forbids it.
    pub(crate) async fn carry_out(
        &self,
        api: &CommandApi,
        cause: &Cause,
        id: DeviceId,
        tenant_id: TenantId,
        refusals: Refusals,
    ) -> Result<Outcome, Problem> {
        if let Some(outcome) = api.repeated(cause).await? {
            return Ok(outcome);
        }
        for _ in 0..MAX_DECISIONS {
            let stream = StreamId::device(id);
            let (device, version) = api.load::<Device>(&stream).await?;
            let (writes, refusal) = match device.decide(self.command(), &Context { now: api.now() }) {
                Ok(events) => (self.writes(api, id, tenant_id, write(stream, version, tenant_id, events)).await?, None),
                Err(error) if refusals == Refusals::Kept && cause.idempotency.is_some() => {
                    (vec![write::<Event>(stream, version, tenant_id, vec![])], Some(error))
                }
                // The same command may have been carried out in the meantime: then it is no refusal but a repetition.
                Err(error) => return api.repeated(cause).await?.ok_or_else(|| refused(&error)),
            };
            if let Some(appended) = api.append(cause, writes).await? {
                return match refusal {
                    Some(error) if !appended.is_repeat => Err(refused(&error)),
                    _ => Ok(appended.into()),
                };
            }
        }
        Err(contended())
    }

    /// Everything that is appended with the decision: taking a device out of service ends its credentials in the same step.
    async fn writes(
        &self,
        api: &CommandApi,
        id: DeviceId,
        tenant_id: TenantId,
        device: StreamWrite,
    ) -> Result<Vec<StreamWrite>, Problem> {
        let Self::Decommission(DecisionReason { reason }) = self else { return Ok(vec![device]) };
        let revoke_keys =
            ApiKeyCommand::RevokeAll { cause: KeyRevocationCause::Decommissioned, reason: reason.clone() };
        let revoke_certificates = CertificateCommand::RevokeAll {
            reason: reason.clone(),
            reason_code: Some(RevocationReason::CessationOfOperation),
        };
        Ok(vec![
            device,
            plan::<ApiKeys>(api, StreamId::api_keys(id), tenant_id, revoke_keys).await?,
            plan::<Certificates>(api, StreamId::certificates(id), tenant_id, revoke_certificates).await?,
        ])
    }
}

/// What a command that no rule forbids does to one stream.
async fn plan<A>(
    api: &CommandApi,
    stream: StreamId,
    tenant_id: TenantId,
    command: A::Command,
) -> Result<StreamWrite, Problem>
where
    A: Aggregate,
    A::Event: TryFrom<Event> + Into<Event>,
    A::Error: std::error::Error + 'static,
{
    let (aggregate, version) = api.load::<A>(&stream).await?;
    let events = aggregate.decide(command, &Context { now: api.now() }).map_err(|error| internal(&error))?;
    Ok(write(stream, version, tenant_id, events))
}

fn write<E: Into<Event>>(stream: StreamId, version: Version, tenant_id: TenantId, events: Vec<E>) -> StreamWrite {
    StreamWrite { stream, expected: ExpectedVersion::Exact(version), events: new_events(Some(tenant_id), events) }
}

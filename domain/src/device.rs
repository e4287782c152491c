//! Devices: registered, then approved or rejected by an admin; later suspended, reinstated, decommissioned.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};
use crate::credential::{Digest, Prefix};
use crate::event::events;
use crate::ids::{DeviceId, TenantId};
use crate::network::AllowedNetworks;
use crate::profile_name::ProfileName;
use crate::tags::Tags;
use crate::text::{DeviceName, Metadata, Reason};
use crate::validity::Days;

/// A device registered with a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRegistered {
    /// The device.
    pub device_id: DeviceId,
    /// Its tenant, for life.
    pub tenant_id: TenantId,
    /// Its name, a label.
    pub device_name: DeviceName,
    /// What it told of itself.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// What it is found by.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The token that it registered with.
    pub token_prefix: Prefix,
    /// The SHA-256 of its claim secret.
    pub claim_secret_sha256: Digest,
}

/// An admin brought the device in, with a certificate of another authority: nothing had to be registered or approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceImported {
    /// The device.
    pub device_id: DeviceId,
    /// Its tenant, for life.
    pub tenant_id: TenantId,
    /// Its name, a label.
    pub device_name: DeviceName,
    /// What the admin told of it.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// What it is found by.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// An admin approved the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceApproved {
    /// How long the API key that the device claims will live.
    pub api_key_validity_days: Days,
    /// The profile of its certificates, where the admin named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_profile: Option<ProfileName>,
}

/// An admin took a decision, with or without saying why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionReason {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// An admin changed the label, the description, the tags or the profile of certificates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRenamed {
    /// The new name, where it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<DeviceName>,
    /// The new metadata as a whole, where it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The new tags as a whole, where they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// The profile of its further certificates, where it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_profile: Option<ProfileName>,
}

/// An admin said from where the device may authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceNetworksRestricted {
    /// The only networks; none for everywhere.
    pub networks: AllowedNetworks,
}

events! {
    /// What can happen to a device.
    DeviceEvent {
        /// It asked to be let in.
        Registered(DeviceRegistered) = ("device.registered", 1),
        /// It was brought in from elsewhere, and may authenticate at once.
        Imported(DeviceImported) = ("device.imported", 1),
        /// It was let in.
        Approved(DeviceApproved) = ("device.approved", 1),
        /// It was refused, for good.
        Rejected(DeviceRejected) = ("device.rejected", 1),
        /// Its name, metadata or tags changed.
        Renamed(DeviceRenamed) = ("device.renamed", 1),
        /// It authenticates from these networks alone.
        NetworksRestricted(DeviceNetworksRestricted) = ("device.networks_restricted", 1),
        /// It authenticates nothing until reinstated.
        Suspended(DeviceSuspended) = ("device.suspended", 1),
        /// It may authenticate again.
        Reinstated(DeviceReinstated) = ("device.reinstated", 1),
        /// Its life is over.
        Decommissioned(DeviceDecommissioned) = ("device.decommissioned", 1),
    }
}

macro_rules! reasoned {
    ($($(#[$doc:meta])* $name:ident),+) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub DecisionReason);)+
    };
}

reasoned!(
    /// An admin refused the device.
    DeviceRejected,
    /// An admin suspended the device.
    DeviceSuspended,
    /// An admin lifted the suspension.
    DeviceReinstated,
    /// An admin ended the device's life.
    DeviceDecommissioned
);

/// Where a device stands. Only an approved one authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeviceStatus {
    /// Waits for an admin.
    Pending,
    /// May authenticate.
    Approved,
    /// Was refused.
    Rejected,
    /// Was let in and is barred for now.
    Suspended,
    /// Was taken out of service.
    Decommissioned,
}

impl DeviceStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Rejected, Self::Suspended, Self::Decommissioned];

    /// Whether the device is in service, or waits for it: pending, approved or suspended.
    pub const fn is_in_service(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Suspended)
    }

    /// As it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Approved => "Approved",
            Self::Rejected => "Rejected",
            Self::Suspended => "Suspended",
            Self::Decommissioned => "Decommissioned",
        }
    }

    /// Reads the written form, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for DeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be asked of a device.
#[derive(Debug, Clone)]
pub enum DeviceCommand {
    /// Record the registration.
    Register(DeviceRegistered),
    /// Bring it in from elsewhere.
    Import(DeviceImported),
    /// Let it in.
    Approve {
        /// How long its API key will live.
        api_key_validity_days: Days,
        /// The profile of its certificates, where the admin named one.
        certificate_profile: Option<ProfileName>,
    },
    /// Refuse it.
    Reject(DecisionReason),
    /// Change its label, description, tags or profile of certificates, and from where it may authenticate: all of it, or nothing.
    Change {
        /// What changes of its label, description, tags and profile of certificates.
        renamed: DeviceRenamed,
        /// From where it may authenticate, where that changes.
        networks: Option<AllowedNetworks>,
    },
    /// Bar it for now.
    Suspend(DecisionReason),
    /// Lift the bar.
    Reinstate(DecisionReason),
    /// Take it out of service.
    Decommission(DecisionReason),
}

/// Why a command on a device was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no such device.
    #[error("there is no such device")]
    Unknown,
    /// The device's id belongs to another registration; ids are drawn at random, so this is a mistake of the caller.
    #[error("the device is registered already")]
    AlreadyRegistered,
    /// The device's state forbids it.
    #[error("a device that is {status} cannot be {action}")]
    InvalidState {
        /// Where it stands.
        status: DeviceStatus,
        /// What was asked for, as a participle.
        action: &'static str,
    },
}

/// A device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Device(Option<KnownDevice>);

/// A device that registered or was imported.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownDevice {
    /// As it registered or was imported, with its present name, metadata and tags.
    pub registered: Registration,
    /// Where it stands.
    pub status: DeviceStatus,
    /// How long an API key that it claims lives; known from its approval on.
    pub api_key_validity_days: Option<Days>,
    /// The profile of its certificates, where an admin chose one.
    pub certificate_profile: Option<ProfileName>,
    /// Why an admin refused it, where one said so.
    pub rejection_reason: Option<Reason>,
    /// From where it may authenticate.
    pub allowed_networks: AllowedNetworks,
}

/// What is known of a device since it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The device.
    pub device_id: DeviceId,
    /// Its tenant, for life.
    pub tenant_id: TenantId,
    /// Its name, a label.
    pub device_name: DeviceName,
    /// What it, or an admin, told of it.
    pub metadata: Metadata,
    /// What it is found by.
    pub tags: Tags,
    /// How it came in.
    pub origin: DeviceOrigin,
}

/// How a device came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceOrigin {
    /// It registered with a token.
    Registered {
        /// The token's prefix.
        token_prefix: Prefix,
        /// The SHA-256 of its claim secret.
        claim_secret_sha256: Digest,
    },
    /// An admin imported it. There is no claim secret.
    Imported,
}

impl Registration {
    /// The SHA-256 of its claim secret, where it has one.
    pub fn claim_secret_sha256(&self) -> Option<&Digest> {
        match &self.origin {
            DeviceOrigin::Registered { claim_secret_sha256, .. } => Some(claim_secret_sha256),
            DeviceOrigin::Imported => None,
        }
    }
}

impl From<DeviceRegistered> for Registration {
    fn from(registered: DeviceRegistered) -> Self {
        let DeviceRegistered { device_id, tenant_id, device_name, metadata, tags, token_prefix, claim_secret_sha256 } =
            registered;
        let origin = DeviceOrigin::Registered { token_prefix, claim_secret_sha256 };
        Self { device_id, tenant_id, device_name, metadata, tags, origin }
    }
}

impl From<DeviceImported> for Registration {
    fn from(imported: DeviceImported) -> Self {
        let DeviceImported { device_id, tenant_id, device_name, metadata, tags } = imported;
        Self { device_id, tenant_id, device_name, metadata, tags, origin: DeviceOrigin::Imported }
    }
}

impl Device {
    /// The device, once it registered or was imported.
    pub fn known(&self) -> Option<&KnownDevice> {
        self.0.as_ref()
    }
}

impl KnownDevice {
    /// The profile of its certificates: the one that an admin chose, or `device`.
    pub fn profile(&self) -> ProfileName {
        self.certificate_profile.clone().unwrap_or_else(ProfileName::device)
    }

    fn take_profile(&mut self, chosen: Option<&ProfileName>) {
        if chosen.is_some() {
            self.certificate_profile = chosen.cloned();
        }
    }

    /// A registration is rolled forward from its token after a crash, perhaps by two nodes: it happens once.
    fn registered_again(&self, registration: &DeviceRegistered) -> Result<Vec<DeviceEvent>, DeviceError> {
        let DeviceRegistered { token_prefix, claim_secret_sha256, .. } = *registration;
        let is_same = self.registered.origin == DeviceOrigin::Registered { token_prefix, claim_secret_sha256 };
        if is_same { Ok(vec![]) } else { Err(DeviceError::AlreadyRegistered) }
    }

    fn rename(&self, renamed: DeviceRenamed) -> Result<Option<DeviceEvent>, DeviceError> {
        self.must_be_in_service("renamed")?;
        let changes = DeviceRenamed {
            device_name: renamed.device_name.filter(|name| *name != self.registered.device_name),
            metadata: renamed.metadata.filter(|metadata| *metadata != self.registered.metadata),
            tags: renamed.tags.filter(|tags| *tags != self.registered.tags),
            certificate_profile: renamed.certificate_profile.filter(|profile| *profile != self.profile()),
        };
        Ok((changes != DeviceRenamed::default()).then(|| changes.into()))
    }

    fn restrict(&self, networks: AllowedNetworks) -> Result<Option<DeviceEvent>, DeviceError> {
        self.must_be_in_service("restricted to networks")?;
        Ok((networks != self.allowed_networks).then(|| DeviceNetworksRestricted { networks }.into()))
    }

    fn must_be(&self, allowed: &[DeviceStatus], action: &'static str) -> Result<(), DeviceError> {
        self.must(allowed.contains(&self.status), action)
    }

    fn must_be_in_service(&self, action: &'static str) -> Result<(), DeviceError> {
        self.must(self.status.is_in_service(), action)
    }

    fn must(&self, is_allowed: bool, action: &'static str) -> Result<(), DeviceError> {
        if is_allowed { Ok(()) } else { Err(DeviceError::InvalidState { status: self.status, action }) }
    }
}

impl Aggregate for Device {
    type Command = DeviceCommand;
    type Event = DeviceEvent;
    type Error = DeviceError;

    fn decide(&self, command: Self::Command, _context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        use DeviceStatus::{Approved, Pending, Rejected, Suspended};
        let Some(device) = &self.0 else {
            return match command {
                DeviceCommand::Register(registered) => Ok(vec![registered.into()]),
                DeviceCommand::Import(imported) => Ok(vec![imported.into()]),
                _ => Err(DeviceError::Unknown),
            };
        };
        let event = match command {
            DeviceCommand::Register(registered) => return device.registered_again(&registered),
            DeviceCommand::Import(_) => return Err(DeviceError::AlreadyRegistered),
            DeviceCommand::Approve { api_key_validity_days, certificate_profile } => {
                device.must_be(&[Pending], "approved")?;
                DeviceApproved { api_key_validity_days, certificate_profile }.into()
            }
            DeviceCommand::Reject(reason) => {
                device.must_be(&[Pending], "rejected")?;
                DeviceRejected(reason).into()
            }
            DeviceCommand::Change { renamed, networks } => {
                let restricted = networks.map(|networks| device.restrict(networks)).transpose()?.flatten();
                return Ok(device.rename(renamed)?.into_iter().chain(restricted).collect());
            }
            DeviceCommand::Suspend(reason) => {
                device.must_be(&[Approved], "suspended")?;
                DeviceSuspended(reason).into()
            }
            DeviceCommand::Reinstate(reason) => {
                device.must_be(&[Suspended], "reinstated")?;
                DeviceReinstated(reason).into()
            }
            DeviceCommand::Decommission(reason) => {
                device.must_be(&[Pending, Approved, Rejected, Suspended], "decommissioned")?;
                DeviceDecommissioned(reason).into()
            }
        };
        Ok(vec![event])
    }

    fn evolve(self, event: &Self::Event) -> Self {
        let came_in = |registered, status| {
            Self(Some(KnownDevice {
                registered,
                status,
                api_key_validity_days: None,
                certificate_profile: None,
                rejection_reason: None,
                allowed_networks: AllowedNetworks::default(),
            }))
        };
        match event {
            DeviceEvent::Registered(registered) => came_in(registered.clone().into(), DeviceStatus::Pending),
            DeviceEvent::Imported(imported) => came_in(imported.clone().into(), DeviceStatus::Approved),
            _ => Self(self.0.map(|device| device.after(event))),
        }
    }
}

impl KnownDevice {
    fn after(mut self, event: &DeviceEvent) -> Self {
        match event {
            DeviceEvent::Registered(_) | DeviceEvent::Imported(_) => {}
            DeviceEvent::Approved(approved) => {
                self.status = DeviceStatus::Approved;
                self.api_key_validity_days = Some(approved.api_key_validity_days);
                self.take_profile(approved.certificate_profile.as_ref());
            }
            DeviceEvent::Rejected(DeviceRejected(decision)) => {
                self.status = DeviceStatus::Rejected;
                self.rejection_reason.clone_from(&decision.reason);
            }
            DeviceEvent::Renamed(renamed) => {
                if let Some(name) = &renamed.device_name {
                    self.registered.device_name = name.clone();
                }
                if let Some(metadata) = &renamed.metadata {
                    self.registered.metadata = metadata.clone();
                }
                if let Some(tags) = &renamed.tags {
                    self.registered.tags = tags.clone();
                }
                self.take_profile(renamed.certificate_profile.as_ref());
            }
            DeviceEvent::NetworksRestricted(restricted) => self.allowed_networks.clone_from(&restricted.networks),
            DeviceEvent::Suspended(_) => self.status = DeviceStatus::Suspended,
            DeviceEvent::Reinstated(_) => self.status = DeviceStatus::Approved,
            DeviceEvent::Decommissioned(_) => self.status = DeviceStatus::Decommissioned,
        }
        self
    }
}

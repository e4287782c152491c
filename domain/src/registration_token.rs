//! Registration tokens: issued by an admin, consumed by exactly one device, or revoked.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};
use crate::credential::{Digest, Prefix, SecretVerifier};
use crate::event::events;
use crate::ids::{DeviceId, RegistrationTokenId, TenantId};
use crate::tags::Tags;
use crate::text::{Description, DeviceName, Metadata, Reason};
use crate::timestamp::Timestamp;

/// A token was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenIssued {
    /// Its id, by which admins revoke it.
    pub token_id: RegistrationTokenId,
    /// The tenant that the device will belong to.
    pub tenant_id: TenantId,
    /// Its public prefix.
    pub prefix: Prefix,
    /// What is kept of its secret.
    pub verifier: SecretVerifier,
    /// The first moment at which it no longer registers anything.
    pub expires_at: Timestamp,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
}

/// A device registered with the token. This is the commit point of a registration, so it carries the whole of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenConsumed {
    /// The device that came of it.
    pub device_id: DeviceId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Its name.
    pub device_name: DeviceName,
    /// What it told of itself.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// What it is found by.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The SHA-256 of the claim secret, with which the device fetches its API key.
    pub claim_secret_sha256: Digest,
}

/// An admin revoked the token before it was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRevoked {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

events! {
    /// What can happen to a registration token.
    RegistrationTokenEvent {
        /// It was made.
        Issued(TokenIssued) = ("registration_token.issued", 1),
        /// A device registered with it.
        Consumed(TokenConsumed) = ("registration_token.consumed", 1),
        /// An admin took it back.
        Revoked(TokenRevoked) = ("registration_token.revoked", 1),
    }
}

/// What can be asked of a registration token.
#[derive(Debug, Clone)]
pub enum RegistrationTokenCommand {
    /// Make it.
    Issue(TokenIssued),
    /// Register a device with it.
    Consume {
        /// Whether the presented secret matches the verifier; judged by whoever holds the MAC key.
        secret_matches: bool,
        /// The registration, ready to be recorded.
        registration: TokenConsumed,
    },
    /// Take it back.
    Revoke {
        /// Why.
        reason: Option<Reason>,
    },
}

/// Why a command on a registration token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationTokenError {
    /// The prefix is taken by another token: draw again.
    #[error("the prefix is taken")]
    PrefixTaken,
    /// Unknown, wrong secret, or another tenant's. The caller learns no more than that.
    #[error("the registration token is not valid for this tenant")]
    Invalid,
    /// Another device has registered with it.
    #[error("the registration token has been used")]
    Used,
    /// Its time is over.
    #[error("the registration token expired at {0}")]
    Expired(Timestamp),
    /// An admin took it back.
    #[error("the registration token has been revoked")]
    Revoked,
}

/// A registration token.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is folded for one decision and dropped; it never lies in a collection"
)]
pub enum RegistrationToken {
    /// Nothing has been recorded under this prefix.
    #[default]
    Unknown,
    /// It was issued.
    Known {
        /// As it was issued.
        issued: TokenIssued,
        /// What became of it.
        fate: Fate,
    },
}

/// What became of a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// A device registered with it.
    Consumed(TokenConsumed),
    /// An admin took it back.
    Revoked,
}

impl RegistrationToken {
    /// The registration that consumed it, where one did.
    pub fn registration(&self) -> Option<&TokenConsumed> {
        match self {
            Self::Known { fate: Fate::Consumed(registration), .. } => Some(registration),
            _ => None,
        }
    }

    /// As it was issued, where it was.
    pub fn issued(&self) -> Option<&TokenIssued> {
        match self {
            Self::Known { issued, .. } => Some(issued),
            Self::Unknown => None,
        }
    }

    fn consume(
        &self,
        secret_matches: bool,
        registration: TokenConsumed,
        now: Timestamp,
    ) -> Result<Vec<RegistrationTokenEvent>, RegistrationTokenError> {
        let Self::Known { issued, fate } = self else { return Err(RegistrationTokenError::Invalid) };
        if !secret_matches || issued.tenant_id != registration.tenant_id {
            return Err(RegistrationTokenError::Invalid);
        }
        match fate {
            // The answer to the first registration was lost and the device asks again: it is the same registration.
            Fate::Consumed(first) if first.claim_secret_sha256 == registration.claim_secret_sha256 => Ok(vec![]),
            Fate::Consumed(_) => Err(RegistrationTokenError::Used),
            Fate::Revoked => Err(RegistrationTokenError::Revoked),
            Fate::Open if now >= issued.expires_at => Err(RegistrationTokenError::Expired(issued.expires_at)),
            Fate::Open => Ok(vec![registration.into()]),
        }
    }
}

impl Aggregate for RegistrationToken {
    type Command = RegistrationTokenCommand;
    type Event = RegistrationTokenEvent;
    type Error = RegistrationTokenError;

    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        match command {
            RegistrationTokenCommand::Issue(issued) => match self {
                Self::Unknown => Ok(vec![issued.into()]),
                Self::Known { .. } => Err(RegistrationTokenError::PrefixTaken),
            },
            RegistrationTokenCommand::Consume { secret_matches, registration } => {
                self.consume(secret_matches, registration, context.now)
            }
            RegistrationTokenCommand::Revoke { reason } => match self {
                Self::Unknown => Err(RegistrationTokenError::Invalid),
                Self::Known { fate: Fate::Revoked, .. } => Ok(vec![]),
                Self::Known { fate: Fate::Consumed(_), .. } => Err(RegistrationTokenError::Used),
                Self::Known { fate: Fate::Open, .. } => Ok(vec![TokenRevoked { reason }.into()]),
            },
        }
    }

    fn evolve(self, event: &Self::Event) -> Self {
        match (self, event) {
            (_, RegistrationTokenEvent::Issued(issued)) => Self::Known { issued: issued.clone(), fate: Fate::Open },
            (Self::Known { issued, .. }, RegistrationTokenEvent::Consumed(registration)) => {
                Self::Known { issued, fate: Fate::Consumed(registration.clone()) }
            }
            (Self::Known { issued, .. }, RegistrationTokenEvent::Revoked(_)) => {
                Self::Known { issued, fate: Fate::Revoked }
            }
            (Self::Unknown, _) => Self::Unknown,
        }
    }
}

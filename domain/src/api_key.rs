//! A device's set of API keys: claimed after approval, rotated, revoked. At most one is in force, beside at most one
//! successor that the device asked for and has not used yet.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};
use crate::credential::{Prefix, SecretVerifier};
use crate::event::events;
use crate::ids::{ApiKeyId, DeviceId, TenantId};
use crate::text::Reason;
use crate::timestamp::Timestamp;

/// How a key came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// The device fetched it with its claim secret.
    Claim,
    /// An admin replaced the key before, which ended at once.
    AdminRotation,
    /// The device asked for a successor; the key before ends when this one is first used.
    DeviceRotation,
}

/// A key was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyIssued {
    /// The key.
    pub key_id: ApiKeyId,
    /// Whose it is.
    pub device_id: DeviceId,
    /// The device's tenant.
    pub tenant_id: TenantId,
    /// Its public prefix.
    pub prefix: Prefix,
    /// What is kept of its secret.
    pub verifier: SecretVerifier,
    /// The first moment at which it no longer authenticates.
    pub expires_at: Timestamp,
    /// How it came about.
    pub origin: KeyOrigin,
}

/// A key authenticated for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyFirstUsed {
    /// The key.
    pub key_id: ApiKeyId,
}

/// Why a key ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRevocationCause {
    /// Another key took its place.
    Superseded,
    /// An admin revoked it.
    Admin,
    /// The device was taken out of service.
    Decommissioned,
    /// The device has a certificate and its key was retired, as configured.
    Retired,
}

/// A key was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRevoked {
    /// The key.
    pub key_id: ApiKeyId,
    /// What made it end.
    pub cause: KeyRevocationCause,
    /// What an admin said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Somebody was told that a key is about to expire, so that each threshold is told once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyExpiryNoticed {
    /// The key.
    pub key_id: ApiKeyId,
    /// The threshold that was reached, in days before the end.
    pub threshold_days: u16,
}

events! {
    /// What can happen to a device's set of API keys.
    ApiKeyEvent {
        /// One was issued.
        Issued(KeyIssued) = ("api_key.issued", 1),
        /// One authenticated for the first time.
        FirstUsed(KeyFirstUsed) = ("api_key.first_used", 1),
        /// One ended before its time.
        Revoked(KeyRevoked) = ("api_key.revoked", 1),
        /// One is about to expire.
        ExpiryNoticed(KeyExpiryNoticed) = ("api_key.expiry_noticed", 1),
    }
}

/// What can be asked of a device's set of API keys.
#[derive(Debug, Clone)]
pub enum ApiKeyCommand {
    /// Give the device its key. `origin` says by which way, and with it what becomes of the keys before.
    Issue(KeyIssued),
    /// Give the device a successor that it asked for with one of its keys: if that key has ended in the meantime, so has
    /// the right to ask.
    Succeed {
        /// The successor.
        issued: KeyIssued,
        /// The key that was presented.
        presented: ApiKeyId,
    },
    /// Record that a key authenticated.
    NoteFirstUse {
        /// The key.
        key_id: ApiKeyId,
    },
    /// End every key.
    RevokeAll {
        /// What makes them end.
        cause: KeyRevocationCause,
        /// What an admin said of it.
        reason: Option<Reason>,
    },
    /// Record that a threshold was reached.
    NoticeExpiry(KeyExpiryNoticed),
}

/// Why a command on a device's API keys was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// The claim is closed: a key has authenticated, or an admin has revoked one, since the claim was last opened.
    #[error("the API key has been claimed")]
    AlreadyClaimed,
    /// The device has no key in force that it could replace by itself: an admin must give it one.
    #[error("the device has no API key to rotate; an admin's rotation gives it one")]
    NothingToRotate,
    /// The set has no such key.
    #[error("there is no such API key")]
    Unknown,
    /// The key has ended.
    #[error("the API key has been revoked")]
    Revoked,
}

/// A device's set of API keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeys {
    keys: Vec<Key>,
    is_claimable: bool,
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self { keys: vec![], is_claimable: true }
    }
}

/// One key of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// As it was issued.
    pub issued: KeyIssued,
    /// Whether it has authenticated.
    pub is_used: bool,
    /// Whether it ended before its time.
    pub is_revoked: bool,
    /// The smallest threshold that was told, in days before the end.
    pub noticed_days: Option<u16>,
}

impl ApiKeys {
    /// Every key that was ever issued, in order.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether the device may fetch a key with its claim secret.
    pub fn is_claimable(&self) -> bool {
        self.is_claimable
    }

    fn unrevoked(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| !key.is_revoked)
    }

    fn find(&self, key_id: ApiKeyId) -> Result<&Key, ApiKeyError> {
        self.keys.iter().find(|key| key.issued.key_id == key_id).ok_or(ApiKeyError::Unknown)
    }

    fn issue(&self, issued: KeyIssued) -> Result<Vec<ApiKeyEvent>, ApiKeyError> {
        if issued.origin == KeyOrigin::Claim && !self.is_claimable {
            return Err(ApiKeyError::AlreadyClaimed);
        }
        if issued.origin == KeyOrigin::DeviceRotation && self.unrevoked().next().is_none() {
            return Err(ApiKeyError::NothingToRotate);
        }
        // A device's own rotation keeps the key in force until the successor is used; only a successor that an
        // earlier rotation left unused gives way.
        let gives_way = |key: &&Key| {
            issued.origin != KeyOrigin::DeviceRotation
                || (key.issued.origin == KeyOrigin::DeviceRotation && !key.is_used)
        };
        let mut events: Vec<_> = self.unrevoked().filter(gives_way).map(superseded).collect();
        events.push(issued.into());
        Ok(events)
    }

    fn note_first_use(&self, key_id: ApiKeyId) -> Result<Vec<ApiKeyEvent>, ApiKeyError> {
        let key = self.find(key_id)?;
        if key.is_revoked {
            return Err(ApiKeyError::Revoked);
        }
        if key.is_used {
            return Ok(vec![]);
        }
        let older =
            self.keys.iter().take_while(|other| other.issued.key_id != key_id).filter(|other| !other.is_revoked);
        let mut events = vec![KeyFirstUsed { key_id }.into()];
        events.extend(older.map(superseded));
        Ok(events)
    }
}

fn superseded(key: &Key) -> ApiKeyEvent {
    KeyRevoked { key_id: key.issued.key_id, cause: KeyRevocationCause::Superseded, reason: None }.into()
}

impl Aggregate for ApiKeys {
    type Command = ApiKeyCommand;
    type Event = ApiKeyEvent;
    type Error = ApiKeyError;

    fn decide(&self, command: Self::Command, _context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        match command {
            ApiKeyCommand::Issue(issued) => self.issue(issued),
            ApiKeyCommand::Succeed { issued, presented } => {
                if self.find(presented)?.is_revoked {
                    return Err(ApiKeyError::Revoked);
                }
                self.issue(issued)
            }
            ApiKeyCommand::NoteFirstUse { key_id } => self.note_first_use(key_id),
            ApiKeyCommand::RevokeAll { cause, reason } => Ok(self
                .unrevoked()
                .map(|key| KeyRevoked { key_id: key.issued.key_id, cause, reason: reason.clone() }.into())
                .collect()),
            ApiKeyCommand::NoticeExpiry(noticed) => {
                let key = self.find(noticed.key_id)?;
                let is_told = key.noticed_days.is_some_and(|told| told <= noticed.threshold_days);
                Ok(if key.is_revoked || is_told { vec![] } else { vec![noticed.into()] })
            }
        }
    }

    fn evolve(mut self, event: &Self::Event) -> Self {
        match event {
            ApiKeyEvent::Issued(issued) => {
                self.is_claimable |= issued.origin == KeyOrigin::AdminRotation;
                self.keys.push(Key { issued: issued.clone(), is_used: false, is_revoked: false, noticed_days: None });
            }
            ApiKeyEvent::FirstUsed(first_used) => {
                self.is_claimable = false;
                self.with_key(first_used.key_id, |key| key.is_used = true);
            }
            ApiKeyEvent::Revoked(revoked) => {
                self.is_claimable &= revoked.cause == KeyRevocationCause::Superseded;
                self.with_key(revoked.key_id, |key| key.is_revoked = true);
            }
            ApiKeyEvent::ExpiryNoticed(noticed) => {
                self.with_key(noticed.key_id, |key| key.noticed_days = Some(noticed.threshold_days));
            }
        }
        self
    }
}

impl ApiKeys {
    fn with_key(&mut self, key_id: ApiKeyId, change: impl FnOnce(&mut Key)) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.issued.key_id == key_id) {
            change(key);
        }
    }
}

//! What the routes work with.

use std::sync::Arc;

use axum::extract::FromRef;
use signalbeam_authn::secrets::SecretKeeper;
use signalbeam_authn::{Authenticator, Problem};
use signalbeam_domain::ValidityBounds;
use signalbeam_event_store::{Clock, EventStore};
use signalbeam_pki::{Authorities, DeviceKeyGenerator, Profiles};
use signalbeam_projections::{CredentialIndex, Freshness, ReadModel};
use tokio::sync::{Mutex, MutexGuard};

use crate::authorities::signing::LastSeen;
use crate::authorities::{self, AuthorityKeeper};
use crate::crl::PublishedCrls;

/// What an operator decides about commands.
#[derive(Debug, Clone, Copy)]
pub struct CommandPolicy {
    /// How long registration tokens live.
    pub registration_token_validity: ValidityBounds,
    /// How long API keys live.
    pub api_key_validity: ValidityBounds,
    /// How many days before its end a certificate may be renewed whose profile is not configured.
    pub renewal_window_days: u16,
    /// How many seconds an EST client waits before it asks again whether its device was approved.
    pub est_retry_after_seconds: u32,
}

impl Default for CommandPolicy {
    fn default() -> Self {
        Self {
            registration_token_validity: ValidityBounds::REGISTRATION_TOKEN,
            api_key_validity: ValidityBounds::API_KEY,
            renewal_window_days: 30,
            est_retry_after_seconds: 60,
        }
    }
}

/// What a [`CommandApi`] is made of.
pub struct Parts {
    /// The event log.
    pub store: Arc<dyn EventStore>,
    /// Credentials and devices, as this node knows them.
    pub index: Arc<CredentialIndex>,
    /// The tables, for finding things by what is not their stream's id.
    pub read_model: Arc<ReadModel>,
    /// Told of every position that this node appends.
    pub freshness: Freshness,
    /// Decides who is calling.
    pub authenticator: Arc<Authenticator>,
    /// Makes verifiers of secrets.
    pub keeper: Arc<SecretKeeper>,
    /// Sign certificates.
    pub authorities: Authorities,
    /// What certificates say.
    pub profiles: Profiles,
    /// The revocation lists that are served.
    pub crls: Arc<PublishedCrls>,
    /// Knows where the authorities' keys are.
    pub keeper_of_authorities: Arc<AuthorityKeeper>,
    /// Makes keys for clients without one.
    pub device_keys: Arc<DeviceKeyGenerator>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What the operator decided.
    pub policy: CommandPolicy,
}

/// The routes' state: cheap to clone.
#[derive(Clone)]
pub struct CommandApi(Arc<Shared>);

struct Shared {
    parts: Parts,
    authority_changes: Mutex<()>,
    last_seen_signing: LastSeen,
}

impl CommandApi {
    /// Takes its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared { parts, authority_changes: Mutex::default(), last_seen_signing: LastSeen::default() }))
    }

    /// Changes of the authorities take their turn: each begins with what the one before it has left.
    pub(crate) async fn authority_turn(&self) -> MutexGuard<'_, ()> {
        self.0.authority_changes.lock().await
    }

    pub(crate) fn last_seen_signing(&self) -> &LastSeen {
        &self.0.last_seen_signing
    }

    /// Puts in force what the log says of the authorities now.
    pub(crate) async fn reload_authorities(&self) -> Result<(), Problem> {
        let refreshed = self.keeper_of_authorities.refresh(&*self.store, &self.authorities).await;
        refreshed.map_err(|error| authorities::unavailable(&error))
    }
}

impl std::fmt::Debug for CommandApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandApi").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl std::ops::Deref for CommandApi {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl FromRef<CommandApi> for Arc<Authenticator> {
    fn from_ref(state: &CommandApi) -> Self {
        Arc::clone(&state.authenticator)
    }
}

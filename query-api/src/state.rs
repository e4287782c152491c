//! What the routes work with.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::FromRef;
use signalbeam_authn::Authenticator;
use signalbeam_domain::{AuthorityId, Timestamp};
use signalbeam_projections::{AuditLog, CertificateEntry, Clock, CredentialIndex, EventReader, Freshness, ReadModel};
use tokio::sync::Semaphore;

/// The certificates of the authorities that devices trust.
#[derive(Debug, Clone)]
pub struct CaCertificates {
    /// All of them in PEM, the root of the one that signs first.
    pub pem: String,
    /// The root of the one that signs, DER.
    pub root_der: Vec<u8>,
    /// Every authority's own, also of those that are trusted no longer.
    pub by_authority: BTreeMap<AuthorityId, AuthorityCertificate>,
}

/// An authority's own certificate.
#[derive(Debug, Clone)]
pub struct AuthorityCertificate {
    /// DER.
    pub der: Vec<u8>,
    /// PEM.
    pub pem: String,
}

/// What a [`QueryApi`] is made of.
pub struct Parts {
    /// The tables.
    pub read_model: ReadModel,
    /// Credentials and devices, as this node knows them.
    pub index: Arc<CredentialIndex>,
    /// Knows how far the tables have come.
    pub freshness: Freshness,
    /// The event log.
    pub events: Arc<dyn EventReader>,
    /// The authentication log.
    pub audit: Arc<dyn AuditLog>,
    /// Decides who is calling.
    pub authenticator: Arc<Authenticator>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What devices trust; it changes while the server runs.
    pub ca: Arc<dyn Fn() -> CaCertificates + Send + Sync>,
    /// How many days before its end a certificate of a profile may be renewed.
    pub renewal_window_days: Arc<dyn Fn(&str) -> u16 + Send + Sync>,
}

/// How many queries may wait for a position at a time. A query that waits is one of those that the server answers at a
/// time: without a bound, whoever names positions that never come would keep everybody else out.
const WAITS: usize = 256;
/// The same for queries that need no credential.
const STRANGERS_WAITS: usize = 32;

/// The routes' state: cheap to clone.
#[derive(Clone)]
pub struct QueryApi {
    parts: Arc<Parts>,
    pub(crate) waits: Arc<Semaphore>,
    pub(crate) strangers_waits: Arc<Semaphore>,
}

impl QueryApi {
    /// Takes its parts.
    pub fn new(parts: Parts) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { parts: Arc::new(parts), waits: semaphore(WAITS), strangers_waits: semaphore(STRANGERS_WAITS) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The moment from which a certificate may be renewed.
    pub(crate) fn renewable_from(&self, certificate: &CertificateEntry) -> Timestamp {
        self.index.renewable_from(certificate, (self.renewal_window_days)(certificate.profile))
    }
}

impl std::fmt::Debug for QueryApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryApi").finish_non_exhaustive()
    }
}

impl std::ops::Deref for QueryApi {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl FromRef<QueryApi> for Arc<Authenticator> {
    fn from_ref(state: &QueryApi) -> Self {
        Arc::clone(&state.authenticator)
    }
}

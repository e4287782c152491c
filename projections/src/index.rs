//! The credential index: what the authentication path needs to know of every device, key and certificate, in memory.
//!
//! One feeder applies events in the order of the log; nobody else writes. Reads take one shared lock for some
//! nanoseconds, allocate nothing and never wait for I/O.

mod admin_tokens;
mod entries;
mod fact;
mod load;
mod state;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use signalbeam_domain::certificate::{RenewalWindow, renewable_from};
use signalbeam_domain::{
    AdminTokenId, AuthorityId, DeviceId, Fingerprint, Position, Prefix, SerialNumber, TenantId, Timestamp, TokenIssuer,
};
use signalbeam_event_store::{EventReader, Recorded, SubscriptionItem};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::entries::{ApiKeyEntry, CertificateEntry, DeviceEntry};
use self::fact::Fact;
use self::state::State;
use crate::progress::{Behind, Progress, ProjectionFailure};
use crate::tables::Tables;

/// How often the log is asked for its head, by which the index knows how fresh it is.
const HEAD_INTERVAL: Duration = Duration::from_millis(250);

/// How many events are applied while the readers wait.
const EVENTS_PER_LOCK: usize = 256;

/// Over how many days the certificates of an authority are renewed once another one signs.
const RENEWED_AFTER_ROTATION_DAYS: i64 = 7;

/// The index was not ready in the time that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the credential index is not complete yet")]
pub struct NotReady;

/// Every device, API key and certificate, as the log has them. Ended credentials stay known until 30 days after their
/// expiry, so that whoever presents one is told why it is refused.
#[derive(Debug)]
pub struct CredentialIndex {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    progress: Progress,
    completeness: Completeness,
}

/// Since when the index is known to be complete: by the monotonic clock, which no one sets.
#[derive(Debug)]
struct Completeness {
    base: Instant,
    /// Nanoseconds after `base`; 0 where it has never been complete.
    complete_as_of: AtomicU64,
    is_ready: watch::Sender<bool>,
}

impl CredentialIndex {
    /// Starts an index: it loads what the tables hold, catches up from the log, then follows it, until it is dropped.
    /// Without tables it reads the whole log. It is ready once it has reached what was the log's head.
    pub fn start(reader: Arc<dyn EventReader>, tables: Option<Tables>) -> Arc<Self> {
        let shared = Arc::new(Shared::empty());
        let feeder = tokio::spawn(feed(reader.clone(), tables, shared.clone()));
        let watcher = tokio::spawn(watch_head(reader, shared.clone()));
        Arc::new(Self { shared, tasks: vec![feeder, watcher] })
    }

    /// An index that nothing feeds but [`CredentialIndex::apply`]; complete with these events.
    ///
    /// # Errors
    /// [`ProjectionFailure`] where an event cannot be read.
    pub fn from_events(events: &[Recorded]) -> Result<Self, ProjectionFailure> {
        let index = Self { shared: Arc::new(Shared::empty()), tasks: vec![] };
        index.apply(events)?;
        Ok(index)
    }

    /// Applies the next events of the log to an index that nothing else feeds; it counts as complete at this moment.
    ///
    /// # Errors
    /// [`ProjectionFailure`] where an event cannot be read. The index has failed then.
    pub fn apply(&self, events: &[Recorded]) -> Result<(), ProjectionFailure> {
        let applied = self.shared.apply(events);
        match &applied {
            Ok(()) => self.shared.completeness.complete(Instant::now()),
            Err(failure) => self.shared.progress.fail(failure.clone()),
        }
        applied
    }

    /// A device's tenant and status.
    pub fn device(&self, id: DeviceId) -> Option<DeviceEntry> {
        self.shared.read().device(id)
    }

    /// Whether the device's own list of networks permits an address; without one, every address.
    pub fn permits_address(&self, id: DeviceId, address: IpAddr) -> bool {
        self.shared.read().permits_address(id, address)
    }

    /// How many devices of a tenant are pending, approved or suspended.
    pub fn devices_in_service(&self, tenant_id: TenantId) -> usize {
        self.shared.read().devices_in_service(tenant_id)
    }

    /// A device's certificate, by its fingerprint: the only lookup that a presented certificate may be judged by.
    pub fn certificate(&self, fingerprint: &Fingerprint) -> Option<CertificateEntry> {
        self.shared.read().certificate(fingerprint)
    }

    /// A device's certificate, by its serial number.
    pub fn certificate_by_serial(&self, serial_number: SerialNumber) -> Option<CertificateEntry> {
        self.shared.read().certificate_by_serial(serial_number)
    }

    /// The device's certificate that is neither superseded nor revoked, whether or not it has expired.
    pub fn active_certificate(&self, id: DeviceId) -> Option<CertificateEntry> {
        self.shared.read().active_certificate(id)
    }

    /// Since when an authority does not sign any more, where it does not.
    pub fn authority_rotated_at(&self, id: AuthorityId) -> Option<Timestamp> {
        self.shared.read().authority_rotated_at(id)
    }

    /// When a certificate should be renewed earlier than its end demands, where it should: its device was asked to, or the
    /// authority that signed it does not sign any more. The window that opens first counts.
    pub fn early_renewal(&self, certificate: &CertificateEntry) -> Option<RenewalWindow> {
        let state = self.shared.read();
        let rotated_at = state.authority_rotated_at(certificate.authority_id);
        let after_rotation =
            rotated_at.map(|start| RenewalWindow { start, end: start.plus_days(RENEWED_AFTER_ROTATION_DAYS) });
        let requested = state.requested_renewal(certificate.serial_number);
        [requested, after_rotation].into_iter().flatten().min_by_key(|window| window.start)
    }

    /// Whether what took the place of a superseded certificate, or of its successor, has authenticated.
    pub fn has_used_successor(&self, certificate: &CertificateEntry) -> bool {
        self.shared.read().has_used_successor(certificate)
    }

    /// The moment from which a certificate may be renewed, whose window opens so many days before its end.
    pub fn renewable_from(&self, certificate: &CertificateEntry, window_days: u16) -> Timestamp {
        let before_its_end = renewable_from(certificate.not_after, window_days);
        self.early_renewal(certificate).map_or(before_its_end, |early| early.start.min(before_its_end))
    }

    /// When the device's newest API key that is not revoked expires, or has expired.
    pub fn api_key_expiry(&self, id: DeviceId) -> Option<Timestamp> {
        self.shared.read().newest_api_key(id).map(|key| key.expires_at)
    }

    /// Shows `judge` the API keys under a prefix: none, one, or the few whose prefixes collide. It runs while the index
    /// cannot change, so it must be quick and must not ask the index anything.
    pub fn api_keys<R>(&self, prefix: Prefix, judge: impl FnOnce(&[ApiKeyEntry]) -> R) -> R {
        judge(self.shared.read().api_keys(prefix))
    }

    /// Whether an admin token is revoked: by its id, or, where this installation issued it, by when it did. What the index
    /// says counts only while it is ready and fresh.
    pub fn has_revoked_admin_token(
        &self,
        issuer: &TokenIssuer,
        jti: Option<&AdminTokenId>,
        issued_at: Option<Timestamp>,
    ) -> bool {
        self.shared.read().admin_tokens.covers(issuer, jti, issued_at)
    }

    /// How far the index has come.
    pub fn position(&self) -> Position {
        self.shared.progress.position()
    }

    /// Waits until the index has come to a position.
    ///
    /// # Errors
    /// [`Behind`] where it has not by then, or has stopped before it.
    pub async fn wait_for(&self, position: Position, timeout: Duration) -> Result<(), Behind> {
        self.shared.progress.wait_for(position, timeout).await
    }

    /// How long ago the index was last known to hold everything that the log held; `Duration::MAX` where it never was or
    /// has stopped. Taken from the monotonic clock, and from before the log was asked.
    pub fn age(&self) -> Duration {
        if self.shared.progress.has_failed() { Duration::MAX } else { self.shared.completeness.age() }
    }

    /// Whether it has been complete once and has not stopped. Before that, nobody can be authenticated.
    pub fn is_ready(&self) -> bool {
        *self.shared.completeness.is_ready.borrow() && !self.shared.progress.has_failed()
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// [`NotReady`] where it is not by then.
    pub async fn wait_until_ready(&self, timeout: Duration) -> Result<(), NotReady> {
        let mut readiness = self.shared.completeness.is_ready.subscribe();
        let waited = tokio::time::timeout(timeout, readiness.wait_for(|is_ready| *is_ready)).await;
        if waited.is_ok() && self.is_ready() { Ok(()) } else { Err(NotReady) }
    }

    /// Why it stopped, where it has. What it shows is old from then on; authentication must refuse everybody.
    pub fn failure(&self) -> Option<ProjectionFailure> {
        self.shared.progress.failure()
    }

    /// How many devices, API keys and certificates it holds.
    pub fn sizes(&self) -> (usize, usize, usize) {
        self.shared.read().sizes()
    }
}

impl Drop for CredentialIndex {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn empty() -> Self {
        let completeness = Completeness {
            base: Instant::now(),
            complete_as_of: AtomicU64::new(0),
            is_ready: watch::Sender::new(false),
        };
        Self { state: RwLock::default(), progress: Progress::default(), completeness }
    }

    /// A poisoned lock would mean that the feeder panicked; the index then ages until it is refused.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, events: &[Recorded]) -> Result<(), ProjectionFailure> {
        for events in events.chunks(EVENTS_PER_LOCK) {
            // Read outside of the lock, changed inside of it.
            let facts: Vec<_> = events.iter().map(Fact::read).collect::<Result<_, _>>()?;
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for (fact, recorded) in facts.into_iter().zip(events) {
                state.apply(fact, recorded.envelope.recorded_at);
            }
            drop(state);
            if let Some(last) = events.last() {
                self.progress.reach(last.envelope.position);
            }
        }
        Ok(())
    }

    fn replace(&self, state: State, position: Position) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.progress.reach(position);
    }
}

impl Completeness {
    fn complete(&self, as_of: Instant) {
        let since_base = as_of.saturating_duration_since(self.base);
        let nanoseconds = u64::try_from(since_base.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.complete_as_of.fetch_max(nanoseconds, Ordering::Release);
        self.is_ready.send_if_modified(|is_ready| !std::mem::replace(is_ready, true));
    }

    fn age(&self) -> Duration {
        match self.complete_as_of.load(Ordering::Acquire) {
            0 => Duration::MAX,
            nanoseconds => self.base.elapsed().saturating_sub(Duration::from_nanos(nanoseconds)),
        }
    }
}

async fn feed(reader: Arc<dyn EventReader>, tables: Option<Tables>, shared: Arc<Shared>) {
    if let Some(tables) = tables {
        match load::load(&tables).await {
            Ok((state, checkpoint)) => shared.replace(state, checkpoint.position),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the credential index reads the whole log, since the tables cannot be read");
            }
        }
    }
    let mut items = reader.subscribe(shared.progress.position());
    while let Some(item) = items.next().await {
        match item {
            SubscriptionItem::Events(events) => {
                if let Err(failure) = shared.apply(&events) {
                    let error = &failure as &dyn std::error::Error;
                    tracing::error!(error, "the credential index has stopped: nobody can be authenticated");
                    shared.progress.fail(failure);
                    return;
                }
            }
            SubscriptionItem::CaughtUp(position) => shared.progress.reach(position),
            SubscriptionItem::Failed(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the credential index cannot read the log");
            }
        }
    }
}

/// Asks the log again and again where it ends. Once the index has come that far, it was complete at the moment of asking,
/// however long the events were on their way.
async fn watch_head(reader: Arc<dyn EventReader>, shared: Arc<Shared>) {
    loop {
        let asked = Instant::now();
        if let Ok(head) = reader.head().await {
            if shared.progress.reached(head).await.is_err() {
                return;
            }
            shared.completeness.complete(asked);
        }
        tokio::time::sleep_until((asked + HEAD_INTERVAL).into()).await;
    }
}

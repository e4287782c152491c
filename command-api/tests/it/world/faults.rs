//! A store, an audit log and a key store that do their work until a test tells them to fail, or to wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use signalbeam_domain::{ActorKind, Category, Digest, EventId, Position, StreamId};
use signalbeam_event_store::{
    AppendError, Appended, AttemptFilter, AttemptPage, AttemptScan, AuditError, AuditLog, AuditReader,
    AuthenticationAttempt, Batch, EventReader, EventStore, Filter, MemoryAuditLog, MemoryEventStore, Page, Recorded,
    RecordedCommand, StoreError, Subscription, UsageSummary,
};
use signalbeam_pki::{
    BlockingPool, CaKeyStore, CaKeyStores, CaKeyType, CaMaterial, CaPublicKey, KeySlot, KeyStoreError, MemoryKeyStore,
    MemoryKeyStores,
};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Something that can be broken and mended.
#[derive(Debug, Default)]
pub(crate) struct Switch(AtomicBool);

impl Switch {
    pub(crate) fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::SeqCst);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// An event store whose reads, appends and deliveries can be made to fail.
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryEventStore,
    /// Reading fails.
    pub(crate) reads_fail: Switch,
    /// Told of every read that failed.
    pub(crate) failed_reads: Notify,
    /// Appending fails.
    pub(crate) appends_fail: Switch,
    /// After so many appends that record something, appending fails.
    pub(crate) appends_left: Mutex<Option<usize>>,
    /// Subscribers get nothing while this holds.
    pub(crate) is_frozen: watch::Sender<bool>,
    /// Whose appends wait.
    held: watch::Sender<Option<ActorKind>>,
    held_arrivals: Semaphore,
}

impl FaultyStore {
    pub(crate) fn new(inner: MemoryEventStore) -> Self {
        Self {
            inner,
            reads_fail: Switch::default(),
            failed_reads: Notify::new(),
            appends_fail: Switch::default(),
            appends_left: Mutex::default(),
            is_frozen: watch::Sender::default(),
            held: watch::Sender::default(),
            held_arrivals: Semaphore::new(0),
        }
    }

    /// Lets every append that records something by actors of this kind wait until [`Self::release`]: it has been decided by then.
    pub(crate) fn hold(&self, kind: ActorKind) {
        self.held.send_replace(Some(kind));
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(None);
    }

    /// Waits until somebody is held.
    pub(crate) async fn held_arrival(&self) {
        self.held_arrivals.acquire().await.unwrap().forget();
    }

    /// Whether one more append may be made.
    fn take_one(&self) -> bool {
        let mut left = self.appends_left.lock().unwrap();
        let Some(number) = left.as_mut() else { return true };
        let may = *number > 0;
        *number = number.saturating_sub(1);
        may
    }

    /// Gives way to other tasks first, as every store does that waits for a disk.
    async fn readable(&self) -> Result<&MemoryEventStore, StoreError> {
        tokio::task::yield_now().await;
        if self.reads_fail.is_on() {
            self.failed_reads.notify_one();
            return Err(broken());
        }
        Ok(&self.inner)
    }
}

fn broken() -> StoreError {
    StoreError::because("reading")(std::io::Error::other("the disk is gone"))
}

#[async_trait]
impl EventReader for FaultyStore {
    async fn read_stream(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        self.readable().await?.read_stream(stream).await
    }

    async fn read_all(&self, after: Position, limit: usize, filter: &Filter) -> Result<Page, StoreError> {
        self.readable().await?.read_all(after, limit, filter).await
    }

    async fn streams_of(&self, category: Category) -> Result<Vec<StreamId>, StoreError> {
        self.readable().await?.streams_of(category).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        self.readable().await?.event(id).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.readable().await?.head().await
    }

    async fn command(&self, command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        self.readable().await?.command(command_id).await
    }

    fn subscribe(&self, after: Position) -> Subscription {
        let mut source = self.inner.subscribe(after);
        let mut is_frozen = self.is_frozen.subscribe();
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Some(item) = source.next().await {
                let is_open = is_frozen.wait_for(|is_frozen| !is_frozen).await.is_ok();
                if !is_open || sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        Subscription::new(receiver)
    }
}

#[async_trait]
impl EventStore for FaultyStore {
    async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        tokio::task::yield_now().await;
        if self.appends_fail.is_on() {
            return Err(broken().into());
        }
        let records_something = batch.writes.iter().any(|write| !write.events.is_empty());
        if records_something && !self.take_one() {
            return Err(broken().into());
        }
        let is_held = |held: &Option<ActorKind>| records_something && *held == Some(batch.metadata.actor.kind);
        if is_held(&self.held.borrow()) {
            self.held_arrivals.add_permits(1);
            let _ = self.held.subscribe().wait_for(|held| !is_held(held)).await;
        }
        self.inner.append(batch).await
    }
}

/// An audit log that can be made to fail.
#[derive(Debug, Default)]
pub(crate) struct FaultyAudit {
    inner: MemoryAuditLog,
    pub(crate) writes_fail: Switch,
}

#[async_trait]
impl AuditReader for FaultyAudit {
    async fn head(&self) -> Result<i64, AuditError> {
        self.inner.head().await
    }

    async fn scan(
        &self,
        filter: &AttemptFilter,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Result<AttemptScan, AuditError> {
        self.inner.scan(filter, after, through, limit).await
    }
}

#[async_trait]
impl AuditLog for FaultyAudit {
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        if self.writes_fail.is_on() {
            return Err(AuditError::because("writing")(std::io::Error::other("the disk is full")));
        }
        self.inner.record(attempts).await
    }

    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError> {
        self.inner.query(filter, after, limit).await
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        self.inner.usage_after(row, limit).await
    }
}

/// A key store that can be made to fail, or to wait in the middle of a signature.
#[derive(Debug)]
pub(crate) struct GatedKeys {
    inner: MemoryKeyStore,
    pub(crate) signing_fails: Switch,
    is_closed: watch::Sender<bool>,
    arrivals: Semaphore,
}

impl GatedKeys {
    pub(crate) fn new(inner: MemoryKeyStore) -> Self {
        Self {
            inner,
            signing_fails: Switch::default(),
            is_closed: watch::Sender::default(),
            arrivals: Semaphore::new(0),
        }
    }

    /// Lets every signature wait until [`Self::open`].
    pub(crate) fn close(&self) {
        self.is_closed.send_replace(true);
    }

    pub(crate) fn open(&self) {
        self.is_closed.send_replace(false);
    }

    /// Waits until somebody wants a signature.
    pub(crate) async fn arrival(&self) {
        self.arrivals.acquire().await.unwrap().forget();
    }
}

/// The gated keys in the main slot, and keys that nothing holds up in every other.
#[derive(Debug)]
pub(crate) struct GatedPlaces {
    main: Arc<GatedKeys>,
    others: MemoryKeyStores,
}

impl GatedPlaces {
    pub(crate) fn new(main: Arc<GatedKeys>) -> Self {
        Self { main, others: MemoryKeyStores::new(BlockingPool::new(2)) }
    }
}

impl CaKeyStores for GatedPlaces {
    fn open(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError> {
        if slot.is_main() { Ok(self.main.clone()) } else { self.others.open(slot) }
    }
}

#[async_trait]
impl CaKeyStore for GatedKeys {
    async fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        self.inner.load().await
    }

    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        self.inner.create_key(key_type).await
    }

    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        self.inner.store_certificate(certificate).await
    }

    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        if self.signing_fails.is_on() {
            return Err(KeyStoreError::Signing("the token was pulled out".into()));
        }
        if *self.is_closed.borrow() {
            self.arrivals.add_permits(1);
            let _ = self.is_closed.subscribe().wait_for(|is_closed| !is_closed).await;
        }
        self.inner.sign(to_be_signed).await
    }
}

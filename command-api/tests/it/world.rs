//! A whole node in memory, with a clock that a test sets, and with a store, an audit log and a key store that fail when
//! told to.

pub(crate) mod call;
pub(crate) mod faults;
pub(crate) mod fleet;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_authn::http::context::provide_request_context;
use signalbeam_authn::limits::headers::announce_limits;
use signalbeam_authn::log_lock::LogLock;
use signalbeam_authn::secrets::{KeyOctets, SecretKeeper};
use signalbeam_authn::{AdminPrincipal, AdminTokens, AuthenticationPolicy, Authenticator, Limits, Role, authenticator};
use signalbeam_command_api::authorities::{AuthorityKeeper, Hierarchy};
use signalbeam_command_api::{CommandApi, CommandPolicy, Parts, router};
use signalbeam_domain::{Event, Position, StreamId, TenantId, Timestamp};
use signalbeam_event_store::{
    AttemptFilter, AuditLog, AuthenticationAttempt, Clock, EventReader, Filter, MemoryEventStore, Recorded,
};
use signalbeam_pki::{
    Authorities, AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, DeviceKeyGenerator, MemoryKeyStore,
};
use signalbeam_projections::{CredentialIndex, Freshness, Projector, ReadModel, Tables};
use tempfile::TempDir;

use self::call::Call;
use self::faults::{FaultyAudit, FaultyStore, GatedKeys, GatedPlaces};

/// Two customers.
pub(crate) const TENANT_A: &str = "018f3c5e-7b1a-7cc2-9d3e-0000000000aa";
pub(crate) const TENANT_B: &str = "018f3c5e-7b1a-7cc2-9d3e-0000000000bb";
/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const START: &str = "2026-01-31T12:00:00Z";

pub(crate) fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance_days(&self, days: i64) {
        self.advance_seconds(days * 86_400);
    }

    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, moment: Timestamp) {
        self.0.store(moment.unix_microseconds(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_microseconds(self.0.load(Ordering::SeqCst))
    }
}

/// A node, and handles on what it is made of.
pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) audit: Arc<FaultyAudit>,
    pub(crate) keys: Arc<GatedKeys>,
    pub(crate) index: Arc<CredentialIndex>,
    pub(crate) projector: Arc<Projector>,
    pub(crate) authority: Arc<CertificateAuthority>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) authorities: Authorities,
    pub(crate) log_lock: LogLock,
    pub(crate) limits: Arc<Limits>,
    pub(crate) router: Router,
    /// Its routes, with nothing around them.
    bare: Router,
    pub(crate) documentation: utoipa::openapi::OpenApi,
    admins: AdminTokens,
    _folder: TempDir,
}

fn key_octets(fill: u8) -> KeyOctets {
    KeyOctets::parse(&URL_SAFE_NO_PAD.encode([fill; 32])).unwrap()
}

fn behind(routes: &Router, proxies: TrustedProxies) -> Router {
    routes.clone().layer(from_fn(announce_limits)).layer(from_fn_with_state(Arc::new(proxies), provide_request_context))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(AuthenticationPolicy::default()).await
    }

    pub(crate) async fn with(policy: AuthenticationPolicy) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(Timestamp::parse(START).unwrap().unix_microseconds())));
        let store = Arc::new(FaultyStore::new(MemoryEventStore::new(clock.clone())));
        let audit = Arc::new(FaultyAudit::default());
        let keys = Arc::new(GatedKeys::new(MemoryKeyStore::new(BlockingPool::new(2))));
        let settings = AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
        let places = Arc::new(GatedPlaces::new(keys.clone()));
        let keeper_of_authorities = Arc::new(AuthorityKeeper::new(places, settings));
        let opened = keeper_of_authorities.open(&*store, &*clock, Hierarchy::Root).await.unwrap();
        let authority = opened.set.signing().clone();
        let authorities = Authorities::new(opened.set);

        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(&folder.path().join("projections.db"), &*store).await.unwrap();
        let projector = Arc::new(Projector::start(store.clone(), tables.clone()));
        let index = CredentialIndex::start(store.clone(), None);
        index.wait_until_ready(PATIENCE).await.unwrap();

        let keeper = Arc::new(SecretKeeper::new(&key_octets(1), &[], 4, 4));
        let limits: Arc<Limits> = Arc::default();
        let authenticator = Arc::new(Authenticator::new(authenticator::Parts {
            store: store.clone(),
            index: index.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            admins: AdminTokens::new(&key_octets(2)),
            keeper: keeper.clone(),
            authorities: authorities.clone(),
            policy,
            limits: limits.clone(),
        }));
        let log_lock = authenticator.log_lock().clone();
        let state = CommandApi::new(Parts {
            store: store.clone(),
            index: index.clone(),
            read_model: Arc::new(ReadModel::new(tables)),
            freshness: Freshness::new(projector.clone()),
            authenticator: Arc::clone(&authenticator),
            keeper,
            authorities: authorities.clone(),
            keeper_of_authorities,
            device_keys: Arc::new(DeviceKeyGenerator::new(BlockingPool::new(2))),
            clock: clock.clone(),
            policy: CommandPolicy::default(),
        });
        let (bare, documentation) = router(state).split_for_parts();
        let router = behind(&bare, TrustedProxies::default());
        let admins = AdminTokens::new(&key_octets(2));
        Self {
            clock,
            store,
            audit,
            keys,
            index,
            projector,
            authority,
            authorities,
            bare,
            limits,
            authenticator,
            log_lock,
            router,
            documentation,
            admins,
            _folder: folder,
        }
    }

    /// Believes these proxies from now on, as after a reload.
    pub(crate) fn trust(&mut self, proxies: TrustedProxies) {
        self.router = behind(&self.bare, proxies);
    }

    pub(crate) fn post(&self, path: impl Into<String>) -> Call<'_> {
        Call::new(self, "POST", path)
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        Call::new(self, "DELETE", path)
    }

    pub(crate) fn patch(&self, path: impl Into<String>) -> Call<'_> {
        Call::new(self, "PATCH", path)
    }

    /// An admin token that is valid for an hour.
    pub(crate) fn admin_token(&self, role: Role, tenant_id: Option<&str>) -> String {
        let admin = AdminPrincipal { subject: format!("{role}@example"), role, tenant_id: tenant_id.map(tenant) };
        self.admins.sign(&admin, self.clock.now(), 3_600).unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Every attempt in the audit log, oldest first.
    pub(crate) async fn attempts(&self) -> Vec<AuthenticationAttempt> {
        let page = self.audit.query(&AttemptFilter::default(), None, 100_000).await.unwrap();
        page.attempts.into_iter().rev().collect()
    }

    /// The attempts that `during` leads to, as (method, code or "ok").
    pub(crate) async fn attempts_during<T>(&self, during: impl Future<Output = T>) -> (T, Vec<(String, String)>) {
        let before = self.attempts().await.len();
        let result = during.await;
        let described = self.attempts().await.split_off(before).into_iter().map(|attempt| {
            assert_eq!(attempt.success, attempt.failure_code.is_none());
            assert_eq!(attempt.success, attempt.failure_reason.is_none());
            (attempt.method.as_str().to_owned(), attempt.failure_code.unwrap_or_else(|| "ok".into()))
        });
        (result, described.collect())
    }

    /// The event log without what made the certificate authority.
    pub(crate) async fn log(&self) -> Vec<Recorded> {
        self.store.read_all(Position(2), 1_000_000, &Filter::default()).await.unwrap().events
    }

    /// The types of the events in a stream.
    pub(crate) async fn types(&self, stream: &StreamId) -> Vec<&'static str> {
        let recorded = self.store.read_stream(stream).await.unwrap();
        recorded.iter().map(|recorded| recorded.event().unwrap().event_type()).collect()
    }

    /// The events of a stream.
    pub(crate) async fn events(&self, stream: &StreamId) -> Vec<Event> {
        let recorded = self.store.read_stream(stream).await.unwrap();
        recorded.iter().map(|recorded| recorded.event().unwrap()).collect()
    }

    /// Whatever came in, what is derived from the log still follows it.
    pub(crate) async fn assert_projections_follow(&self) {
        let head = self.store.head().await.unwrap();
        self.index.wait_for(head, PATIENCE).await.unwrap();
        self.projector.wait_for(head, PATIENCE).await.unwrap();
        assert!(self.index.failure().is_none() && self.projector.failure().is_none());
    }
}

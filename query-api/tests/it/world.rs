//! A small installation: two tenants, a log, its tables and its index, and the routes over them.

pub(crate) mod facts;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_authn::http::context::provide_request_context;
use signalbeam_authn::limits::tenants::TenantPolicy;
use signalbeam_authn::secrets::{KeyOctets, SecretKeeper};
use signalbeam_authn::{
    AdminPrincipal, AdminTokens, AuthenticationPolicy, Authenticator, Connection, Limits, Role, authenticator,
};
use signalbeam_domain::{
    Actor, ActorKind, CorrelationId, Event, Position, SerialNumber, StreamId, TenantId, Timestamp,
};
use signalbeam_event_store::{
    AuditLog, Batch, Clock, CommandMetadata, EventStore, ExpectedVersion, MemoryAuditLog, MemoryEventStore,
    StreamWrite, new_events,
};
use signalbeam_pki::authority::AuthoritySettings;
use signalbeam_pki::{Authorities, BlockingPool, CaKeyType, CertificateAuthority, MemoryKeyStore};
use signalbeam_projections::usage::keep_counting;
use signalbeam_projections::{CredentialIndex, Freshness, Projector, ReadModel, Tables};
use signalbeam_query_api::{AuthorityCertificate, CaCertificates, Parts, QueryApi};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use uuid::Uuid;

pub(crate) const WINDOW_DAYS: u16 = 30;
const LONG_ENOUGH: Duration = Duration::from_secs(20);

/// Midnight of a day, counted from 2026-01-01.
pub(crate) fn day(number: i64) -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap().plus_days(number)
}

pub(crate) fn tenant(number: u128) -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(0x018f_3c5e_7b1a_7cc2_9d3e_0000_0000_0000 | number))
}

pub(crate) fn correlation_id() -> CorrelationId {
    CorrelationId::parse("test").unwrap()
}

/// A clock that stands until it is set.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_microseconds(self.0.load(Ordering::SeqCst))
    }
}

/// What a request presents.
#[derive(Debug, Clone)]
pub(crate) enum As {
    Nobody,
    Bearer(String),
    ApiKey(String),
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The body of a 200.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        self.json()
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<Value> {
        self.ok()["items"].as_array().unwrap().clone()
    }

    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        (self.status.as_u16(), self.json()["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<MemoryEventStore>,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) freshness: Freshness,
    pub(crate) keeper: Arc<SecretKeeper>,
    pub(crate) authority: Arc<CertificateAuthority>,
    clock: Arc<SetClock>,
    pub(crate) index: Arc<CredentialIndex>,
    router: Router,
    _usage: JoinSet<()>,
    _folder: TempDir,
}

fn key(fill: u8) -> KeyOctets {
    KeyOctets::parse(&URL_SAFE_NO_PAD.encode([fill; 32])).unwrap()
}

impl World {
    /// On day 0, empty.
    pub(crate) async fn new() -> Self {
        Self::with_audit(Arc::new(MemoryAuditLog::new())).await
    }

    /// The same with another authentication log.
    pub(crate) async fn with_audit(audit: Arc<dyn AuditLog>) -> Self {
        let clock = Arc::new(SetClock(AtomicI64::new(day(0).unix_microseconds())));
        let store = Arc::new(MemoryEventStore::new(clock.clone()));
        let folder = TempDir::new().unwrap();
        let tables = Tables::open(&folder.path().join("projections.db"), &*store).await.unwrap();
        let index = CredentialIndex::start(store.clone(), Some(tables.clone()));
        let mut usage = JoinSet::new();
        let counted = (audit.clone(), tables.clone());
        usage.spawn(async move { keep_counting(&*counted.0, &counted.1, Duration::from_millis(5)).await });
        let freshness = Freshness::new(Arc::new(Projector::start(store.clone(), tables.clone())));
        index.wait_until_ready(LONG_ENOUGH).await.unwrap();
        let keeper = Arc::new(SecretKeeper::new(&key(1), &[], 4, 1));
        let settings = AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
        let keys = Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
        let serial = SerialNumber::from_random([0xca; 20]);
        let now = clock.now().to_offset_date_time();
        let authority = Arc::new(CertificateAuthority::open_or_create(keys, settings, now, serial).await.unwrap());
        let authenticator = Arc::new(Authenticator::new(authenticator::Parts {
            store: store.clone(),
            index: index.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            admins: AdminTokens::new(&key(2)),
            keeper: keeper.clone(),
            authorities: Authorities::of_one(authority.clone()).unwrap(),
            policy: AuthenticationPolicy::default(),
            // Rates are tested where they are limited; here a refusal is never hidden by one of too many.
            limits: Arc::new(Limits::new(None, TenantPolicy::default())),
        }));
        let api = QueryApi::new(Parts {
            read_model: ReadModel::new(tables),
            index: index.clone(),
            freshness: freshness.clone(),
            events: store.clone(),
            audit: audit.clone(),
            authenticator,
            clock: clock.clone(),
            ca: {
                let (pem, root_der) = (authority.certificate_pem(), authority.root_der().to_vec());
                let own = AuthorityCertificate { der: authority.certificate_der().to_vec(), pem: pem.clone() };
                let by_authority = BTreeMap::from([(authority.id(), own)]);
                Arc::new(move || CaCertificates {
                    pem: pem.clone(),
                    root_der: root_der.clone(),
                    by_authority: by_authority.clone(),
                })
            },
            renewal_window_days: Arc::new(|profile| if profile == "device" { WINDOW_DAYS } else { 0 }),
        });
        let (router, document) = signalbeam_query_api::router(api).split_for_parts();
        let router = router
            .merge(signalbeam_query_api::documentation(document))
            .layer(from_fn_with_state(Arc::new(TrustedProxies::default()), provide_request_context));
        Self { store, audit, freshness, keeper, authority, clock, index, router, _usage: usage, _folder: folder }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn set_time(&self, now: Timestamp) {
        self.clock.0.store(now.unix_microseconds(), Ordering::SeqCst);
    }

    /// Appends as the routes that change things do: the index knows it afterwards, the tables perhaps not yet.
    pub(crate) async fn record<E: Into<Event>>(
        &self,
        tenant_id: Option<TenantId>,
        stream: StreamId,
        events: impl IntoIterator<Item = E>,
    ) -> Position {
        let actor = Actor { kind: ActorKind::Admin, id: "ada".to_owned() };
        self.record_by(actor, tenant_id, stream, events).await
    }

    async fn record_by<E: Into<Event>>(
        &self,
        actor: Actor,
        tenant_id: Option<TenantId>,
        stream: StreamId,
        events: impl IntoIterator<Item = E>,
    ) -> Position {
        let metadata =
            CommandMetadata { actor, correlation_id: correlation_id(), causation_id: None, idempotency: None };
        let events = new_events(tenant_id, events.into_iter().map(Into::into).collect::<Vec<Event>>());
        let write = StreamWrite { stream, expected: ExpectedVersion::Any, events };
        let appended = self.store.append(Batch { metadata, writes: vec![write] }).await.unwrap();
        self.freshness.note_appended(appended.position);
        self.index.wait_for(appended.position, LONG_ENOUGH).await.unwrap();
        appended.position
    }

    /// An admin of all tenants.
    pub(crate) fn admin(&self) -> As {
        self.admin_of(Role::Admin, None)
    }

    pub(crate) fn admin_of(&self, role: Role, tenant_id: Option<TenantId>) -> As {
        let admin = AdminPrincipal { subject: "ada".to_owned(), role, tenant_id };
        As::Bearer(AdminTokens::new(&key(2)).sign(&admin, self.now(), 3_600).unwrap())
    }

    pub(crate) async fn get(&self, path: &str, caller: &As) -> Answer {
        self.get_with(path, caller, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, caller: &As, headers: &[(&str, &str)]) -> Answer {
        let (parts, body) = self.begin(path, caller, headers).await.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }

    /// An answer whose body is still to be read.
    pub(crate) async fn begin(&self, path: &str, caller: &As, headers: &[(&str, &str)]) -> Response {
        let mut request =
            Request::get(path).extension(Arc::new(Connection::plain(SocketAddr::from(([127, 0, 0, 1], 1)))));
        match caller {
            As::Nobody => {}
            As::Bearer(token) => request = request.header("authorization", format!("Bearer {token}")),
            As::ApiKey(key) => request = request.header("x-api-key", key),
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// Follows a list to its end: the pages, each with what its items have under `key`.
    pub(crate) async fn pages(&self, path: &str, caller: &As, key: &str) -> Vec<Vec<String>> {
        let mut pages = vec![];
        let mut cursor = String::new();
        loop {
            let answer = self.get(&format!("{path}{cursor}"), caller).await;
            pages.push(answer.items().iter().map(|item| text(&item[key])).collect());
            let body = answer.ok();
            let Some(next) = body["nextCursor"].as_str() else { return pages };
            assert!(pages.len() < 100, "the list does not end");
            cursor = format!("&cursor={next}");
        }
    }
}

/// A value as it would stand in a URL.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

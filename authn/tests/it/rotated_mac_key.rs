//! What becomes of API keys when the key of their MACs is replaced, or lost.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signalbeam_authn::authenticator::{Authenticator, Parts, X_API_KEY};
use signalbeam_authn::limits::LimitSettings;
use signalbeam_authn::limits::quota::Quota;
use signalbeam_authn::limits::tenants::TenantPolicy;
use signalbeam_authn::secrets::{KeyOctets, SecretKeeper};
use signalbeam_authn::{AdminTokens, AuthenticationPolicy, Connection, ErrorCode, Limits, RequestContext, draw};
use signalbeam_domain::api_key::{ApiKeyEvent, KeyIssued, KeyOrigin, KeyRevocationCause, KeyRevoked};
use signalbeam_domain::device::{DeviceApproved, DeviceEvent, DeviceRegistered};
use signalbeam_domain::{
    Actor, ApiKey, ApiKeyId, CorrelationId, DeviceId, DeviceName, Digest, Metadata, Prefix, SerialNumber, StreamId,
    Tags, TenantId, ValidityBounds, Version,
};
use signalbeam_event_store::{
    Batch, Clock as _, CommandMetadata, EventStore as _, ExpectedVersion, MemoryAuditLog, MemoryEventStore,
    StreamWrite, SystemClock, new_events,
};
use signalbeam_pki::{Authorities, AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, MemoryKeyStore};
use signalbeam_projections::CredentialIndex;

const DEVICE: &str = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";

fn octets(fill: u8) -> KeyOctets {
    KeyOctets::parse(&URL_SAFE_NO_PAD.encode([fill; 32])).unwrap()
}

/// A log in which one approved device has this key, whose verifier `keeper` made.
async fn log_with(keeper: &SecretKeeper, key: &ApiKey) -> Arc<MemoryEventStore> {
    let (device_id, tenant_id) = (DeviceId::parse(DEVICE).unwrap(), TenantId::parse(DEVICE).unwrap());
    let registered = DeviceRegistered {
        device_id,
        tenant_id,
        device_name: DeviceName::parse("sensor").unwrap(),
        metadata: Metadata::default(),
        tags: Tags::default(),
        token_prefix: Prefix::parse("00000000").unwrap(),
        claim_secret_sha256: Digest([0; 32]),
    };
    let approved = DeviceApproved { api_key_validity_days: ValidityBounds::API_KEY.judge(None).unwrap() };
    let issued = KeyIssued {
        key_id: ApiKeyId::parse(DEVICE).unwrap(),
        device_id,
        tenant_id,
        prefix: key.prefix(),
        verifier: keeper.verifier(&key.expose()).await.unwrap(),
        expires_at: SystemClock.now().plus_days(1),
        origin: KeyOrigin::Claim,
    };
    let write = |stream, events| StreamWrite { stream, expected: ExpectedVersion::Exact(Version(0)), events };
    let device: [DeviceEvent; 2] = [registered.into(), approved.into()];
    let writes = vec![
        write(StreamId::device(device_id), new_events(Some(tenant_id), device)),
        write(StreamId::api_keys(device_id), new_events(Some(tenant_id), [ApiKeyEvent::from(issued)])),
    ];
    let store = Arc::new(MemoryEventStore::new(Arc::new(SystemClock)));
    append(&store, writes).await;
    store
}

async fn append(store: &MemoryEventStore, writes: Vec<StreamWrite>) {
    let metadata = CommandMetadata {
        actor: Actor::system("test"),
        correlation_id: CorrelationId::parse("c").unwrap(),
        causation_id: None,
        idempotency: None,
    };
    store.append(Batch { metadata, writes }).await.unwrap();
}

async fn authenticator(store: Arc<MemoryEventStore>, keeper: SecretKeeper, limits: Arc<Limits>) -> Authenticator {
    let index = CredentialIndex::start(store.clone(), None);
    index.wait_until_ready(Duration::from_secs(10)).await.unwrap();
    let keys = Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
    let settings = AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
    let serial = SerialNumber::from_random([1; 20]);
    let now = SystemClock.now().to_offset_date_time();
    let authority = CertificateAuthority::open_or_create(keys, settings, now, serial).await.unwrap();
    Authenticator::new(Parts {
        store,
        index,
        audit: Arc::new(MemoryAuditLog::new()),
        clock: Arc::new(SystemClock),
        admins: AdminTokens::new(&octets(9)),
        keeper: Arc::new(keeper),
        authorities: Authorities::of_one(Arc::new(authority)).unwrap(),
        policy: AuthenticationPolicy::default(),
        limits,
    })
}

async fn attempt(authenticator: &Authenticator, key: &str) -> Result<String, ErrorCode> {
    let peer = "127.0.0.1:1".parse().unwrap();
    let context = RequestContext {
        correlation_id: CorrelationId::parse("c").unwrap(),
        client_address: "127.0.0.1".parse().unwrap(),
        user_agent: None,
        connection: Arc::new(Connection::plain(peer)),
    };
    let headers = HeaderMap::from_iter([(X_API_KEY.parse().unwrap(), key.parse().unwrap())]);
    let device = authenticator.any_device(&context, &headers).await;
    device.map(|device| device.device_id.to_string()).map_err(|problem| problem.code())
}

#[tokio::test]
async fn a_key_outlives_the_key_of_its_mac() {
    let key = draw::api_key().unwrap();
    let first = SecretKeeper::new(&octets(1), &[], 4, 2);
    let store = log_with(&first, &key).await;
    let other = ApiKey::new(key.prefix(), &draw::api_key().unwrap().expose()[19..]).unwrap();
    for keeper in [
        SecretKeeper::new(&octets(1), &[], 4, 2),
        SecretKeeper::new(&octets(2), &[octets(1)], 4, 2),
        // Lost: bcrypt decides.
        SecretKeeper::new(&octets(3), &[], 4, 2),
    ] {
        let authenticator = authenticator(store.clone(), keeper, Arc::default()).await;
        assert_eq!(attempt(&authenticator, &key.expose()).await, Ok(DEVICE.to_owned()));
        assert_eq!(attempt(&authenticator, &other.expose()).await, Err(ErrorCode::InvalidApiKey));
        let unknown = draw::api_key().unwrap().expose();
        assert_eq!(attempt(&authenticator, &unknown).await, Err(ErrorCode::InvalidApiKey));
    }
}

#[tokio::test]
async fn where_bcrypt_has_to_decide_strangers_are_stopped_before_anything_is_hashed() {
    let key = draw::api_key().unwrap();
    let store = log_with(&SecretKeeper::new(&octets(1), &[], 4, 2), &key).await;
    let failed_attempts_per_credential = Quota::new(2, 1, Duration::from_hours(1));
    let settings = LimitSettings { failed_attempts_per_credential, ..LimitSettings::default() };
    let limits = Arc::new(Limits::new(Some(settings), TenantPolicy::default()));
    let lost = || SecretKeeper::new(&octets(3), &[], 4, 2);
    let bereft = authenticator(store.clone(), lost(), Arc::clone(&limits)).await;
    let other = ApiKey::new(key.prefix(), &draw::api_key().unwrap().expose()[19..]).unwrap().expose();
    for _ in 0..3 {
        assert_eq!(attempt(&bereft, &key.expose()).await, Ok(DEVICE.to_owned()), "a match costs nothing");
    }
    for _ in 0..2 {
        assert_eq!(attempt(&bereft, &other).await, Err(ErrorCode::InvalidApiKey));
    }
    assert_eq!(attempt(&bereft, &other).await, Err(ErrorCode::RateLimited));
    assert_eq!(attempt(&bereft, &key.expose()).await, Err(ErrorCode::RateLimited), "nobody knows yet that it is good");
    let unknown = draw::api_key().unwrap().expose();
    assert_eq!(attempt(&bereft, &unknown).await, Err(ErrorCode::InvalidApiKey));
    let known = authenticator(store, SecretKeeper::new(&octets(3), &[octets(1)], 4, 2), limits).await;
    assert_eq!(attempt(&known, &key.expose()).await, Ok(DEVICE.to_owned()), "where the MAC decides, it is let in");
    assert_eq!(attempt(&known, &other).await, Err(ErrorCode::RateLimited));
}

#[tokio::test]
async fn a_revoked_key_is_not_hashed_again_and_again_either() {
    let key = draw::api_key().unwrap();
    let store = log_with(&SecretKeeper::new(&octets(1), &[], 4, 2), &key).await;
    let (key_id, cause) = (ApiKeyId::parse(DEVICE).unwrap(), KeyRevocationCause::Admin);
    let revoked = ApiKeyEvent::from(KeyRevoked { key_id, cause, reason: None });
    let write = StreamWrite {
        stream: StreamId::api_keys(DeviceId::parse(DEVICE).unwrap()),
        expected: ExpectedVersion::Any,
        events: new_events(Some(TenantId::parse(DEVICE).unwrap()), [revoked]),
    };
    append(&store, vec![write]).await;
    let failed_attempts_per_credential = Quota::new(2, 1, Duration::from_hours(1));
    let settings = LimitSettings { failed_attempts_per_credential, ..LimitSettings::default() };
    let limits = Arc::new(Limits::new(Some(settings), TenantPolicy::default()));
    let bereft = authenticator(store.clone(), SecretKeeper::new(&octets(3), &[], 4, 2), Arc::clone(&limits)).await;
    for expected in [ErrorCode::ApiKeyRevoked, ErrorCode::ApiKeyRevoked, ErrorCode::RateLimited] {
        assert_eq!(attempt(&bereft, &key.expose()).await, Err(expected));
    }
    let known = authenticator(store, SecretKeeper::new(&octets(1), &[], 4, 2), limits).await;
    assert_eq!(
        attempt(&known, &key.expose()).await,
        Err(ErrorCode::ApiKeyRevoked),
        "where the MAC decides, it costs nothing"
    );
}

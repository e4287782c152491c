//! What a request costs before anybody looks at what it asks for: the whole check of a device's credential, with an index
//! of 100,000 devices, an audit log that costs nothing, and no metrics recorder.
//!
//! Targets: certificate on a warm connection 2 us, on a new one 80 us, API key 3 us; unknown prefix against known prefix
//! with a wrong secret: medians within a factor of 1.3.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use signalbeam_authn::authenticator::{Authenticator, Parts, X_API_KEY};
use signalbeam_authn::secrets::{KeyOctets, SecretKeeper, sha256};
use signalbeam_authn::{AdminTokens, AuthenticationPolicy, Connection, RequestContext, draw};
use signalbeam_domain::api_key::{ApiKeyEvent, KeyFirstUsed, KeyIssued, KeyOrigin};
use signalbeam_domain::certificate::{CertificateEvent, CertificateFirstUsed, CertificateIntended, CertificateIssued};
use signalbeam_domain::device::{DeviceApproved, DeviceEvent, DeviceRegistered};
use signalbeam_domain::{
    Actor, ApiKey, ApiKeyId, CorrelationId, DeviceId, DeviceName, Digest, Event, Metadata, Prefix, SecretVerifier,
    SerialNumber, StreamId, Tags, TenantId, Timestamp, ValidityBounds,
};
use signalbeam_event_store::{
    AttemptFilter, AttemptPage, AttemptScan, AuditError, AuditLog, AuditReader, AuthenticationAttempt, Batch,
    Clock as _, CommandMetadata, EventStore as _, ExpectedVersion, MemoryEventStore, StreamWrite, SystemClock,
    UsageSummary, new_events,
};
use signalbeam_pki::{
    Authorities, AuthoritySet, AuthoritySettings, AuthorityStanding, BlockingPool, CaKeyType, CertificateAuthority,
    DeviceCertificateRequest, DevicePublicKey, IssuedCertificate, MemoryKeyStore, TrustedAuthority,
};
use signalbeam_projections::CredentialIndex;
use tokio::runtime::Runtime;
use uuid::Uuid;

const DEVICES: usize = 100_000;
const DEVICES_PER_BATCH: usize = 200;
/// How many different credentials a measurement goes through, so that not one line of the cache answers all of them.
const SAMPLE: usize = 1_000;
const MAC_KEY: [u8; 32] = [1; 32];

/// An audit log that keeps nothing: what it costs is the audit log's own benchmark.
struct Nowhere;

#[async_trait]
impl AuditReader for Nowhere {
    async fn head(&self) -> Result<i64, AuditError> {
        Ok(0)
    }

    async fn scan(&self, _: &AttemptFilter, _: i64, _: i64, _: usize) -> Result<AttemptScan, AuditError> {
        Ok(AttemptScan { attempts: vec![], reached: 0 })
    }
}

#[async_trait]
impl AuditLog for Nowhere {
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        black_box(attempts);
        Ok(())
    }

    async fn query(&self, _: &AttemptFilter, _: Option<i64>, _: usize) -> Result<AttemptPage, AuditError> {
        Ok(AttemptPage { attempts: vec![], next: None })
    }

    async fn usage_after(&self, _: i64, _: usize) -> Result<UsageSummary, AuditError> {
        Ok(UsageSummary::default())
    }
}

fn key_octets(octets: &[u8; 32]) -> KeyOctets {
    KeyOctets::parse(&URL_SAFE_NO_PAD.encode(octets)).unwrap()
}

/// A verifier without the fifth of a second that bcrypt takes; only the MAC decides.
fn verifier(text: &str) -> SecretVerifier {
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &MAC_KEY), text.as_bytes());
    let mac_key_id = sha256(&MAC_KEY).to_string()[..16].to_owned();
    SecretVerifier { bcrypt: "$2b$12$".into(), mac: Digest(tag.as_ref().try_into().unwrap()), mac_key_id }
}

fn new_id() -> Uuid {
    Uuid::now_v7()
}

struct Fleet {
    store: Arc<MemoryEventStore>,
    tenant_id: TenantId,
    keys: Vec<ApiKey>,
}

impl Fleet {
    /// So many approved devices, each with a key that it has used.
    async fn new() -> Self {
        let store = Arc::new(MemoryEventStore::new(Arc::new(SystemClock)));
        let mut fleet = Self { store, tenant_id: TenantId::from_uuid(new_id()), keys: Vec::with_capacity(DEVICES) };
        for _ in 0..DEVICES / DEVICES_PER_BATCH {
            let writes = (0..DEVICES_PER_BATCH).flat_map(|_| fleet.device(DeviceId::from_uuid(new_id()))).collect();
            fleet.append(writes).await;
        }
        fleet
    }

    async fn append(&self, writes: Vec<StreamWrite>) {
        let metadata = CommandMetadata {
            actor: Actor::system("benchmark"),
            correlation_id: CorrelationId::from_uuid(new_id()),
            causation_id: None,
            idempotency: None,
        };
        self.store.append(Batch { metadata, writes }).await.unwrap();
    }

    fn write(&self, stream: StreamId, events: Vec<Event>) -> StreamWrite {
        let events = new_events(Some(self.tenant_id), events);
        StreamWrite { stream, expected: ExpectedVersion::Any, events }
    }

    fn device(&mut self, device_id: DeviceId) -> [StreamWrite; 2] {
        let (tenant_id, key) = (self.tenant_id, draw::api_key().unwrap());
        let registered = DeviceRegistered {
            device_id,
            tenant_id,
            device_name: DeviceName::parse("sensor").unwrap(),
            metadata: Metadata::default(),
            tags: Tags::default(),
            token_prefix: Prefix::parse("00000000").unwrap(),
            claim_secret_sha256: Digest([0; 32]),
        };
        let api_key_validity_days = ValidityBounds::API_KEY.judge(None).unwrap();
        let key_id = ApiKeyId::from_uuid(new_id());
        let issued = KeyIssued {
            key_id,
            device_id,
            tenant_id,
            prefix: key.prefix(),
            verifier: verifier(&key.expose()),
            expires_at: SystemClock.now().plus_days(90),
            origin: KeyOrigin::Claim,
        };
        self.keys.push(key);
        let device: [DeviceEvent; 2] = [registered.into(), DeviceApproved { api_key_validity_days }.into()];
        let keys: [ApiKeyEvent; 2] = [issued.into(), KeyFirstUsed { key_id }.into()];
        [
            self.write(StreamId::device(device_id), device.map(Event::from).into()),
            self.write(StreamId::api_keys(device_id), keys.map(Event::from).into()),
        ]
    }

    /// A device with a certificate that it has used.
    async fn certificate(&mut self, authority: &CertificateAuthority) -> IssuedCertificate {
        let device_id = DeviceId::from_uuid(new_id());
        let writes = self.device(device_id).into();
        self.append(writes).await;
        let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let public_key = DevicePublicKey::from_csr_pem(&csr.pem().unwrap()).unwrap();
        let request = DeviceCertificateRequest {
            serial: draw::serial_number().unwrap(),
            tenant_id: self.tenant_id,
            device_id,
            public_key,
            validity: authority.validity(SystemClock.now().to_offset_date_time(), 90),
        };
        let signed = authority.issue_device(&request).await.unwrap();
        let intended = CertificateIntended {
            serial_number: signed.serial,
            device_id,
            tenant_id: self.tenant_id,
            profile: "device".into(),
            public_key_sha256: signed.public_key_sha256,
            not_before: Timestamp::from_offset_date_time(signed.validity.not_before),
            not_after: Timestamp::from_offset_date_time(signed.validity.not_after),
            renewal_of: None,
        };
        let issued = CertificateIssued {
            intended: intended.clone(),
            fingerprint: signed.fingerprint,
            subject: signed.subject.clone(),
            authority_id: authority.id(),
            certificate_pem: signed.pem.clone(),
        };
        let used = CertificateFirstUsed { serial_number: signed.serial, used_from: None };
        let events: [CertificateEvent; 3] = [intended.into(), issued.into(), used.into()];
        let write = self.write(StreamId::certificates(device_id), events.map(Event::from).into());
        self.append(vec![write]).await;
        signed
    }
}

async fn authority(key_type: CaKeyType) -> Arc<CertificateAuthority> {
    let store = Arc::new(MemoryKeyStore::new(BlockingPool::per_processor()));
    let settings = AuthoritySettings { key_type, ..AuthoritySettings::default() };
    let now = SystemClock.now().to_offset_date_time();
    let serial = SerialNumber::from_random([1; 20]);
    Arc::new(CertificateAuthority::open_or_create(store, settings, now, serial).await.unwrap())
}

/// The first signs, the second did before.
fn both([active, rotated]: [&Arc<CertificateAuthority>; 2]) -> Authorities {
    let trusted = |authority: &Arc<CertificateAuthority>, standing| TrustedAuthority {
        authority: Arc::clone(authority),
        standing,
    };
    let at = rotated.own_validity().not_before;
    let set = vec![trusted(rotated, AuthorityStanding::Rotated { at }), trusted(active, AuthorityStanding::Active)];
    Authorities::new(AuthoritySet::new(set).unwrap())
}

async fn authenticator(fleet: &Fleet, authorities: [&Arc<CertificateAuthority>; 2]) -> Arc<Authenticator> {
    let index = CredentialIndex::start(fleet.store.clone(), None);
    index.wait_until_ready(Duration::from_mins(2)).await.unwrap();
    assert!(index.sizes().0 > DEVICES);
    Arc::new(Authenticator::new(Parts {
        store: fleet.store.clone(),
        index,
        audit: Arc::new(Nowhere),
        clock: Arc::new(SystemClock),
        admins: AdminTokens::new(&key_octets(&[2; 32])),
        keeper: Arc::new(SecretKeeper::new(&key_octets(&MAC_KEY), &[], 12, 2)),
        authorities: both(authorities),
        policy: AuthenticationPolicy::default(),
        limits: Arc::default(),
    }))
}

fn context(connection: Connection) -> RequestContext {
    RequestContext {
        correlation_id: CorrelationId::from_uuid(new_id()),
        client_address: connection.peer.ip(),
        user_agent: Some("signalbeam-agent/0.1.0".into()),
        connection: Arc::new(connection),
    }
}

fn connection(certificate: Option<&IssuedCertificate>) -> Connection {
    let chain = certificate.map(|certificate| CertificateDer::from(certificate.der.clone()));
    Connection::with_certificates("127.0.0.1:1".parse().unwrap(), chain.into_iter().collect())
}

fn with_key(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(X_API_KEY.parse().unwrap(), text.parse().unwrap())])
}

struct Bench {
    runtime: Runtime,
    authenticator: Arc<Authenticator>,
    anonymous: RequestContext,
}

impl Bench {
    /// Authenticates with each of the headers in turn.
    fn api_keys(&self, bencher: &mut Bencher<'_>, requests: &[HeaderMap], is_accepted: bool) {
        bencher.iter_custom(|iterations| {
            self.runtime.block_on(async {
                let started = Instant::now();
                for headers in requests.iter().cycle().take(usize::try_from(iterations).unwrap()) {
                    let outcome = self.authenticator.any_device(&self.anonymous, headers).await;
                    assert_eq!(black_box(outcome).is_ok(), is_accepted);
                }
                started.elapsed()
            })
        });
    }

    fn certificate(&self, bencher: &mut Bencher<'_>, next: impl Fn() -> RequestContext) {
        let none = HeaderMap::new();
        bencher.iter_custom(|iterations| {
            self.runtime.block_on(async {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    let context = next();
                    let started = Instant::now();
                    let outcome = self.authenticator.any_device(&context, &none).await;
                    spent += started.elapsed();
                    assert!(black_box(outcome).is_ok());
                }
                spent
            })
        });
    }

    /// The median time of a refusal, in nanoseconds; the two kinds of request take turns, so that whatever else the
    /// machine does meets both.
    fn medians(&self, one: &[HeaderMap], other: &[HeaderMap]) -> (u128, u128) {
        let (mut ones, mut others) = (vec![], vec![]);
        self.runtime.block_on(async {
            for (one, other) in one.iter().zip(other).cycle().take(50 * SAMPLE) {
                for (headers, times) in [(one, &mut ones), (other, &mut others)] {
                    let started = Instant::now();
                    let outcome = self.authenticator.any_device(&self.anonymous, headers).await;
                    times.push(started.elapsed().as_nanos());
                    assert!(black_box(outcome).is_err());
                }
            }
        });
        ones.sort_unstable();
        others.sort_unstable();
        (ones[ones.len() / 2], others[others.len() / 2])
    }
}

fn authentication(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (mut fleet, rsa, p256) = runtime.block_on(async {
        (Fleet::new().await, authority(CaKeyType::Rsa2048).await, authority(CaKeyType::EcdsaP256).await)
    });
    let (of_rsa, of_p256) = runtime.block_on(async { (fleet.certificate(&rsa).await, fleet.certificate(&p256).await) });
    let authenticator = runtime.block_on(authenticator(&fleet, [&rsa, &p256]));
    let bench = Bench { runtime, authenticator, anonymous: context(connection(None)) };

    let mut group = criterion.benchmark_group("authentication");
    let warm = context(connection(Some(&of_rsa)));
    group.bench_function("certificate, warm connection", |b| bench.certificate(b, || warm.clone()));
    group.bench_function("certificate, new connection, RSA-2048 authority", |b| {
        bench.certificate(b, || context(connection(Some(&of_rsa))));
    });
    group.bench_function("certificate, new connection, P-256 authority", |b| {
        bench.certificate(b, || context(connection(Some(&of_p256))));
    });

    let sample: Vec<&ApiKey> = fleet.keys.iter().step_by(DEVICES / SAMPLE).take(SAMPLE).collect();
    let right: Vec<_> = sample.iter().map(|key| with_key(&key.expose())).collect();
    let strangers = || sample.iter().map(|_| draw::api_key().unwrap());
    let unknown: Vec<_> = strangers().map(|key| with_key(&key.expose())).collect();
    let guessed = |(key, stranger): (&&ApiKey, ApiKey)| {
        let secret = &stranger.expose()[ApiKey::LITERAL.len() + 9..];
        with_key(&ApiKey::new(key.prefix(), secret).unwrap().expose())
    };
    let wrong: Vec<_> = sample.iter().zip(strangers()).map(guessed).collect();
    group.bench_function("API key", |b| bench.api_keys(b, &right, true));
    group.bench_function("API key, unknown prefix", |b| bench.api_keys(b, &unknown, false));
    group.bench_function("API key, wrong secret", |b| bench.api_keys(b, &wrong, false));
    group.finish();

    let (unknown, wrong) = bench.medians(&unknown, &wrong);
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds")]
    let ratio = unknown.max(wrong) as f64 / unknown.min(wrong) as f64;
    println!("median of a refusal: unknown prefix {unknown} ns, wrong secret {wrong} ns, ratio {ratio:.3}");
}

criterion_group!(benches, authentication);
criterion_main!(benches);

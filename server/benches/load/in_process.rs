//! What issuing costs without a server: a loop in this process that checks a signing request, records the intent, signs, and
//! records the certificate: the same keys, the same rules, the same events, durably in a real event log.

use std::sync::Arc;
use std::time::Instant;

use ring::rand::{SecureRandom, SystemRandom};
use signalbeam_domain::certificate::{
    CertificateCommand, CertificateIntended, CertificateIssued, Certificates, RenewalRules,
};
use signalbeam_domain::{
    Actor, Aggregate, Context, CorrelationId, DeviceId, SerialNumber, StreamId, TenantId, Timestamp, Version,
};
use signalbeam_event_store::{
    Batch, Clock as _, CommandMetadata, EventStore, ExpectedVersion, SqliteEventStore, StreamWrite, SystemClock,
    new_events,
};
use signalbeam_pki::{
    AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, DeviceCertificateRequest, DevicePublicKey,
    FileKeyStore, Profile, Validity,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::phases::{Figure, microseconds_since};
use crate::server::cpu_seconds;

const DAYS: u32 = 90;

/// A certificate authority and an event log of this process, on threads of their own.
pub(crate) struct InProcess {
    runtime: Runtime,
    parts: Parts,
    devices: Vec<Device>,
    _folder: TempDir,
}

#[derive(Clone)]
struct Parts {
    authority: Arc<CertificateAuthority>,
    store: Arc<SqliteEventStore>,
    profile: Arc<Profile>,
}

/// A device, with what the log holds of its certificates.
struct Device {
    id: DeviceId,
    tenant_id: TenantId,
    certificates: Certificates,
    version: Version,
}

impl InProcess {
    /// Must not run on a thread of a runtime that is not for blocking.
    pub(crate) fn open(key_type: CaKeyType, devices: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let parts = runtime.block_on(async {
            let keys = FileKeyStore::new(folder.path().join("ca"), BlockingPool::per_processor());
            let settings = AuthoritySettings { key_type, ..AuthoritySettings::default() };
            let now = SystemClock.now().to_offset_date_time();
            let authority = CertificateAuthority::open_or_create(Arc::new(keys), settings, now, serial_number());
            let store = SqliteEventStore::open(folder.path().join("events.db"), Arc::new(SystemClock));
            Parts {
                authority: Arc::new(authority.await.unwrap()),
                store: Arc::new(store.await.unwrap()),
                profile: Arc::default(),
            }
        });
        let tenant_id = TenantId::from_uuid(Uuid::now_v7());
        let device = |_| Device {
            id: DeviceId::from_uuid(Uuid::now_v7()),
            tenant_id,
            certificates: Certificates::default(),
            version: Version(0),
        };
        Self { runtime, parts, devices: (0..devices).map(device).collect(), _folder: folder }
    }

    /// Issues one certificate for each device, by so many callers. Also returns the seconds of processor time.
    pub(crate) fn turn(&mut self, callers: usize, csrs: &[String]) -> (Figure, f64) {
        let csrs: Arc<[String]> = csrs.into();
        let mut shares: Vec<Vec<Device>> = (0..callers).map(|_| vec![]).collect();
        self.devices.drain(..).enumerate().for_each(|(at, device)| shares[at % callers].push(device));
        let (parts, cpu, started) = (self.parts.clone(), cpu_seconds(std::process::id()), Instant::now());
        let done = self.runtime.block_on(async move {
            let mut tasks = JoinSet::new();
            for mut share in shares {
                let (parts, csrs) = (parts.clone(), Arc::clone(&csrs));
                tasks.spawn(async move {
                    let mut samples = Vec::with_capacity(share.len());
                    for (at, device) in share.iter_mut().enumerate() {
                        let sent = Instant::now();
                        parts.issue(device, &csrs[at % csrs.len()]).await;
                        samples.push(microseconds_since(sent));
                    }
                    (share, samples)
                });
            }
            tasks.join_all().await
        });
        let took = started.elapsed();
        let (shares, samples): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        self.devices = shares.into_iter().flatten().collect();
        (Figure::new(samples.concat(), 0, took), cpu_seconds(std::process::id()) - cpu)
    }
}

impl Parts {
    async fn issue(&self, device: &mut Device, csr_pem: &str) {
        let public_key = DevicePublicKey::from_csr_pem(csr_pem).unwrap();
        let validity = self.authority.device_validity(&self.profile, SystemClock.now().to_offset_date_time(), DAYS);
        let intended = CertificateIntended {
            serial_number: serial_number(),
            device_id: device.id,
            tenant_id: device.tenant_id,
            profile: self.profile.name().to_string(),
            public_key_sha256: public_key.sha256(),
            not_before: Timestamp::from_offset_date_time(validity.not_before),
            not_after: Timestamp::from_offset_date_time(validity.not_after),
            renewal_of: None,
        };
        let rules = RenewalRules::window(0);
        self.record(device, CertificateCommand::Intend { intended: intended.clone(), rules }).await;
        let request = DeviceCertificateRequest {
            serial: intended.serial_number,
            tenant_id: device.tenant_id,
            device_id: device.id,
            public_key,
            profile: Arc::clone(&self.profile),
            validity: Validity::new(
                intended.not_before.to_offset_date_time(),
                intended.not_after.to_offset_date_time(),
            ),
        };
        let signed = self.authority.issue_device(&request).await.unwrap();
        let issued = CertificateIssued {
            intended,
            fingerprint: signed.fingerprint,
            subject: signed.subject,
            authority_id: self.authority.id(),
            certificate_pem: signed.pem,
        };
        self.record(device, CertificateCommand::Issue(issued)).await;
    }

    async fn record(&self, device: &mut Device, command: CertificateCommand) {
        let events = device.certificates.decide(command, &Context { now: SystemClock.now() }).unwrap();
        let certificates = std::mem::take(&mut device.certificates);
        device.certificates = events.iter().fold(certificates, Certificates::evolve);
        let expected = ExpectedVersion::Exact(device.version);
        device.version = Version(device.version.0 + events.len() as u64);
        let stream = StreamId::certificates(device.id);
        let write = StreamWrite { stream, expected, events: new_events(Some(device.tenant_id), events) };
        let metadata = CommandMetadata {
            actor: Actor::system("benchmark"),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            idempotency: None,
        };
        self.store.append(Batch { metadata, writes: vec![write] }).await.unwrap();
    }
}

fn serial_number() -> SerialNumber {
    let mut octets = [0; 20];
    SystemRandom::new().fill(&mut octets).unwrap();
    SerialNumber::from_random(octets)
}

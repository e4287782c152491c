//! A fleet whose devices go through everything that can happen to them, decided by the domain's own rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use signalbeam_domain::admin_token::{AdminTokenCommand, AdminTokenRevoked, AllAdminTokensRevoked, RevokedAdminTokens};
use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeys, KeyIssued, KeyOrigin, KeyRevocationCause};
use signalbeam_domain::authority::{
    Authority, AuthorityCommand, AuthorityCreated, ServiceCertificateIntended, ServicePurpose,
};
use signalbeam_domain::certificate::{
    AbandonCause, CertificateAbandoned, CertificateCommand, CertificateExpiryNoticed, CertificateImported,
    CertificateIntended, CertificateIssued, CertificateRenewalRequested, Certificates, RenewalRules, ReuseSign,
    RevocationReason, Sighting,
};
use signalbeam_domain::device::{
    DecisionReason, Device, DeviceCommand, DeviceImported, DeviceRegistered, DeviceRenamed,
};
use signalbeam_domain::registration_token::{RegistrationToken, RegistrationTokenCommand, TokenConsumed, TokenIssued};
use signalbeam_domain::{
    Actor, ActorKind, AdminTokenId, Aggregate, AllowedNetworks, ApiKeyId, AuthorityId, Context, CorrelationId,
    Description, DeviceId, DeviceName, Digest, Event, EventId, Fingerprint, Metadata, MetadataValue, Network, Position,
    Prefix, ProfileName, Reason, RegistrationTokenId, SecretVerifier, SerialNumber, StreamId, Tag, Tags, TenantId,
    Timestamp, TokenIssuer, ValidityBounds,
};
use signalbeam_event_store::{
    Batch, Clock, CommandMetadata, EventReader, EventStore, ExpectedVersion, Filter, MemoryEventStore, NewEvent,
    Recorded, StreamWrite, load,
};
use uuid::Uuid;

/// When every history begins.
pub(crate) const START: &str = "2026-01-31T12:00:00.000000Z";

/// A clock that goes only when told.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_microseconds(self.0.load(Ordering::SeqCst))
    }
}

/// Something that is tried; whether it happens, the domain decides.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    IssueToken,
    RevokeToken(usize),
    Register(usize),
    Approve(usize),
    Reject(usize),
    Rename(usize),
    Restrict(usize),
    Suspend(usize),
    Reinstate(usize),
    Decommission(usize),
    IssueKey(usize, KeyOrigin),
    UseKeys(usize),
    RevokeKeys(usize),
    IssueCertificate(usize),
    AbandonCertificate(usize),
    ImportDevice,
    ImportCertificate(usize),
    UseCertificates(usize),
    RevokeCertificate(usize, usize),
    NoticeExpiry(usize),
    RequestRenewal(usize),
    SuspectReuse(usize, usize),
    CreateAuthority,
    IntendServiceCertificate,
    RotateAuthority,
    RetireAuthority,
    RevokeAdminToken(usize),
    RevokeAllAdminTokens,
    Wait { days: u8 },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Step::{
        AbandonCertificate, Approve, CreateAuthority, Decommission, ImportCertificate, ImportDevice,
        IntendServiceCertificate, IssueCertificate, IssueKey, IssueToken, NoticeExpiry, Register, Reinstate, Reject,
        Rename, RequestRenewal, Restrict, RetireAuthority, RevokeAdminToken, RevokeAllAdminTokens, RevokeCertificate,
        RevokeKeys, RevokeToken, RotateAuthority, SuspectReuse, Suspend, UseCertificates, UseKeys, Wait,
    };
    let one = || 0..6usize;
    let origin = prop_oneof![Just(KeyOrigin::Claim), Just(KeyOrigin::AdminRotation), Just(KeyOrigin::DeviceRotation)];
    let step = prop_oneof![
        3 => Just(IssueToken),
        1 => one().prop_map(RevokeToken),
        4 => one().prop_map(Register),
        4 => one().prop_map(Approve),
        1 => one().prop_map(Reject),
        1 => one().prop_map(Rename),
        2 => one().prop_map(Restrict),
        1 => one().prop_map(Suspend),
        1 => one().prop_map(Reinstate),
        1 => one().prop_map(Decommission),
        5 => (one(), origin).prop_map(|(i, origin)| IssueKey(i, origin)),
        3 => one().prop_map(UseKeys),
        1 => one().prop_map(RevokeKeys),
        5 => one().prop_map(IssueCertificate),
        1 => one().prop_map(AbandonCertificate),
        2 => Just(ImportDevice),
        2 => one().prop_map(ImportCertificate),
        3 => one().prop_map(UseCertificates),
        2 => (one(), one()).prop_map(|(i, nth)| RevokeCertificate(i, nth)),
        1 => one().prop_map(NoticeExpiry),
        2 => one().prop_map(RequestRenewal),
        2 => (one(), one()).prop_map(|(i, nth)| SuspectReuse(i, nth)),
        1 => Just(RotateAuthority),
        1 => Just(CreateAuthority),
        1 => Just(IntendServiceCertificate),
        1 => Just(RetireAuthority),
        2 => one().prop_map(RevokeAdminToken),
        1 => Just(RevokeAllAdminTokens),
        2 => (1..60u8).prop_map(|days| Wait { days }),
    ];
    prop::collection::vec(step, 1..120)
}

/// One of six admin tokens: two ids of three issuers' each, some of which say when they expire.
pub(crate) fn admin_token(nth: usize) -> (AdminTokenId, TokenIssuer, Option<Timestamp>) {
    let issuers = ["signalbeam", "https://id.example", "https://other.example"];
    let start = Timestamp::parse(START).unwrap();
    let expires_at = (!nth.is_multiple_of(3)).then(|| start.plus_days(10 * i64::try_from(nth).unwrap()));
    let jti = AdminTokenId::parse(&format!("token-{}", nth % 2)).unwrap();
    (jti, TokenIssuer::parse(issuers[nth / 2]).unwrap(), expires_at)
}

/// A log with the devices that live in it.
pub(crate) struct Fleet {
    pub(crate) store: Arc<MemoryEventStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) devices: Vec<DeviceId>,
    pub(crate) tokens: Vec<TokenIssued>,
    authorities: Vec<AuthorityId>,
    drawn: u128,
}

pub(crate) fn tenant(number: u128) -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(0xaaaa_0000 + number))
}

fn reason(text: &str) -> Reason {
    Reason::parse(text).unwrap()
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let start = Timestamp::parse(START).unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(start.unix_microseconds())));
        let store = Arc::new(MemoryEventStore::new(clock.clone()));
        Self { store, clock, devices: vec![], tokens: vec![], authorities: vec![], drawn: 0 }
    }

    pub(crate) async fn of(steps: &[Step]) -> Self {
        let mut fleet = Self::new();
        for step in steps {
            fleet.perform(step.clone()).await;
        }
        fleet
    }

    /// With one approved device of the first tenant.
    pub(crate) async fn with_device() -> (Self, DeviceId) {
        let fleet = Self::of(&[Step::IssueToken, Step::Register(0), Step::Approve(0)]).await;
        let device = fleet.devices[0];
        (fleet, device)
    }

    pub(crate) async fn log(&self) -> Vec<Recorded> {
        self.store.read_all(Position(0), usize::MAX, &Filter::default()).await.unwrap().events
    }

    pub(crate) async fn head(&self) -> Position {
        self.store.head().await.unwrap()
    }

    fn draw(&mut self) -> u128 {
        self.drawn += 1;
        self.drawn
    }

    fn digest(&mut self) -> Digest {
        let drawn = self.draw().to_be_bytes();
        let mut octets = [0xd1; 32];
        octets[16..].copy_from_slice(&drawn);
        Digest(octets)
    }

    fn verifier(&mut self) -> SecretVerifier {
        SecretVerifier { bcrypt: format!("$2b$12${}", self.draw()), mac: self.digest(), mac_key_id: "k1".into() }
    }

    pub(crate) async fn perform(&mut self, step: Step) {
        self.clock.advance_seconds(1);
        match step {
            Step::IssueToken => self.issue_token().await,
            Step::RevokeToken(nth) => {
                let Some(token) = self.tokens.get(nth) else { return };
                let stream = StreamId::registration_token(token.prefix);
                let command = RegistrationTokenCommand::Revoke { reason: Some(reason("lost")) };
                self.decide::<RegistrationToken>(stream, token.tenant_id, command).await;
            }
            Step::Register(nth) => self.register(nth).await,
            Step::Approve(nth) => {
                let api_key_validity_days = ValidityBounds::API_KEY.judge(None).unwrap();
                let certificate_profile = (!nth.is_multiple_of(2)).then(|| ProfileName::parse("sensor").unwrap());
                self.decide_device(nth, DeviceCommand::Approve { api_key_validity_days, certificate_profile }).await;
            }
            Step::Reject(nth) => self.decide_device(nth, DeviceCommand::Reject(said("unknown"))).await,
            Step::Rename(nth) => {
                let device_name = Some(DeviceName::parse(&format!("renamed {}", self.draw())).unwrap());
                let tags = (self.draw().is_multiple_of(2)).then(|| self.draw_tags());
                let renamed = DeviceRenamed { device_name, metadata: None, tags, certificate_profile: None };
                self.decide_device(nth, DeviceCommand::Change { renamed, networks: None }).await;
            }
            Step::Restrict(nth) => {
                // Every other time everywhere.
                let network = format!("10.0.{}.0/24", self.draw() % 256);
                let bound = self.drawn.is_multiple_of(2).then(|| Network::parse(&network).unwrap());
                let networks = AllowedNetworks::new(bound.into_iter().collect()).unwrap();
                self.decide_device(
                    nth,
                    DeviceCommand::Change { renamed: DeviceRenamed::default(), networks: Some(networks) },
                )
                .await;
            }
            Step::Suspend(nth) => self.decide_device(nth, DeviceCommand::Suspend(said("stolen"))).await,
            Step::Reinstate(nth) => self.decide_device(nth, DeviceCommand::Reinstate(said("found"))).await,
            Step::Decommission(nth) => self.decide_device(nth, DeviceCommand::Decommission(said("scrap"))).await,
            Step::IssueKey(nth, origin) => self.issue_key(nth, origin).await,
            Step::UseKeys(nth) => self.use_keys(nth).await,
            Step::RevokeKeys(nth) => {
                let command =
                    ApiKeyCommand::RevokeAll { cause: KeyRevocationCause::Admin, reason: Some(reason("leaked")) };
                self.decide_keys(nth, command).await;
            }
            Step::IssueCertificate(nth) => self.issue_certificate(nth, true).await,
            Step::AbandonCertificate(nth) => self.issue_certificate(nth, false).await,
            Step::ImportDevice => self.import_device().await,
            Step::ImportCertificate(nth) => self.import_certificate(nth).await,
            Step::UseCertificates(nth) => self.use_certificates(nth).await,
            Step::RevokeCertificate(nth, which) => self.revoke_certificate(nth, which).await,
            Step::NoticeExpiry(nth) => self.notice_expiry(nth).await,
            Step::CreateAuthority => self.create_authority().await,
            Step::RequestRenewal(nth) => self.request_renewal(nth).await,
            Step::SuspectReuse(nth, which) => self.suspect_reuse(nth, which).await,
            Step::RotateAuthority => self.rotate_authority().await,
            Step::IntendServiceCertificate => self.intend_service_certificate().await,
            Step::RetireAuthority => self.retire_authority().await,
            Step::RevokeAdminToken(nth) => {
                let (jti, issuer, expires_at) = admin_token(nth);
                let revoked = AdminTokenRevoked { jti, issuer, reason: Some(reason("lost")), expires_at };
                let stream = StreamId::admin_token(&revoked.jti);
                self.decide_untenanted::<RevokedAdminTokens>(stream, AdminTokenCommand::Revoke(revoked)).await;
            }
            Step::RevokeAllAdminTokens => {
                let all = AllAdminTokensRevoked { issued_before: self.clock.now(), reason: None };
                let command = AdminTokenCommand::RevokeAll(all);
                self.decide_untenanted::<RevokedAdminTokens>(StreamId::all_admin_tokens(), command).await;
            }
            Step::Wait { days } => self.clock.advance_seconds(i64::from(days) * 86_400),
        }
    }

    /// Gives a device these tags and no others.
    pub(crate) async fn tag(&mut self, nth: usize, tags: &Tags) {
        let renamed = DeviceRenamed { tags: Some(tags.clone()), ..DeviceRenamed::default() };
        self.decide_device(nth, DeviceCommand::Change { renamed, networks: None }).await;
    }

    /// One or two of three, or none.
    fn draw_tags(&mut self) -> Tags {
        let number = self.draw();
        let tags = ["site:east", "hall 3", "env=prod"].iter().take(usize::try_from(number % 3).unwrap());
        Tags::new(tags.map(|tag| Tag::parse(tag).unwrap())).unwrap()
    }

    async fn issue_token(&mut self) {
        let number = self.draw();
        let issued = TokenIssued {
            token_id: RegistrationTokenId::from_uuid(Uuid::from_u128(number)),
            tenant_id: tenant(u128::from(self.tokens.len() % 2 == 1)),
            prefix: Prefix::parse(&format!("T{number:07}")).unwrap(),
            verifier: self.verifier(),
            expires_at: self.clock.now().plus_days(30),
            description: Some(Description::parse("for the \"east\" site").unwrap()),
        };
        self.tokens.push(issued.clone());
        let stream = StreamId::registration_token(issued.prefix);
        let tenant_id = issued.tenant_id;
        self.decide::<RegistrationToken>(stream, tenant_id, RegistrationTokenCommand::Issue(issued)).await;
    }

    async fn register(&mut self, nth: usize) {
        let Some(TokenIssued { prefix, tenant_id, .. }) = self.tokens.get(nth).cloned() else { return };
        let device_id = DeviceId::from_uuid(Uuid::from_u128(0xdddd_0000 + self.draw()));
        let facts =
            [("site".to_owned(), MetadataValue::Text("east".into())), ("load".into(), MetadataValue::Number(0.1))];
        let registration = TokenConsumed {
            device_id,
            tenant_id,
            device_name: DeviceName::parse(&format!("Gateway {}", self.devices.len() % 3)).unwrap(),
            metadata: Metadata::new(facts.into()).unwrap(),
            tags: self.draw_tags(),
            claim_secret_sha256: self.digest(),
        };
        let registered = DeviceRegistered {
            device_id,
            tenant_id,
            device_name: registration.device_name.clone(),
            metadata: registration.metadata.clone(),
            tags: registration.tags.clone(),
            token_prefix: prefix,
            claim_secret_sha256: registration.claim_secret_sha256,
        };
        let command = RegistrationTokenCommand::Consume { secret_matches: true, registration };
        let stream = StreamId::registration_token(prefix);
        if self.decide::<RegistrationToken>(stream, tenant_id, command).await {
            self.devices.push(device_id);
            self.decide::<Device>(StreamId::device(device_id), tenant_id, DeviceCommand::Register(registered)).await;
        }
    }

    async fn issue_key(&mut self, nth: usize, origin: KeyOrigin) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        let number = self.draw();
        let issued = KeyIssued {
            key_id: ApiKeyId::from_uuid(Uuid::from_u128(0xeeee_0000 + number)),
            device_id,
            tenant_id: tenant(0),
            // Few prefixes, so that they collide.
            prefix: Prefix::parse(&format!("K{:07}", number % 5)).unwrap(),
            verifier: self.verifier(),
            expires_at: self.clock.now().plus_days(60),
            origin,
        };
        self.decide_keys(nth, ApiKeyCommand::Issue(issued)).await;
    }

    async fn use_keys(&mut self, nth: usize) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        let (keys, _) = load::<ApiKeys>(&*self.store, &StreamId::api_keys(device_id)).await.unwrap();
        if let Some(key) = keys.keys().last() {
            self.decide_keys(nth, ApiKeyCommand::NoteFirstUse { key_id: key.issued.key_id }).await;
        }
    }

    async fn certificates(&self, device_id: DeviceId) -> Certificates {
        load::<Certificates>(&*self.store, &StreamId::certificates(device_id)).await.unwrap().0
    }

    async fn issue_certificate(&mut self, nth: usize, is_signed: bool) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        let mut octets = [0x41; 20];
        octets[4..].copy_from_slice(&self.draw().to_be_bytes());
        let now = self.clock.now().to_whole_second();
        let intended = CertificateIntended {
            serial_number: SerialNumber::from_random(octets),
            device_id,
            tenant_id: tenant(0),
            profile: if nth.is_multiple_of(2) { "device" } else { "sensor" }.into(),
            public_key_sha256: self.digest(),
            not_before: now.plus_seconds(-300),
            not_after: now.plus_days(45),
            renewal_of: None,
        };
        let command = CertificateCommand::Intend { intended: intended.clone(), rules: RenewalRules::window(30) };
        self.decide_certificates(nth, command).await;
        let serial_number = intended.serial_number;
        let command = if is_signed {
            CertificateCommand::Issue(CertificateIssued {
                intended,
                fingerprint: Fingerprint::from_digest(self.digest().0),
                subject: format!("CN=device-{device_id}, O=SignalBeam"),
                authority_id: AuthorityId::from_uuid(Uuid::from_u128(0xcccc)),
                certificate_pem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
            })
        } else {
            CertificateCommand::Abandon(CertificateAbandoned { serial_number, cause: AbandonCause::SigningFailed })
        };
        self.decide_certificates(nth, command).await;
    }

    async fn import_device(&mut self) {
        let device_id = DeviceId::from_uuid(Uuid::from_u128(0xdddd_0000 + self.draw()));
        let tenant_id = tenant(0);
        let imported = DeviceImported {
            device_id,
            tenant_id,
            device_name: DeviceName::parse("Press").unwrap(),
            metadata: Metadata::default(),
            tags: self.draw_tags(),
        };
        self.devices.push(device_id);
        self.decide::<Device>(StreamId::device(device_id), tenant_id, DeviceCommand::Import(imported)).await;
        self.import_certificate(self.devices.len() - 1).await;
    }

    async fn import_certificate(&mut self, nth: usize) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        // Its beginning is what tells it from others: the certificate's name is made from that.
        let mut octets = self.digest().0;
        octets.reverse();
        octets.rotate_right(1);
        let fingerprint = Fingerprint::from_digest(octets);
        let now = self.clock.now().to_whole_second();
        let imported = CertificateImported {
            serial_number: SerialNumber::of_imported(&fingerprint),
            device_id,
            tenant_id: tenant(0),
            fingerprint,
            foreign_serial_number: "04d2".into(),
            issuer: "CN=Acme Device CA".into(),
            authority_id: AuthorityId::from_uuid(Uuid::from_u128(0xacee)),
            subject: format!("CN=press-{nth}"),
            not_before: now.plus_days(-100),
            not_after: now.plus_days(30),
            public_key_sha256: self.digest(),
            certificate_pem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
        };
        self.decide_certificates(nth, CertificateCommand::Import(imported)).await;
    }

    async fn use_certificates(&mut self, nth: usize) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        if let Some(active) = self.certificates(device_id).await.active() {
            let serial_number = active.serial_number();
            self.decide_certificates(nth, CertificateCommand::NoteFirstUse { serial_number, used_from: None }).await;
        }
    }

    async fn revoke_certificate(&mut self, nth: usize, which: usize) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        if let Some(certificate) = self.certificates(device_id).await.issued().get(which) {
            let serial_number = certificate.serial_number();
            let command = CertificateCommand::Revoke {
                serial_number,
                reason: Some(reason("key compromise")),
                reason_code: (which.is_multiple_of(2)).then_some(RevocationReason::KeyCompromise),
            };
            self.decide_certificates(nth, command).await;
        }
    }

    async fn notice_expiry(&mut self, nth: usize) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        if let Some(active) = self.certificates(device_id).await.active() {
            let noticed = CertificateExpiryNoticed { serial_number: active.serial_number(), threshold_days: 7 };
            self.decide_certificates(nth, CertificateCommand::NoticeExpiry(noticed)).await;
        }
    }

    async fn request_renewal(&mut self, nth: usize) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        if let Some(active) = self.certificates(device_id).await.active() {
            let now = self.clock.now();
            let requested = CertificateRenewalRequested {
                serial_number: active.serial_number(),
                window_start: now,
                window_end: now.plus_days(1),
                reason: Some(reason("a new authority")),
            };
            self.decide_certificates(nth, CertificateCommand::RequestRenewal(requested)).await;
        }
    }

    async fn suspect_reuse(&mut self, nth: usize, which: usize) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        if let Some(certificate) = self.certificates(device_id).await.issued().get(which) {
            let serial_number = certificate.serial_number();
            let seen = Sighting { sign: ReuseSign::PresentedAfterSuccession, from: None };
            self.decide_certificates(nth, CertificateCommand::SuspectReuse { serial_number, seen }).await;
        }
    }

    async fn rotate_authority(&mut self) {
        let [.., old, new] = self.authorities[..] else { return };
        for (id, command) in [(old, AuthorityCommand::Activate), (old, AuthorityCommand::Rotate { successor_id: new })]
        {
            self.decide_untenanted::<Authority>(StreamId::certificate_authority(id), command).await;
        }
    }

    async fn create_authority(&mut self) {
        let authority_id = AuthorityId::from_uuid(Uuid::from_u128(0xcccc_0000 + self.draw()));
        let mut octets = [0x42; 20];
        octets[4..].copy_from_slice(&self.draw().to_be_bytes());
        let created = AuthorityCreated {
            authority_id,
            subject: "CN=SignalBeam Root CA, O=SignalBeam, C=US".into(),
            serial_number: SerialNumber::from_random(octets),
            fingerprint: Fingerprint::from_digest(self.digest().0),
            key_type: "rsa-2048".into(),
            not_before: self.clock.now(),
            not_after: self.clock.now().plus_days(3650),
            certificate_pem: "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n".into(),
            issuer_id: None,
            key_slot: None,
            issuers_pem: None,
        };
        self.authorities.push(authority_id);
        let stream = StreamId::certificate_authority(authority_id);
        self.decide_untenanted::<Authority>(stream, AuthorityCommand::Create(created)).await;
    }

    async fn intend_service_certificate(&mut self) {
        let Some(authority_id) = self.authorities.first().copied() else { return };
        let mut octets = [0x43; 20];
        octets[4..].copy_from_slice(&self.draw().to_be_bytes());
        let intended = ServiceCertificateIntended {
            serial_number: SerialNumber::from_random(octets),
            purpose: ServicePurpose::OcspSigner,
            subject: "CN=SignalBeam OCSP responder, O=SignalBeam".into(),
            public_key_sha256: self.digest(),
            not_before: self.clock.now(),
            not_after: self.clock.now().plus_days(7),
        };
        let stream = StreamId::certificate_authority(authority_id);
        self.decide_untenanted::<Authority>(stream, AuthorityCommand::IntendServiceCertificate(intended)).await;
    }

    async fn retire_authority(&mut self) {
        let Some(authority_id) = self.authorities.first().copied() else { return };
        let stream = StreamId::certificate_authority(authority_id);
        self.decide_untenanted::<Authority>(stream, AuthorityCommand::Retire { reason_code: None }).await;
    }

    async fn decide_device(&mut self, nth: usize, command: DeviceCommand) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        self.decide::<Device>(StreamId::device(device_id), tenant(0), command).await;
    }

    pub(crate) async fn decide_keys(&mut self, nth: usize, command: ApiKeyCommand) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        self.decide::<ApiKeys>(StreamId::api_keys(device_id), tenant(0), command).await;
    }

    pub(crate) async fn decide_certificates(&mut self, nth: usize, command: CertificateCommand) {
        let Some(device_id) = self.devices.get(nth).copied() else { return };
        self.decide::<Certificates>(StreamId::certificates(device_id), tenant(0), command).await;
    }

    async fn decide<A>(&mut self, stream: StreamId, tenant_id: TenantId, command: A::Command) -> bool
    where
        A: Aggregate<Event: Into<Event> + TryFrom<Event>>,
    {
        self.append::<A>(stream, Some(tenant_id), command).await
    }

    async fn decide_untenanted<A>(&mut self, stream: StreamId, command: A::Command) -> bool
    where
        A: Aggregate<Event: Into<Event> + TryFrom<Event>>,
    {
        self.append::<A>(stream, None, command).await
    }

    /// Whether anything came of it.
    async fn append<A>(&mut self, stream: StreamId, tenant_id: Option<TenantId>, command: A::Command) -> bool
    where
        A: Aggregate<Event: Into<Event> + TryFrom<Event>>,
    {
        let (aggregate, version) = load::<A>(&*self.store, &stream).await.unwrap();
        let Ok(events) = aggregate.decide(command, &Context { now: self.clock.now() }) else { return false };
        let events: Vec<_> = events.into_iter().map(|event| self.new_event(tenant_id, event.into())).collect();
        let is_something = !events.is_empty();
        let write = StreamWrite { stream, expected: ExpectedVersion::Exact(version), events };
        self.store.append(Batch { metadata: metadata(), writes: vec![write] }).await.unwrap();
        is_something
    }

    fn new_event(&mut self, tenant_id: Option<TenantId>, event: Event) -> NewEvent {
        NewEvent { event_id: EventId::from_uuid(Uuid::from_u128(0xffff_0000 + self.draw())), tenant_id, event }
    }
}

fn said(text: &str) -> DecisionReason {
    DecisionReason { reason: Some(reason(text)) }
}

fn metadata() -> CommandMetadata {
    CommandMetadata {
        actor: Actor { kind: ActorKind::Admin, id: "alice".into() },
        correlation_id: CorrelationId::parse("test").unwrap(),
        causation_id: None,
        idempotency: None,
    }
}

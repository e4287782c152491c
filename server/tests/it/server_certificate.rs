//! The server's own certificate: kept over restarts, renewed before its end, replaced by files where they are configured.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::pki_types::CertificateDer;
use signalbeam_authn::draw;
use signalbeam_domain::authority::{Authority, AuthorityCommand, AuthorityCreated, AuthorityEvent, ServicePurpose};
use signalbeam_domain::{Actor, CorrelationId, Event, SerialNumber, StreamId, Timestamp};
use signalbeam_event_store::{Clock, CommandMetadata, EventReader as _, MemoryEventStore, execute};
use signalbeam_pki::{
    Authorities, AuthoritySet, AuthoritySettings, AuthorityStanding, BlockingPool, CaKeyType, CertificateAuthority,
    MemoryKeyStore, TrustedAuthority, peek_validity, server_certificate_needs_renewal,
};
use signalbeam_server::config::Tls;
use signalbeam_server::server_certificate::{Issuance, ServerCertificate, ServerCertificateError};
use uuid::Uuid;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A clock that is set by hand, in seconds since 1970.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.load(Ordering::SeqCst))
    }
}

impl SetClock {
    fn advance_days(&self, days: i64) {
        self.0.fetch_add(days * 86_400, Ordering::SeqCst);
    }
}

struct House {
    folder: tempfile::TempDir,
    authority: Arc<CertificateAuthority>,
    store: Arc<MemoryEventStore>,
    clock: Arc<SetClock>,
}

impl House {
    async fn new() -> Self {
        let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000)));
        let settings = AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
        let (keys, now) = (Arc::new(MemoryKeyStore::new(BlockingPool::new(1))), clock.now().to_offset_date_time());
        let serial = draw::serial_number().unwrap();
        let authority = CertificateAuthority::open_or_create(keys, settings, now, serial).await.unwrap();
        let store = Arc::new(MemoryEventStore::new(Arc::clone(&clock) as _));
        record(&store, &authority, clock.now()).await;
        Self { folder: tempfile::tempdir().unwrap(), authority: Arc::new(authority), store, clock }
    }

    async fn prepare(&self, tls: Tls) -> Result<ServerCertificate, ServerCertificateError> {
        self.prepare_with(Authorities::of_one(Arc::clone(&self.authority)).unwrap(), tls).await
    }

    async fn prepare_with(
        &self,
        authorities: Authorities,
        tls: Tls,
    ) -> Result<ServerCertificate, ServerCertificateError> {
        let issuance =
            Issuance { authorities, store: Arc::clone(&self.store) as _, clock: Arc::clone(&self.clock) as _ };
        ServerCertificate::prepare(&self.folder.path().join("tls"), issuance, tls).await
    }

    /// The serial numbers that were recorded for the listener, in order.
    async fn recorded(&self) -> Vec<SerialNumber> {
        let stream = StreamId::certificate_authority(self.authority.id());
        let events = self.store.read_stream(&stream).await.unwrap();
        let intended = events.iter().filter_map(|event| match event.event().unwrap() {
            Event::AuthorityEvent(AuthorityEvent::ServiceCertificateIntended(intended)) => Some(intended),
            _ => None,
        });
        intended
            .map(|intended| {
                assert_eq!(intended.purpose, ServicePurpose::TlsServer);
                intended.serial_number
            })
            .collect()
    }
}

/// Makes the log know the authority, as a first start does.
async fn record(store: &MemoryEventStore, authority: &CertificateAuthority, now: Timestamp) {
    let validity = authority.own_validity();
    let created = AuthorityCreated {
        authority_id: authority.id(),
        subject: authority.subject().to_owned(),
        serial_number: authority.serial_number(),
        fingerprint: authority.fingerprint(),
        key_type: authority.public_key().key_type().as_str().to_owned(),
        not_before: Timestamp::from_offset_date_time(validity.not_before),
        not_after: Timestamp::from_offset_date_time(validity.not_after),
        certificate_pem: authority.certificate_pem(),
        issuer_id: None,
        key_slot: None,
        issuers_pem: None,
    };
    let metadata = CommandMetadata {
        actor: Actor::system("server"),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    let stream = StreamId::certificate_authority(authority.id());
    let create = || AuthorityCommand::Create(created.clone());
    execute::<Authority>(store, &stream, None, &metadata, now, create).await.unwrap();
}

fn leaf(certificate: &ServerCertificate) -> CertificateDer<'static> {
    certificate.slot().current().cert[0].clone()
}

fn named(name: &str) -> Tls {
    Tls { server_names: vec![name.to_owned()], ..Tls::default() }
}

#[tokio::test]
async fn it_is_kept_until_a_third_of_its_life_is_left_and_then_renewed() {
    let house = House::new().await;
    let certificate = house.prepare(Tls::default()).await.unwrap();
    let first = leaf(&certificate);
    house.clock.advance_days(50);
    assert!(!certificate.refresh().await.unwrap());
    assert_eq!(leaf(&house.prepare(Tls::default()).await.unwrap()), first, "a restart keeps it");
    house.clock.advance_days(15);
    assert!(certificate.refresh().await.unwrap());
    let second = leaf(&certificate);
    let end = |der: &CertificateDer<'_>| peek_validity(der).unwrap().not_after;
    assert!(end(&second) > end(&first));
    assert!(!certificate.refresh().await.unwrap(), "renewed once");
    let serial_of = |der: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(der).unwrap();
        SerialNumber::from_octets(certificate.raw_serial().try_into().unwrap()).unwrap()
    };
    assert_eq!(
        house.recorded().await,
        [serial_of(&first), serial_of(&second)],
        "each before it was signed, and no other"
    );
}

#[tokio::test]
async fn another_name_takes_another_certificate() {
    let house = House::new().await;
    let certificate = house.prepare(Tls::default()).await.unwrap();
    assert!(certificate.reconfigure(named("beam.example.com")).await.unwrap());
    assert!(!certificate.refresh().await.unwrap());
    let refused = certificate.reconfigure(named("no name")).await.unwrap_err();
    assert!(matches!(refused, ServerCertificateError::Name(_)), "{refused}");
    assert!(!certificate.refresh().await.unwrap(), "the settings stayed as they were");
}

#[tokio::test]
async fn where_the_eldest_authority_cannot_sign_the_present_one_is_served_to_its_last_week_and_then_another_signs() {
    let house = House::new().await;
    let first = leaf(&house.prepare(Tls::default()).await.unwrap());
    let settings = || AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
    let empty = || Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
    let now = house.clock.now().to_offset_date_time();
    let certificates = vec![house.authority.certificate_der().to_vec()];
    let lost = CertificateAuthority::from_certificates(empty(), settings(), certificates).unwrap();
    let serial = draw::serial_number().unwrap();
    let successor = CertificateAuthority::open_or_create(empty(), settings(), now, serial).await.unwrap();
    record(&house.store, &successor, house.clock.now()).await;
    let successor = Arc::new(successor);
    let trusted = vec![
        TrustedAuthority { authority: Arc::new(lost), standing: AuthorityStanding::Rotated { at: now } },
        TrustedAuthority { authority: Arc::clone(&successor), standing: AuthorityStanding::Active },
    ];
    let authorities = Authorities::new(AuthoritySet::new(trusted).unwrap());

    house.clock.advance_days(65);
    let certificate = house.prepare_with(authorities, Tls::default()).await.unwrap();
    assert!(!certificate.refresh().await.unwrap());
    assert_eq!(leaf(&certificate), first, "some devices know its authority alone");
    assert_eq!(house.recorded().await.len(), 1, "what cannot be signed is not recorded again and again");
    house.clock.advance_days(19);
    assert!(certificate.refresh().await.unwrap());
    let now = house.clock.now().to_offset_date_time();
    assert_eq!(server_certificate_needs_renewal(&leaf(&certificate), now, &[], &successor), None);
    assert!(!certificate.refresh().await.unwrap(), "another one does not follow every hour");
}

#[tokio::test]
async fn a_damaged_file_is_replaced() {
    let house = House::new().await;
    let first = leaf(&house.prepare(Tls::default()).await.unwrap());
    std::fs::write(house.folder.path().join("tls/server.pem"), "damage").unwrap();
    assert_ne!(leaf(&house.prepare(Tls::default()).await.unwrap()), first);
}

fn files(folder: &Path, name: &str) -> (Tls, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls { certificate_file: Some(certificate), private_key_file: Some(key), ..Tls::default() };
    (tls, made.cert.der().clone())
}

#[tokio::test]
async fn configured_files_are_served_and_read_again_and_a_bad_pair_changes_nothing() {
    let house = House::new().await;
    let (tls, first) = files(house.folder.path(), "a");
    let certificate = house.prepare(tls.clone()).await.unwrap();
    assert_eq!(leaf(&certificate), first);
    let (_, second) = files(house.folder.path(), "a");
    assert!(certificate.refresh().await.unwrap());
    assert_eq!(leaf(&certificate), second);
    let (other, _) = files(house.folder.path(), "b");
    let mixed = Tls { private_key_file: other.private_key_file, ..tls };
    let refused = certificate.reconfigure(mixed).await.unwrap_err();
    assert!(matches!(refused, ServerCertificateError::Unusable { .. }), "{refused}");
    assert_eq!(leaf(&certificate), second);
}

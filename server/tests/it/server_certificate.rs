//! The server's own certificate: kept over restarts, renewed before its end, replaced by files where they are configured.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::pki_types::CertificateDer;
use signalbeam_authn::draw;
use signalbeam_domain::Timestamp;
use signalbeam_event_store::Clock;
use signalbeam_pki::{
    Authorities, AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, MemoryKeyStore, peek_validity,
};
use signalbeam_server::config::Tls;
use signalbeam_server::server_certificate::{ServerCertificate, ServerCertificateError};

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
    clock: Arc<SetClock>,
}

impl House {
    async fn new() -> Self {
        let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000)));
        let settings = AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
        let (keys, now) = (Arc::new(MemoryKeyStore::new(BlockingPool::new(1))), clock.now().to_offset_date_time());
        let serial = draw::serial_number().unwrap();
        let authority = CertificateAuthority::open_or_create(keys, settings, now, serial).await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), authority: Arc::new(authority), clock }
    }

    async fn prepare(&self, tls: Tls) -> Result<ServerCertificate, ServerCertificateError> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        ServerCertificate::prepare(
            &self.folder.path().join("tls"),
            Authorities::of_one(Arc::clone(&self.authority)).unwrap(),
            clock,
            tls,
        )
        .await
    }
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

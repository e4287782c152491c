//! The possession verifier, over real handshakes: without the key nobody gets in, with it everybody reaches the handler,
//! which then has the certificate in its hands.

use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ServerConfig;
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion, version};
use rustls_pki_types::PrivatePkcs8KeyDer;
use signalbeam_authn::Connection;
use signalbeam_authn::tls::PossessionVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

struct Server {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Server {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let certificate = certificate.der().clone();
        let mut authority = CertificateParams::default();
        authority.distinguished_name = named("SignalBeam Root CA");
        let authority = authority.self_signed(&key).unwrap();
        let authority = anchor(authority.der());
        let verifier = PossessionVerifier::new(vec![rustls::DistinguishedName::in_sequence(&authority.subject)]);
        let config = ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(vec![certificate.clone()], private_key(&key))
            .unwrap();
        Self { config: config.into(), certificate }
    }

    /// One connection: what the server made of it, where the handshake came about, and how the client saw it.
    async fn meet(&self, client: &Arc<ClientConfig>) -> (Option<Seen>, Option<HandshakeKind>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async {
            let (stream, peer) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(self.config.clone()).accept(stream).await.ok()?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
            let kind = stream.get_ref().1.handshake_kind();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            Some(Seen { connection: Connection::with_certificates(peer, chain.clone()), chain, kind })
        };
        let visiting = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(client.clone()).connect(name, stream).await.ok()?;
            let mut said = vec![];
            stream.read_to_end(&mut said).await.ok()?;
            assert_eq!(said, b"hello");
            stream.get_ref().1.handshake_kind()
        };
        tokio::join!(serving, visiting)
    }

    fn client(&self, version: &'static SupportedProtocolVersion, presents: Presents) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(default_provider().into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(builder.with_client_cert_resolver(Arc::new(presents)))
    }
}

struct Seen {
    connection: Connection,
    chain: Vec<CertificateDer<'static>>,
    kind: Option<HandshakeKind>,
}

/// A client that presents whatever a test gave it.
#[derive(Debug, Default)]
struct Presents {
    key: Option<Arc<CertifiedKey>>,
    hints: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Presents {
    fn certificate(certificate: &CertificateDer<'static>, key: &KeyPair) -> Self {
        Self::chain(vec![certificate.clone()], key)
    }

    fn chain(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let key = any_supported_type(&private_key(key)).unwrap();
        Self { key: Some(Arc::new(CertifiedKey::new(chain, key))), hints: Arc::default() }
    }
}

impl ResolvesClientCert for Presents {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.hints.lock().unwrap() = hints.iter().map(|hint| hint.to_vec()).collect();
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn anchor(certificate: &CertificateDer<'_>) -> rustls::pki_types::TrustAnchor<'static> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    roots.roots.pop().unwrap()
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

fn self_signed(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("device");
    change(&mut params);
    params.self_signed(key).unwrap().der().clone()
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_in_the_handshake() {
    let server = Server::new();
    let (own, stolen) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = self_signed(&stolen, |_| {});
    for version in VERSIONS {
        let thief = server.client(version, Presents::certificate(&certificate, &own));
        let (seen, kind) = server.meet(&thief).await;
        assert!(seen.is_none() && kind.is_none(), "{version:?}");
        let owner = server.client(version, Presents::certificate(&certificate, &stolen));
        let (seen, _) = server.meet(&owner).await;
        assert_eq!(seen.unwrap().chain.first(), Some(&certificate), "{version:?}");
    }
}

#[tokio::test]
async fn any_certificate_and_none_at_all_reach_the_handler() {
    let server = Server::new();
    let key = KeyPair::generate().unwrap();
    let foreign = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let issued = CertificateParams::default().signed_by(&key, &foreign).unwrap().der().clone();
    let expired = self_signed(&key, |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let ahead = self_signed(&key, |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    for version in VERSIONS {
        for certificate in [&self_signed(&key, |_| {}), &issued, &expired, &ahead] {
            let client = server.client(version, Presents::certificate(certificate, &key));
            let seen = server.meet(&client).await.0.unwrap();
            assert_eq!(seen.chain.as_slice(), std::slice::from_ref(certificate));
            assert!(seen.connection.certificate.is_some());
        }
        let seen = server.meet(&server.client(version, Presents::default())).await.0.unwrap();
        assert!(seen.chain.is_empty() && seen.connection.certificate.is_none());
    }
}

#[tokio::test]
async fn a_chain_may_have_16_kib_and_no_more() {
    let server = Server::new();
    let key = KeyPair::generate().unwrap();
    let own = self_signed(&key, |_| {});
    let filled_up_to = |bytes: usize| vec![own.clone(), CertificateDer::from(vec![0; bytes - own.len()])];
    for version in VERSIONS {
        let client = server.client(version, Presents::chain(filled_up_to(16 * 1024), &key));
        assert_eq!(server.meet(&client).await.0.unwrap().chain.len(), 2, "{version:?}");
        let client = server.client(version, Presents::chain(filled_up_to(16 * 1024 + 1), &key));
        assert!(server.meet(&client).await.0.is_none(), "{version:?}");
    }
}

#[tokio::test]
async fn a_resumed_session_still_has_its_certificate() {
    let server = Server::new();
    let key = KeyPair::generate().unwrap();
    let certificate = self_signed(&key, |_| {});
    for version in VERSIONS {
        let client = server.client(version, Presents::certificate(&certificate, &key));
        assert_eq!(server.meet(&client).await.0.unwrap().kind, Some(HandshakeKind::Full));
        let resumed = server.meet(&client).await.0.unwrap();
        assert_eq!(resumed.kind, Some(HandshakeKind::Resumed));
        assert_eq!(resumed.chain.first(), Some(&certificate), "so it is judged again on every request");
    }
}

#[tokio::test]
async fn clients_are_told_whose_certificates_are_wanted() {
    let server = Server::new();
    for version in VERSIONS {
        let presents = Presents::default();
        let hints = presents.hints.clone();
        let key = KeyPair::generate().unwrap();
        let certified = any_supported_type(&private_key(&key)).unwrap();
        let key = Some(Arc::new(CertifiedKey::new(vec![self_signed(&key, |_| {})], certified)));
        server.meet(&server.client(version, Presents { key, ..presents })).await.0.unwrap();
        let hints = hints.lock().unwrap();
        assert_eq!(hints.len(), 1);
        assert!(String::from_utf8_lossy(&hints[0]).contains("SignalBeam Root CA"));
    }
}

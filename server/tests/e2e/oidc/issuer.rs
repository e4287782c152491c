//! An issuer on this machine: discovery and keys over HTTPS, under a certificate authority of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;

const REALM: &str = "realms/fleet";

/// A P-256 key under a name.
pub(crate) struct SigningKey {
    kid: String,
    pkcs8: Vec<u8>,
    point: Vec<u8>,
}

impl SigningKey {
    pub(crate) fn new(kid: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        Self { kid: kid.to_owned(), pkcs8: pair.serialize_der(), point: pair.der_bytes().to_vec() }
    }

    /// The same key under another name.
    pub(crate) fn renamed(other: &Self, kid: &str) -> Self {
        Self { kid: kid.to_owned(), pkcs8: other.pkcs8.clone(), point: other.point.clone() }
    }

    fn jwk(&self) -> Value {
        let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&self.point[range]);
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": coordinate(1..33), "y": coordinate(33..65),
        })
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.kid});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8, &random).unwrap();
        let signature = key.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[derive(Default)]
struct State {
    keys: Mutex<Vec<Value>>,
    key_fetches: AtomicUsize,
    connections: AtomicUsize,
    is_stopping: AtomicBool,
}

/// The issuer; ended when dropped.
pub(crate) struct Issuer {
    address: SocketAddr,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
    folder: TempDir,
}

impl Issuer {
    /// Serves an empty key set.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Arc::new(tls(&folder));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (served, url) = (Arc::clone(&state), url(address));
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming() {
                if served.is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                served.connections.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up has had its say.
                let _outcome = serve(socket.unwrap(), &config, &served, &url);
            }
        });
        Self { address, state, thread: Mutex::new(Some(thread)), folder }
    }

    pub(crate) fn url(&self) -> String {
        url(self.address)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        *self.state.keys.lock().unwrap() = keys.iter().map(|key| key.jwk()).collect();
    }

    pub(crate) fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// From now on nobody listens there.
    pub(crate) fn stop(&self) {
        let Some(thread) = self.thread.lock().unwrap().take() else { return };
        self.state.is_stopping.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        thread.join().unwrap();
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn url(address: SocketAddr) -> String {
    format!("https://localhost:{}/{REALM}", address.port())
}

/// Makes an authority, leaves its certificate in the folder, and serves under it.
fn tls(folder: &TempDir) -> ServerConfig {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.path().join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

fn serve(socket: TcpStream, config: &Arc<ServerConfig>, state: &State, url: &str) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let mut request = Vec::new();
    let mut chunk = [0; 1_024];
    while !request.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..count]);
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let answer = if path == format!("/{REALM}/.well-known/openid-configuration") {
        json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "response_types_supported": ["code"]})
    } else {
        state.key_fetches.fetch_add(1, Ordering::SeqCst);
        json!({ "keys": *state.keys.lock().unwrap() })
    };
    let body = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}

//! Clients that mean no good: heads without end, ambiguous lengths, too many connections, certificates without keys.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned, SupportedProtocolVersion};

use crate::process::{PATIENCE, Server, signalbeam};

/// Presents a certificate with whatever key, asked or not.
#[derive(Debug)]
struct Presents(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

type Wire = StreamOwned<ClientConnection, TcpStream>;

fn connect(
    server: &Server,
    data_dir: &Path,
    identity: Option<CertifiedKey>,
    version: &'static SupportedProtocolVersion,
) -> Wire {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data_dir.join("ca/ca-cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Presents(identity.map(Arc::new))));
    let tcp = TcpStream::connect(address(server)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp)
}

fn address(server: &Server) -> SocketAddr {
    server.url.trim_start_matches("https://").parse().unwrap()
}

/// Sends a request and reads to the end of the connection; an error where TLS or the peer ended it otherwise.
fn exchange(mut wire: Wire, request: &[u8]) -> std::io::Result<String> {
    // A server that has heard enough may close while we are still writing; what it answered can be read all the same.
    let _written = wire.write_all(request).and_then(|()| wire.flush());
    let mut answer = Vec::new();
    match wire.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn plain(server: &Server, data_dir: &Path, request: &[u8]) -> String {
    exchange(connect(server, data_dir, None, &rustls::version::TLS13), request).unwrap()
}

fn key_pair() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["device".to_owned()]).unwrap();
    (made.cert.der().clone(), PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap())
}

fn certified(certificate: CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> CertifiedKey {
    CertifiedKey::new(vec![certificate], rustls::crypto::ring::sign::any_supported_type(key).unwrap())
}

const HEARTBEAT: &[u8] = b"POST /api/devices/018f3c5e-7b1a-7cc2-9d3e-0123456789ab/heartbeat HTTP/1.1\r\nHost: x\r\n\
    Connection: close\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_certificate_without_its_key_is_refused_in_the_handshake_and_a_foreign_one_by_its_code() {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("data");
    let server = Server::start(&data_dir);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ((certificate, key), (_, other_key)) = (key_pair(), key_pair());
        let stolen = connect(&server, &data_dir, Some(certified(certificate.clone(), &other_key)), version);
        let refused = exchange(stolen, HEARTBEAT);
        assert!(refused.is_err(), "{version:?}: {refused:?}");
        let foreign = connect(&server, &data_dir, Some(certified(certificate, &key)), version);
        let answer = exchange(foreign, HEARTBEAT).unwrap();
        assert!(answer.contains("INVALID_CERTIFICATE_CHAIN"), "{version:?}: {answer}");
        let without = connect(&server, &data_dir, None, version);
        assert!(exchange(without, HEARTBEAT).unwrap().contains("AUTHENTICATION_REQUIRED"));
    }
    let failures = server.ops("/metrics").1;
    assert!(failures.contains("signalbeam_tls_handshake_failures_total{reason=\"refused\"} 2"), "{failures}");
}

#[test]
fn without_mtls_no_certificate_is_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("data");
    let mut command = signalbeam(&data_dir);
    let server = Server::start_with(command.arg("serve").env("SIGNALBEAM__MTLS__ENABLED", "false"), &data_dir);
    let (certificate, key) = key_pair();
    let wire = connect(&server, &data_dir, Some(certified(certificate, &key)), &rustls::version::TLS13);
    assert!(exchange(wire, HEARTBEAT).unwrap().contains("AUTHENTICATION_REQUIRED"));
}

#[test]
fn heads_without_end_and_ambiguous_lengths_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("data");
    let server = Server::start(&data_dir);
    let endless = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: x\r\n".repeat(1_000));
    let longest = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    for request in [&endless, &many, &longest] {
        // Who is still writing when the server closes may not get to read why.
        let wire = connect(&server, &data_dir, None, &rustls::version::TLS13);
        let Ok(answer) = exchange(wire, request.as_bytes()) else { continue };
        let status = answer.get(9..12).unwrap_or_default().to_owned();
        assert!(["400", "414", "431"].contains(&status.as_str()), "{answer}");
    }
    // Two lengths, or a length beside chunks: what one reader takes for the body another takes for the next request
    // (RFC 9112, section 6.3).
    for framing in [
        "Content-Length: 2\r\nContent-Length: 40\r\n",
        "Content-Length: 2, 40\r\n",
        "Content-Length: +2\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let smuggled = "{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = format!("POST /api/devices HTTP/1.1\r\nHost: x\r\n{framing}\r\n{smuggled}");
        let answer = plain(&server, &data_dir, request.as_bytes());
        assert_eq!(answer.get(9..12), Some("400"), "{framing:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{framing:?}: {answer}");
    }
    let both = "POST /api/devices HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = plain(&server, &data_dir, both.as_bytes());
    assert!(answer.matches("HTTP/1.1 ").count() == 1 || !answer.contains("NOT_FOUND"), "{answer}");
    assert_eq!(server.ops("/health/live").0, 200);
}

#[test]
fn running_out_of_file_descriptors_passes() {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("data");
    Server::start(&data_dir).terminate();
    let usual = signalbeam(&data_dir);
    let program = usual.get_program().to_owned();
    // The shell sets the limit and becomes the server.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 80; exec \"$0\" serve"]).arg(program).stdin(Stdio::null());
    for (name, value) in usual.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    let server = Server::start_with(command.current_dir(parent.path()), &data_dir);
    let address = address(&server);
    let crowd: Vec<TcpStream> =
        (0..150).filter_map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()).collect();
    assert!(crowd.len() > 100, "the kernel takes them for us");
    drop(crowd);
    let answer =
        plain(&server, &data_dir, b"GET /api/certificates/ca HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (status, said) = server.terminate();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("cannot accept connections"), "the limit was reached: {said}");
}

//! Behind proxies: certificates and addresses in headers, and the PROXY protocol before TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS13;
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::device::{Device, by_certificate};
use crate::keys::{Forgery, Identity};
use crate::server::{Server, Site};
use crate::waiting::{PATIENCE, eventually};
use crate::wire::{Wire, config};

/// What a proxy writes about a client that showed it this certificate.
fn forwarded(identity: &Identity) -> [(&'static str, String); 2] {
    let der = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
    let pem = identity.certificate_pem.replace('\n', "%0A").replace('+', "%2B").replace(' ', "%20");
    let element = format!("By=spiffe://mesh/proxy;Cert=\"{pem}\";Subject=\"CN=x,O=\\\"y\\\"\"");
    [("x-forwarded-client-cert", element), ("client-cert", format!(":{}:", STANDARD.encode(der)))]
}

/// The only entry of the authentication log with this correlation id.
fn entry(device: &Device, admin: &Client, correlation_id: &str) -> Value {
    let mut entries = device.log(admin).into_iter().filter(|entry| entry["correlationId"] == correlation_id);
    let entry = entries.next().expect("an entry");
    assert!(entries.next().is_none());
    entry
}

#[test]
fn a_terminating_proxy_hands_on_certificates_once_it_is_trusted() {
    for at in [0, 1] {
        let site = Site::new();
        let mode = ["x-forwarded-client-cert", "client-cert"][at];
        let trusting = |network: &str| {
            site.configure(&format!("[proxy]\ntrusted = ['{network}']\nclient_certificate_header = '{mode}'\n"));
        };
        trusting("192.0.2.0/24");
        let server = site.start();
        let admin = server.admin();
        let device = Device::approved(&server, &admin);
        let identity = device.issue(&server, 90);
        let (name, value) = &forwarded(&identity)[at];
        let through_proxy = server.anonymous().header(name, value);

        device.beat(&through_proxy).refused(401, "AUTHENTICATION_REQUIRED");
        device.beat(&by_certificate(&server, &identity)).expect(200);
        trusting("127.0.0.0/8");
        server.hang_up();
        eventually("the proxy is believed", || (device.beat(&through_proxy).status == 200).then_some(()));
        let beat = through_proxy.header("x-correlation-id", "forwarded").header("x-forwarded-for", "203.0.113.9");
        device.beat(&beat).expect(200);
        let entry = entry(&device, &admin, "forwarded");
        assert_eq!(
            (&entry["authenticationMethod"], &entry["ipAddress"]),
            (&"Certificate".into(), &"203.0.113.9".into())
        );
        assert_eq!(entry["certificateSerialNumber"], identity.serial_number.as_str());

        device.beat(&by_certificate(&server, &identity)).refused(401, "AUTHENTICATION_REQUIRED");
        device.beat(&server.anonymous().header(name, "nonsense")).refused(401, "INVALID_CERTIFICATE_CHAIN");
        let forgery = Forgery::of(&device.id, &identity).signed_by_a_stranger(&site.ca_pem());
        let (name, forged) = &forwarded(&forgery)[at];
        device.beat(&server.anonymous().header(name, forged)).refused(401, "INVALID_CERTIFICATE_CHAIN");
        assert_eq!(admin.delete(&format!("/api/certificates/{}", identity.serial_number)).status, 204);
        device.beat(&through_proxy).refused(401, "CERTIFICATE_REVOKED");
        server.stop();
    }
}

#[test]
fn the_header_that_the_operator_names_tells_the_address() {
    let site = Site::new().with("proxy.trusted", "127.0.0.0/8,2001:db8::/32").with("proxy.address_header", "forwarded");
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let forwarded = "for=6.6.6.6, for=\"[2001:db9::7]:4711\";proto=https, for=\"[2001:db8::1]\"";
    let client = device.by_key(&server).header("x-forwarded-for", "6.6.6.6").header("x-real-ip", "6.6.6.6");
    device.beat(&client.header("forwarded", forwarded).header("x-correlation-id", "rfc-7239")).expect(200);
    assert_eq!(entry(&device, &admin, "rfc-7239")["ipAddress"], "2001:db9::7");
    device.beat(&client.header("x-correlation-id", "none")).expect(200);
    assert_eq!(entry(&device, &admin, "none")["ipAddress"], "127.0.0.1");
}

/// A header of the PROXY protocol, version 2, about a TCP connection over IPv4.
fn proxy_header(source: [u8; 4], extensions: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + extensions.len()).unwrap().to_be_bytes();
    let addresses = [&source[..], &[127, 0, 0, 1, 0x12, 0x67, 0x20, 0xfb]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &addresses, extensions].concat()
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// A server that wants PROXY headers from this machine, and a device that it knows.
struct Balanced<'a> {
    server: &'a Server<'a>,
    device: &'a Device,
    tls: Arc<ClientConfig>,
}

impl Balanced<'_> {
    fn beat(&self, header: &[u8], more: &str) -> std::io::Result<Answer> {
        let mut socket = TcpStream::connect(self.server.address)?;
        socket.write_all(header)?;
        let mut wire = Wire::over(socket, &self.tls)?;
        let path = self.device.path("heartbeat");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n{more}", self.device.api_key);
        wire.send(format!("{head}content-length: 0\r\n\r\n").as_bytes())?;
        wire.answer()
    }

    /// Waits until the server closes a connection that began so.
    fn is_closed_after(&self, header: &[u8]) -> Duration {
        let begun = Instant::now();
        let mut socket = TcpStream::connect(self.server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed in the middle.
        let _sent = socket.write_all(header);
        assert_closed(socket);
        begun.elapsed()
    }
}

fn assert_closed(mut socket: TcpStream) {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{rest:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// Bytes that keep coming do not help.
fn trickle(address: SocketAddr, header: &[u8]) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for byte in header {
        if socket.write_all(&[*byte]).is_err() {
            return;
        }
        let mut answer = [0];
        match socket.read(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) | Ok(0) => return,
            Ok(_) => panic!("the server answered {answer:?}"),
        }
    }
    panic!("a trickling header was taken");
}

#[test]
fn the_proxy_protocol_names_the_peer() {
    let site = Site::new();
    let with = |protocol: &str| format!("[proxy]\ntrusted = ['127.0.0.0/8', '10.0.0.0/8']\nprotocol = '{protocol}'\n");
    site.configure(&with("none"));
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let balanced = Balanced { server: &server, device: &device, tls: config(&site.ca_pem(), None, &[&TLS13]) };
    device.beat(&device.by_key(&server)).expect(200);
    site.configure(&with("v2"));
    server.hang_up();
    eventually("the header is wanted", || Wire::open(server.address, &balanced.tls).is_err().then_some(()));

    let noop = [0x04, 0, 2, 0, 0];
    // 4,096 bytes with the addresses and what is before them.
    let filled = [&[0xe0, 0x0f, 0xe1][..], &[7; 0x0fe1]].concat();
    let cases: [(&str, Vec<u8>, &str, &str); 5] = [
        ("client", proxy_header([203, 0, 113, 9], &noop), "", "203.0.113.9"),
        ("stranger", proxy_header([203, 0, 113, 9], &[]), "x-forwarded-for: 6.6.6.6\r\n", "203.0.113.9"),
        ("proxy", proxy_header([10, 0, 0, 7], &[]), "x-forwarded-for: 6.6.6.6, 198.51.100.1\r\n", "198.51.100.1"),
        ("largest", proxy_header([203, 0, 113, 8], &filled), "", "203.0.113.8"),
        ("local", LOCAL.to_vec(), "", "127.0.0.1"),
    ];
    for (id, header, more, _) in &cases {
        balanced.beat(header, &format!("{more}x-correlation-id: {id}\r\n")).unwrap().expect(200);
    }
    site.configure(&with("none"));
    server.hang_up();
    eventually("the header is no longer wanted", || Wire::open(server.address, &balanced.tls).ok());
    for (id, _, _, expected) in &cases {
        assert_eq!(entry(&device, &admin, id)["ipAddress"], *expected, "{id}");
    }
}

#[test]
fn who_does_not_begin_with_a_proxy_header_in_time_is_closed() {
    let site = Site::new().with("listener.handshake_timeout_seconds", "3");
    let with = |trusted: &str, protocol: &str| format!("[proxy]\ntrusted = ['{trusted}']\nprotocol = '{protocol}'\n");
    site.configure(&with("127.0.0.1/32", "none"));
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let balanced = Balanced { server: &server, device: &device, tls: config(&site.ca_pem(), None, &[&TLS13]) };
    site.configure(&with("127.0.0.1/32", "v2"));
    server.hang_up();
    eventually("the header is wanted", || Wire::open(server.address, &balanced.tls).is_err().then_some(()));

    let good = proxy_header([203, 0, 113, 9], &[]);
    let soon = Duration::from_millis(2_500);
    for (what, bytes) in [
        ("version 1", b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 8443\r\n".to_vec()),
        ("plain HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("oversized", proxy_header([203, 0, 113, 9], &vec![0; 5_000])),
        ("lengths", proxy_header([203, 0, 113, 9], &[0xe0, 0xff, 0xff])),
        ("checksum", proxy_header([203, 0, 113, 9], &[3, 0, 4, 1, 2, 3, 4])),
        ("a datagram", [&good[..13], &[0x12], &good[14..]].concat()),
    ] {
        assert!(balanced.is_closed_after(&bytes) < soon, "{what}");
    }
    for truncated in [&good[..0], &good[..5], &good[..20]] {
        let took = balanced.is_closed_after(truncated);
        assert!(took >= soon && took < PATIENCE / 2, "{truncated:?}: {took:?}");
    }
    trickle(server.address, &good);
    balanced.beat(&good, "").unwrap().expect(200);
    let metrics = server.metrics();
    let refused = metrics
        .lines()
        .find(|line| line.starts_with("signalbeam_tls_handshake_failures_total{reason=\"proxy_header\"}"));
    let count: u64 = refused.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
    assert!(count >= 6, "{refused:?}");

    site.configure(&with("192.0.2.1/32", "v2"));
    server.hang_up();
    eventually("this machine is no proxy any more", || balanced.beat(&good, "").is_err().then_some(()));
    assert!(balanced.is_closed_after(b"") < soon, "an untrusted peer is not waited for");
}

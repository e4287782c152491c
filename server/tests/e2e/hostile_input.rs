//! Requests that are too large, too slow, too deep, ambiguous or no requests at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::Method;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::version::TLS13;

use crate::client::Answer;
use crate::server::{Server, Site};
use crate::waiting::PATIENCE;
use crate::wire::{Wire, config};

/// Far above every timeout that these tests configure, and below the server's defaults.
const SOON: Duration = Duration::from_secs(8);

fn wire(server: &Server<'_>) -> Wire {
    Wire::open(server.address, &config(&server.site.ca_pem(), None, &[&TLS13])).unwrap()
}

/// The answer to raw bytes; `None` if the connection was closed without one.
fn answer_to(server: &Server<'_>, request: &[u8]) -> Option<Answer> {
    let mut wire = wire(server);
    // The server may answer and close before it has read everything.
    let _sent = wire.send(request);
    wire.answer().ok()
}

#[track_caller]
fn assert_healthy(server: &Server<'_>) {
    assert_eq!(server.anonymous().get("/api/certificates/ca").status, 200);
}

#[test]
fn ordinary_mistakes_are_problems_with_codes() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let anonymous = server.anonymous();
    anonymous.get("/no/such/route").refused(404, "NOT_FOUND");
    anonymous.get("/api/registration-tokens/../../etc/passwd").refused(404, "NOT_FOUND");
    anonymous.delete("/api/devices").refused(405, "METHOD_NOT_ALLOWED");
    let post = |body: &[u8], kind: &str| {
        admin.send(Method::POST, "/api/registration-tokens", Some((body.to_vec(), kind))).unwrap()
    };
    post(b"<xml/>", "text/xml").refused(415, "UNSUPPORTED_MEDIA_TYPE");
    post(b"{", "application/json").refused(400, "INVALID_REQUEST");
    post(b"[]", "application/json").refused(400, "INVALID_REQUEST");
    post(b"\xff\xfe", "application/json").refused(400, "INVALID_REQUEST");
    post(b"{\"tenantId\":\"00000000-0000-0000-0000-000000000001\",\"extra\":1}", "application/json")
        .refused(400, "INVALID_REQUEST");
    post(b"{\"tenantId\":1,\"tenantId\":2}", "application/json").refused(400, "INVALID_REQUEST");
    let kept = anonymous.header("x-correlation-id", "chosen-1").get("/nowhere").refused(404, "NOT_FOUND");
    assert_eq!(kept["correlationId"], "chosen-1");
    let replaced = anonymous.header("x-correlation-id", &"x".repeat(129)).get("/nowhere").refused(404, "NOT_FOUND");
    assert_eq!(
        replaced["correlationId"].as_str().map(|id| (1..=128).contains(&id.len()) && !id.starts_with("xxx")),
        Some(true)
    );
    for query in [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=99999999999999999999",
        "cursor=%00",
        "cursor=AAAA",
        "status=Nope",
        "nosuch=1",
    ] {
        let answer = admin.get(&format!("/api/devices?{query}"));
        answer.refused(400, "INVALID_REQUEST");
    }
    for query in ["startDate=yesterday", "endDate=9999-99-99T00:00:00Z", "deviceId=1"] {
        admin.get(&format!("/api/authentication-logs?{query}")).refused(400, "INVALID_REQUEST");
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_and_the_server_goes_on() {
    let site = Site::new().with("listener.max_body_bytes", "65536");
    let server = site.start();
    let admin = server.admin();
    let post = |body: Vec<u8>| admin.send(Method::POST, "/api/registration-tokens", Some((body, "application/json")));
    post(vec![b' '; 65_537]).unwrap().refused(413, "BODY_TOO_LARGE");
    let deep = [b"{\"tenantId\":".as_slice(), &vec![b'['; 30_000], &vec![b']'; 30_000], b"}"].concat();
    post(deep).unwrap().refused(400, "INVALID_REQUEST");

    let chunk = format!("{:x}\r\n{}\r\n", 32_768, "x".repeat(32_768));
    let head =
        "POST /api/devices HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = answer_to(&server, format!("{head}{}", chunk.repeat(4)).as_bytes());
    chunked.expect("an answer").refused(413, "BODY_TOO_LARGE");

    let huge_header = format!("GET / HTTP/1.1\r\nhost: x\r\nx-filler: {}\r\n\r\n", "x".repeat(128 << 10));
    let many_headers = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    let huge_target = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(128 << 10));
    for request in [huge_header, many_headers, huge_target] {
        let answer = answer_to(&server, request.as_bytes());
        assert!(answer.as_ref().is_none_or(|answer| (400..500).contains(&answer.status)), "{answer:?}");
    }
    assert_healthy(&server);
}

#[test]
fn who_is_too_slow_is_cut_off() {
    let site = Site::new()
        .with("listener.handshake_timeout_seconds", "1")
        .with("listener.header_timeout_seconds", "1")
        .with("listener.body_timeout_seconds", "1")
        .with("listener.idle_timeout_seconds", "1");
    let server = site.start();
    let begun = Instant::now();
    let mut silent = TcpStream::connect(server.address).unwrap();
    let mut half_shaken = TcpStream::connect(server.address).unwrap();
    half_shaken.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    let mut half_head = wire(&server);
    half_head.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").unwrap();
    let mut idle = wire(&server);
    let mut half_body = wire(&server);
    half_body
        .send(
            b"POST /api/devices HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        )
        .unwrap();
    half_body.answer().unwrap().refused(408, "REQUEST_TIMEOUT");
    for stream in [&mut silent, &mut half_shaken] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // A reset closes as well as an end does.
        let end = stream.read_to_end(&mut rest);
        assert!(end.is_ok() || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    }
    let mut rest = half_head.answer().map(|answer| answer.status);
    assert!(rest.as_mut().is_err() || rest.is_ok_and(|status| status == 408));
    assert!(idle.is_closed());
    assert!(begun.elapsed() < SOON, "took {:?}", begun.elapsed());
    assert_healthy(&server);
}

#[test]
fn ambiguous_requests_are_refused_and_smuggle_nothing() {
    let site = Site::new();
    let server = site.start();
    let smuggled = "GET /api/certificates/ca HTTP/1.1\r\nhost: x\r\n\r\n";
    let head = "POST /api/devices HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let ambiguous = [
        ("two lengths", format!("{head}content-length: 4\r\ncontent-length: 5\r\n\r\n{{}}  ")),
        ("a list of lengths", format!("{head}content-length: 4, 5\r\n\r\n{{}}  ")),
        ("a signed length", format!("{head}content-length: +4\r\n\r\n{{}}  ")),
        ("an unknown coding", format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("chunked not last", format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
        ("space before the colon", format!("{head}content-length : 4\r\n\r\n{{}}  ")),
        ("a folded header", "GET / HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c\r\n\r\n".to_owned()),
        ("a bare line feed in a value", format!("{head}x-a: b\nx-c: d\x00\r\ncontent-length: 2\r\n\r\n{{}}")),
    ];
    for (what, request) in ambiguous {
        let mut wire = wire(&server);
        wire.send(format!("{request}{smuggled}").as_bytes()).unwrap();
        if let Ok(first) = wire.answer() {
            assert!((400..500).contains(&first.status) || first.status == 501, "{what}: {first:?}");
        }
        assert!(wire.answer().is_err(), "{what}: a second request was read out of the first");
    }
    length_beside_chunks(&server, head, smuggled);
    assert_healthy(&server);
}

#[test]
fn a_request_for_no_host_or_for_several_is_refused() {
    let site = Site::new();
    let server = site.start();
    let get = |version: &str, hosts: &str| {
        let request = format!("GET /api/certificates/ca HTTP/{version}\r\n{hosts}\r\n");
        answer_to(&server, request.as_bytes()).expect("an answer")
    };
    for hosts in ["", "host: x\r\nhost: x\r\n", "host: x\r\nhost: y\r\n", "host: a b\r\n", "host: a@b\r\n", "host:\r\n"]
    {
        get("1.1", hosts).refused(400, "INVALID_REQUEST");
    }
    assert_eq!(get("1.1", "host: x:8443\r\n").status, 200);
    assert_eq!(get("1.0", "").status, 200);
}

/// RFC 9112, section 6.3: refused, or read as chunked and the connection closed; never read by the length.
fn length_beside_chunks(server: &Server<'_>, head: &str, smuggled: &str) {
    let mut wire = wire(server);
    let request = format!("{head}content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}");
    wire.send(request.as_bytes()).unwrap();
    if let Ok(first) = wire.answer() {
        assert!((400..500).contains(&first.status), "{first:?}");
        assert!(wire.answer().is_err(), "the connection goes on after an ambiguous request");
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let site = Site::new();
    let server = site.start();
    let random = SystemRandom::new();
    for round in 0..50 {
        let mut bytes = vec![0; 1 + round * 37];
        random.fill(&mut bytes).unwrap();
        if round % 3 == 0 {
            // The head of a TLS handshake record, so that the rest is parsed as one.
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            bytes = [&[22, 3, 1, length[0], length[1], 1], bytes.as_slice()].concat();
        }
        let mut raw = TcpStream::connect(server.address).unwrap();
        // It may be closed in the middle.
        let _sent = raw.write_all(&bytes);
        if round % 2 == 0 {
            let mut inside = wire(&server);
            let _sent = inside.send(&bytes);
        }
    }
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _end = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "plain HTTP is not served there");
    assert_healthy(&server);
    server.stop();
    assert!(!site.said().contains("panicked"), "{}", site.said());
}

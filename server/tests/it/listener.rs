//! The listener's bounds: slow clients are closed in time, patient ones are kept, running requests finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::routing::get;
use axum::{Extension, Router};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_server::listener::{Limits, Listener, Peer, ProxyProtocol};
use signalbeam_server::tls::{CertificateSlot, server_config};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Nothing in these tests takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// How an HTTP/2 connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn generous() -> Limits {
    Limits {
        max_connections: 100,
        max_concurrent_handshakes: 100,
        handshake_timeout: PATIENCE,
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        stall_timeout: PATIENCE,
        answer_timeout: PATIENCE,
        drain_timeout: PATIENCE,
    }
}

struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn start(limits: Limits, tls: Option<TlsAcceptor>, router: Router) -> Running {
    start_behind(ProxyProtocol::None, limits, tls, router).await
}

async fn start_behind(proxies: ProxyProtocol, limits: Limits, tls: Option<TlsAcceptor>, router: Router) -> Running {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let (_, router) = watch::channel(router);
    let describe = |peer: Peer| Arc::new(peer);
    let (_, proxies) = watch::channel(proxies);
    let task = tokio::spawn(
        Listener { socket, tls: tls.map(|acceptor| watch::channel(acceptor).1), limits, router, describe }
            .run_behind(proxies, stopping),
    );
    Running { address, stop, task }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Reads until the answer's body `hello` has come.
async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) {
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        let count = timeout(PATIENCE, stream.read_buf(&mut text)).await.expect("an answer").unwrap();
        assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&text));
    }
}

/// Waits until the other side has closed, and says how long that took.
async fn closed(stream: &mut (impl AsyncRead + Unpin), since: Instant) -> Duration {
    let mut rest = Vec::new();
    // A reset closes as well as an end does.
    let _end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection to be closed");
    since.elapsed()
}

fn server_key() -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    (der.clone(), Arc::new(CertifiedKey::new(vec![der], key)))
}

fn acceptor(key: Arc<CertifiedKey>) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(server_config(CertificateSlot::new(key), None).unwrap()))
}

fn connector(trusted: CertificateDer<'static>, protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_closed() {
    let limit = Duration::from_millis(200);
    let server =
        start(Limits { handshake_timeout: limit, ..generous() }, Some(acceptor(server_key().1)), hello()).await;
    let since = Instant::now();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let took = closed(&mut stream, since).await;
    assert!(took >= limit, "closed after {took:?}");
}

#[tokio::test]
async fn clients_that_never_shake_hands_do_not_keep_others_from_it() {
    let (trusted, key) = server_key();
    let limits = Limits { max_concurrent_handshakes: 1, ..generous() };
    let server = start(limits, Some(acceptor(key)), hello()).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let shaken = timeout(PATIENCE / 2, connector(trusted, b"http/1.1").connect(name, stream)).await;
    let mut stream = shaken.expect("a turn").unwrap();
    stream.write_all(REQUEST).await.unwrap();
    read_hello(&mut stream).await;
}

#[tokio::test]
async fn proxies_that_say_nothing_keep_nobody_from_shaking_hands_and_are_closed() {
    let (trusted, key) = server_key();
    let limit = Duration::from_secs(2);
    let limits = Limits { max_concurrent_handshakes: 1, handshake_timeout: limit, ..generous() };
    let proxies = ProxyProtocol::V2(TrustedProxies::new(vec!["127.0.0.1/32".parse().unwrap()]));
    let server = start_behind(proxies, limits, Some(acceptor(key)), hello()).await;
    let since = Instant::now();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let shaken = timeout(limit / 2, connector(trusted, b"http/1.1").connect(name, stream)).await;
    let mut stream = shaken.expect("a turn").unwrap();
    stream.write_all(REQUEST).await.unwrap();
    read_hello(&mut stream).await;
    let took = closed(&mut silent, since).await;
    assert!(took >= limit, "closed after {took:?}");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off_although_bytes_keep_coming() {
    let limit = Duration::from_millis(300);
    let server = start(Limits { header_timeout: limit, ..generous() }, None, hello()).await;
    let since = Instant::now();
    let (mut read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
    let trickle = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while write.write_all(b"G").await.is_ok() {
            pace.tick().await;
        }
    };
    let took = tokio::select! {
        took = closed(&mut read, since) => took,
        () = trickle => since.elapsed(),
    };
    assert!(took >= limit && took < PATIENCE / 2, "closed after {took:?}");
}

#[tokio::test]
async fn a_client_that_sends_nothing_after_the_handshake_is_closed_in_either_protocol() {
    for protocol in [b"http/1.1".as_slice(), b"h2"] {
        let (trusted, key) = server_key();
        let limit = Duration::from_millis(200);
        let server = start(Limits { header_timeout: limit, ..generous() }, Some(acceptor(key)), hello()).await;
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector(trusted, protocol).connect(name, stream).await.unwrap();
        closed(&mut stream, Instant::now()).await;
    }
}

#[tokio::test]
async fn a_patient_client_keeps_its_connection_between_requests() {
    let (header, idle) = (Duration::from_millis(100), Duration::from_millis(1_500));
    let server = start(Limits { header_timeout: header, idle_timeout: idle, ..generous() }, None, hello()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    read_hello(&mut stream).await;
    let silence = timeout(header * 4, stream.read_u8()).await;
    assert!(silence.is_err(), "closed too early: {silence:?}");
    stream.write_all(REQUEST).await.unwrap();
    read_hello(&mut stream).await;
    let took = closed(&mut stream, Instant::now()).await;
    assert!(took >= idle / 2, "closed after {took:?}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = start(Limits { max_connections: 1, ..generous() }, None, hello()).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    read_hello(&mut first).await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    assert!(timeout(Duration::from_millis(200), second.readable()).await.is_err(), "served beyond the limit");
    drop(first);
    read_hello(&mut second).await;
}

#[tokio::test]
async fn at_the_end_running_requests_finish_and_idle_connections_close() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&entered), Arc::clone(&leave));
    let slow = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "hello"
    });
    let server = start(generous(), None, hello().route("/slow", slow)).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(REQUEST).await.unwrap();
    read_hello(&mut idle).await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(PATIENCE, entered.notified()).await.unwrap();

    server.stop.send(true).unwrap();
    closed(&mut idle, Instant::now()).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "still accepting");
    assert!(!server.task.is_finished());
    leave.notify_one();
    read_hello(&mut busy).await;
    timeout(PATIENCE, server.task).await.expect("the listener to end").unwrap();
}

#[tokio::test]
async fn the_end_does_not_wait_forever() {
    let stuck = get(async || std::future::pending::<&str>().await);
    let limits = Limits { drain_timeout: Duration::from_millis(100), ..generous() };
    let server = start(limits, None, Router::new().route("/", stuck)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    server.stop.send(true).unwrap();
    timeout(PATIENCE, server.task).await.expect("the listener to end").unwrap();
    closed(&mut stream, Instant::now()).await;
}

#[tokio::test]
async fn both_protocols_are_spoken_and_the_peer_is_told() {
    let (trusted, key) = server_key();
    let router = Router::new().route(
        "/",
        get(async |Extension(peer): Extension<Arc<Peer>>| {
            assert!(peer.address.ip().is_loopback() && peer.certificates.is_empty());
            "hello"
        }),
    );
    let server = start(generous(), Some(acceptor(key)), router).await;
    let name = || ServerName::try_from("localhost").unwrap();

    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connector(trusted.clone(), b"http/1.1").connect(name(), stream).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    read_hello(&mut stream).await;

    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connector(trusted, b"h2").connect(name(), stream).await.unwrap();
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let mut frame_head = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut frame_head)).await.expect("a frame").unwrap();
    assert_eq!(frame_head[3], 4, "the first frame must be SETTINGS (RFC 9113, section 3.4)");
    let mut settings = vec![0; usize::from(frame_head[2])];
    timeout(PATIENCE, stream.read_exact(&mut settings)).await.expect("the settings").unwrap();
    let max_streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("MAX_CONCURRENT_STREAMS");
    assert_eq!(max_streams[2..], [0, 0, 0, 16]);
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn an_answer_that_is_never_taken_ends_the_connection_although_pings_keep_coming() {
    let (trusted, key) = server_key();
    let limit = Duration::from_millis(300);
    // Deadlines are looked at anew after a head's time at the latest.
    let limits = Limits { answer_timeout: limit, header_timeout: Duration::from_secs(1), ..generous() };
    let entered = Arc::new(Notify::new());
    let tell = Arc::clone(&entered);
    let answer = get(async move || {
        tell.notify_one();
        "hello"
    });
    let server = start(limits, Some(acceptor(key)), Router::new().route("/", answer)).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector(trusted, b"h2").connect(name, stream).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    // SETTINGS_INITIAL_WINDOW_SIZE = 0 (section 6.5.2), then GET https://x/ by the static table (RFC 7541, appendix A).
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let request = frame(1, 0x05, 1, &[0x82, 0x87, 0x84, 0x41, 1, b'x']);
    let since = Instant::now();
    write.write_all(&[PREFACE, &no_window, &request].concat()).await.unwrap();
    write.flush().await.unwrap();
    timeout(PATIENCE, entered.notified()).await.expect("the request to run");
    let pinging = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let ping = frame(6, 0, 0, &[0; 8]);
        while write.write_all(&ping).await.is_ok() && write.flush().await.is_ok() {
            pace.tick().await;
        }
    };
    let took = tokio::select! {
        took = closed(&mut read, since) => took,
        () = pinging => since.elapsed(),
    };
    assert!(took >= limit && took < PATIENCE / 2, "closed after {took:?}");
}

/// Ten chunks of 64 KiB, each after a pause.
fn long_answer(pace: Duration) -> Router {
    let answer = async move || {
        let mut ticks = tokio::time::interval(pace);
        ticks.tick().await;
        let chunks = futures_util::stream::unfold((0, ticks), async |(number, mut ticks)| {
            ticks.tick().await;
            (number < 10).then(|| (Ok::<_, Infallible>(Bytes::from(vec![b'x'; 64 << 10])), (number + 1, ticks)))
        });
        Body::from_stream(chunks)
    };
    Router::new().route("/", get(answer))
}

#[tokio::test]
async fn a_long_answer_is_sent_to_its_end_while_its_reader_keeps_up() {
    let limit = Duration::from_millis(100);
    let limits = Limits { answer_timeout: limit, header_timeout: Duration::from_millis(10), ..generous() };
    let server = start(limits, None, long_answer(Duration::from_millis(50))).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let (since, mut answer) = (Instant::now(), Vec::new());
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    assert!(since.elapsed() > limit * 2, "it took longer than an answer may by itself");
    assert!(answer.ends_with(b"0\r\n\r\n"), "the last chunk of all came");
    assert!(answer.len() > 10 * (64 << 10));
}

#[tokio::test]
async fn an_answer_that_brings_nothing_for_too_long_is_cut() {
    let limit = Duration::from_millis(100);
    let limits = Limits { answer_timeout: limit, header_timeout: Duration::from_millis(10), ..generous() };
    let server = start(limits, None, long_answer(PATIENCE)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let took = closed(&mut stream, Instant::now()).await;
    assert!(took >= limit && took < PATIENCE / 2, "closed after {took:?}");
}

#[tokio::test]
async fn a_replaced_certificate_serves_the_next_handshake() {
    let (_, old) = server_key();
    let (trusted, new) = server_key();
    let slot = CertificateSlot::new(old);
    let tls = TlsAcceptor::from(Arc::new(server_config(Arc::clone(&slot), None).unwrap()));
    let server = start(generous(), Some(tls), hello()).await;
    let connector = connector(trusted, b"http/1.1");
    let name = || ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(server.address).await.unwrap();
    assert!(connector.connect(name(), stream).await.is_err(), "the old certificate is not the trusted one");
    slot.replace(new);
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connector.connect(name(), stream).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    read_hello(&mut stream).await;
}

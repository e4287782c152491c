//! The accept loop: connections in bounded number, each with its handshake, its watchdog and its end.
//!
//! The protocol is chosen by ALPN rather than by sniffing the first bytes, so that no phase of a connection is without
//! a deadline. The operations listener runs on the same loop, without TLS.

mod activity;
mod proxy_header;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulConnection;
use rustls_pki_types::CertificateDer;
use signalbeam_authn::client_address::TrustedProxies;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use tower::ServiceExt;
use tracing::{debug, warn};

use activity::{Activity, WatchedBody, WatchedIo};
pub use proxy_header::{MAX_HEADER_BYTES, ProxyHeaderError, parse_proxy_header, read_proxy_header};

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most header fields of a request.
const MAX_HEADERS: usize = 100;
/// The most requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 16;
/// How long the loop pauses after `accept` failed (no file descriptors left, mostly) before it tries again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most connections at a time.
    pub max_connections: usize,
    /// The most TLS handshakes at a time. Who has not sent its first message does not count.
    pub max_concurrent_handshakes: usize,
    /// How long a handshake may take, the PROXY header before it and waiting for its turn included.
    pub handshake_timeout: Duration,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// How long a connection may stay open in the middle of a request without a byte read or written.
    pub stall_timeout: Duration,
    /// How long a request may run in all, from its head to the last byte of its answer; a second more for each 16 KiB that
    /// are sent, so that a long answer is not cut while its reader keeps up.
    pub answer_timeout: Duration,
    /// How long running requests may take to finish at the end.
    pub drain_timeout: Duration,
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its socket's address, or the one that a trusted proxy names in the connection's PROXY header.
    pub address: SocketAddr,
    /// The certificates it presented and proved to hold the key of, its own first; empty without any.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// What connections begin with.
#[derive(Debug, Clone, Default)]
pub enum ProxyProtocol {
    /// What the client sends.
    #[default]
    None,
    /// A header of the PROXY protocol, version 2, by one of these proxies; nobody else can connect.
    V2(TrustedProxies),
}

/// A listener that is about to run.
pub struct Listener<F> {
    /// The socket.
    pub socket: TcpListener,
    /// How TLS is spoken; plain HTTP/1.1 without.
    pub tls: Option<watch::Receiver<TlsAcceptor>>,
    /// Its bounds.
    pub limits: Limits,
    /// What answers, from the next request on.
    pub router: watch::Receiver<Router>,
    /// Makes what every request of a connection carries in its extensions.
    pub describe: F,
}

/// What the tasks of all connections share.
struct Shared<F> {
    tls: Option<watch::Receiver<TlsAcceptor>>,
    limits: Limits,
    router: watch::Receiver<Router>,
    describe: F,
    handshakes: Semaphore,
    proxy_protocol: watch::Receiver<ProxyProtocol>,
}

impl<F, C> Listener<F>
where
    F: Fn(Peer) -> C + Send + Sync + 'static,
    C: Clone + Send + Sync + 'static,
{
    /// Accepts until `stop` turns true or its sender is gone, then lets running requests finish.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let (_, proxy_protocol) = watch::channel(ProxyProtocol::None);
        self.run_behind(proxy_protocol, stop).await;
    }

    /// As [`Self::run`], behind proxies that may say whose connection it is; a change holds from the next connection on.
    pub async fn run_behind(self, proxy_protocol: watch::Receiver<ProxyProtocol>, mut stop: watch::Receiver<bool>) {
        let Self { socket, tls, limits, router, describe } = self;
        let slots = Arc::new(Semaphore::new(limits.max_connections));
        let handshakes = Semaphore::new(limits.max_concurrent_handshakes);
        let shared = Arc::new(Shared { tls, limits, router, describe, handshakes, proxy_protocol });
        let mut connections = JoinSet::new();
        let mut is_failing = false;

        loop {
            let accept = async {
                // The semaphore is never closed; were it, no connection could be admitted.
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                (slot, socket.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    is_failing = false;
                    let (shared, stop) = (Arc::clone(&shared), stop.clone());
                    connections.spawn(async move {
                        shared.serve(stream, address, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Said once, not ten times a second for as long as it lasts.
                    if !is_failing {
                        warn!(%error, "cannot accept connections; trying again until it works");
                    }
                    is_failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(socket);
        let drained = timeout(shared.limits.drain_timeout, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            warn!(connections = connections.len(), "closing connections that did not finish in time");
        }
    }
}

impl<F, C> Shared<F>
where
    F: Fn(Peer) -> C + Send + Sync + 'static,
    C: Clone + Send + Sync + 'static,
{
    async fn serve(&self, mut stream: TcpStream, address: SocketAddr, mut stop: watch::Receiver<bool>) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        let opening = Opening { address, deadline: Instant::now() + self.limits.handshake_timeout };
        let client = self.client_of(&mut stream, address);
        let Some(address) = opening.await_step(client, "proxy_header", &mut stop).await else { return };
        let Some(tls) = &self.tls else {
            let peer = Peer { address, certificates: Vec::new() };
            return self.serve_http(stream, peer, Protocol::Http1, stop).await;
        };
        let acceptor = tls.borrow().clone();
        let handshake = async {
            // A turn is for work: whoever sends nothing shall not keep others waiting.
            let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
            let _turn = self.handshakes.acquire().await;
            hello.into_stream(Arc::clone(acceptor.config())).await
        };
        let Some(stream) = opening.await_step(handshake, "refused", &mut stop).await else { return };
        let session = stream.get_ref().1;
        let protocol = if session.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
        let certificates = session.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
        self.serve_http(stream, Peer { address, certificates }, protocol, stop).await;
    }

    /// The address of the client: the peer's, or what a trusted peer says of it before anything else.
    async fn client_of(&self, stream: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, ProxyHeaderError> {
        let is_trusted = match &*self.proxy_protocol.borrow() {
            ProxyProtocol::None => return Ok(peer),
            ProxyProtocol::V2(proxies) => proxies.contains(peer.ip()),
        };
        if !is_trusted {
            return Err(ProxyHeaderError::Untrusted);
        }
        Ok(read_proxy_header(stream).await?.unwrap_or(peer))
    }

    async fn serve_http<S>(&self, stream: S, peer: Peer, protocol: Protocol, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let address = peer.address;
        let activity = Arc::new(Activity::new(protocol == Protocol::Http1));
        let io = TokioIo::new(WatchedIo::new(stream, Arc::clone(&activity)));
        let connection = (self.describe)(peer);
        let service = service_fn(|request| self.answer(request, &connection, &activity));
        let outcome = match protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.header_read_timeout(None).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
                self.drive(builder.serve_connection(io, service), &activity, stop).await
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                let max_head = u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX);
                builder.max_concurrent_streams(MAX_STREAMS).max_header_list_size(max_head);
                self.drive(builder.serve_connection(io, service), &activity, stop).await
            }
        };
        if let Err(error) = outcome {
            debug!(%address, %error, "connection ended");
        }
    }

    fn answer(
        &self,
        mut request: Request<Incoming>,
        connection: &C,
        activity: &Arc<Activity>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<F, C> {
        let running = activity.begin();
        request.extensions_mut().insert(connection.clone());
        let router = self.router.borrow().clone();
        let answer = router.oneshot(request.map(Body::new));
        async move { Ok(answer.await?.map(|body| Body::new(WatchedBody::new(body, running)))) }
    }

    /// Runs a connection to its end: its own, the watchdog's, or gracefully that of the server.
    async fn drive<H>(
        &self,
        connection: H,
        activity: &Activity,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), H::Error>
    where
        H: GracefulConnection,
    {
        let mut connection = pin!(connection);
        let mut overdue = pin!(activity.overdue(&self.limits));
        let mut is_stopping = false;
        loop {
            tokio::select! {
                outcome = connection.as_mut() => return outcome,
                () = &mut overdue => return Ok(()),
                () = stopped(&mut stop), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// What happens on a connection before its first request, all of it within one deadline.
struct Opening {
    address: SocketAddr,
    deadline: Instant,
}

impl Opening {
    /// What a step comes to; `None` where it failed, which is counted under `reason`, or the server stops.
    async fn await_step<T, E: Display>(
        &self,
        done: impl Future<Output = Result<T, E>>,
        reason: &'static str,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<T> {
        let outcome = tokio::select! {
            () = stopped(stop) => return None,
            outcome = timeout_at(self.deadline, done) => outcome,
        };
        let address = self.address;
        let reason = match outcome {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => {
                debug!(%address, %error, "a connection did not open");
                reason
            }
            Err(_) => {
                debug!(%address, "opening a connection took too long");
                "timeout"
            }
        };
        metrics::counter!(crate::metrics::HANDSHAKE_FAILURES, "reason" => reason).increment(1);
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Waits for the end: `true`, or nobody left who could say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end as well.
    let _gone = stop.wait_for(|is_stopping| *is_stopping).await;
}

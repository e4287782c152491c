//! The server as a whole: starts every part, serves, reloads, and ends in order.

mod acceptors;
mod audit_upkeep;
mod background;
mod gauges;
mod intents;
mod key_stores;
mod limits;
mod log_guard;
mod measured_store;
mod parts;
mod pki_listener;
mod profiles_in_use;
mod proxies;
mod readiness;
mod secrets;
mod settings;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use signalbeam_authn::Connection;
use signalbeam_domain::Fingerprint;
use signalbeam_event_store::Clock;
use signalbeam_pki::fingerprint;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use acceptors::Acceptors;
use parts::Parts;
use pki_listener::{PkiListener, PkiSocket};
pub use signalbeam_command_api::authorities::AuthorityStartError;

use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::http::shedding::Shedding;
use crate::http::{RequestLimits, around};
use crate::listener::{Limits, Listener, Peer, ProxyProtocol};
use crate::oidc::OidcStartError;
use crate::server_certificate::{ServerCertificate, ServerCertificateError};
use crate::supervise::Supervised;
use crate::{metrics, ops, profiles};

/// The event log's file in the data directory.
pub const EVENTS_FILE: &str = "events.db";
/// The derived tables' file.
pub const PROJECTIONS_FILE: &str = "projections.db";
/// The authentication log's file.
pub const AUDIT_FILE: &str = "audit.db";
/// The file with the secret that signs admin tokens.
pub const ADMIN_KEY_FILE: &str = "admin-jwt.key";
/// The file with the key of credentials' MACs.
pub const MAC_KEY_FILE: &str = "credential-mac.key";
/// The folder with the certificate authority's key and certificate.
pub const AUTHORITY_FOLDER: &str = "ca";
/// The folder with the server's own key and certificate.
pub const TLS_FOLDER: &str = "tls";

/// How long the start waits for the credential index before it serves without: devices get 503 until it is complete.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for the first revocation list before it serves without: whoever asks for it gets 503.
const CRL_PATIENCE: Duration = Duration::from_secs(5);
/// How long running requests may take to finish at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long sending an answer may take, however steadily the client takes it.
const SENDING_TIMEOUT: Duration = Duration::from_mins(1);

/// The settings that can change while the server runs.
const RELOADABLE: [&str; 15] = [
    "audit.disk_reserve_mib",
    "audit.max_failures_per_address_per_minute",
    "audit.retention_days",
    "listener.body_timeout_seconds",
    "listener.max_body_bytes",
    "listener.max_concurrent_costly_requests",
    "listener.max_concurrent_requests",
    "log.level",
    "proxy.address_header",
    "proxy.client_certificate_header",
    "proxy.protocol",
    "proxy.trusted",
    "tls.certificate_file",
    "tls.private_key_file",
    "tls.server_names",
];

/// The sections of which every setting can change while the server runs.
const RELOADABLE_SECTIONS: [&str; 3] = ["profiles", "rate_limit", "tenants"];

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A setting is not acceptable to the part that it is for.
    #[error("`{key}`: {reason}")]
    Setting {
        /// As `section.key`.
        key: &'static str,
        /// Why not.
        reason: String,
    },
    /// Profiles would make bad certificates.
    #[error("{}", .0.join("; "))]
    Profiles(Vec<String>),
    /// The event log or the authentication log cannot be opened.
    #[error(transparent)]
    Open(#[from] signalbeam_event_store::OpenError),
    /// What is kept of a rollback of the log cannot be read or written.
    #[error(transparent)]
    Rollback(#[from] crate::rollback::RecordError),
    /// The event log cannot be read.
    #[error(transparent)]
    Store(#[from] signalbeam_event_store::StoreError),
    /// The derived tables cannot be opened.
    #[error(transparent)]
    Tables(#[from] signalbeam_projections::OpenError),
    /// There is no certificate authority to serve with.
    #[error(transparent)]
    Authority(#[from] AuthorityStartError),
    /// The authorities do not make a whole.
    #[error(transparent)]
    Authorities(#[from] signalbeam_pki::AuthoritySetError),
    /// The OIDC issuer cannot be set up.
    #[error(transparent)]
    Oidc(#[from] OidcStartError),
    /// There is no server certificate.
    #[error(transparent)]
    ServerCertificate(#[from] ServerCertificateError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// Metrics cannot be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (`{key}`)")]
    Bind {
        /// Which setting names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a reload did.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// The keys whose new values are in force.
    pub applied: BTreeSet<String>,
    /// The keys whose new values take a restart.
    pub needs_restart: BTreeSet<String>,
    /// Whether new connections get another server certificate.
    pub has_new_certificate: bool,
    /// Why the server certificate stayed as it is, where it should not have.
    pub certificate_error: Option<ServerCertificateError>,
}

/// A server that runs until [`RunningServer::shutdown`].
pub struct RunningServer {
    /// Where HTTPS is served.
    pub address: SocketAddr,
    /// Where metrics and health are served.
    pub ops_address: SocketAddr,
    /// Where revocation lists are served over plain HTTP, where they are.
    pub pki_address: Option<SocketAddr>,
    /// The SHA-256 of the root's certificate.
    pub authority_fingerprint: Fingerprint,
    /// What clients trust, PEM.
    pub authority_pem: String,
    /// Whether this start made the authority.
    pub is_first_start: bool,
    parts: Arc<Parts>,
    /// The configuration that it was started with, and what has been reloaded since.
    config: Config,
    api: Router,
    router: watch::Sender<Router>,
    proxy_protocol: watch::Sender<ProxyProtocol>,
    shedding: Arc<Shedding>,
    certificate: Arc<ServerCertificate>,
    stop: watch::Sender<bool>,
    stop_ops: watch::Sender<bool>,
    listener: JoinSet<()>,
    ops_listener: JoinSet<()>,
    pki: Option<PkiListener>,
    background: Vec<Supervised>,
    _data_dir: DataDir,
}

/// Starts a server on a data directory.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub async fn start(data_dir: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<RunningServer, StartError> {
    let data_dir = DataDir::open(data_dir)?;
    let handle = metrics::install()?;
    // Bound first, so that a taken address is said before anything else is made.
    let ops_socket = bind("listener.ops_address", config.listener.ops_address).await?;
    let socket = bind("listener.address", config.listener.address).await?;
    let pki_socket = PkiSocket::bind(&config).await?;
    let address = local_address("listener.address", &socket)?;
    let ops_address = local_address("listener.ops_address", &ops_socket)?;

    let parts = Parts::open(&data_dir, &config, clock).await?;
    let certificate =
        ServerCertificate::prepare(&data_dir.join(TLS_FOLDER), parts.issuance(), config.tls.clone()).await?;
    let certificate = Arc::new(certificate);
    let tls = Arc::new(Acceptors::new(
        certificate.slot(),
        parts.authorities.clone(),
        Arc::clone(&parts.index),
        config.mtls.enabled,
    )?);
    let api = parts.routes();
    let shedding = Arc::new(limits::shedding(&config, Arc::clone(&parts.limits)));
    let (router, current) = watch::channel(around_api(&api, &config, &shedding));
    let limits = listener_limits(&config);

    let (stop_ops, stopping_ops) = watch::channel(false);
    let (_, ops_routes) = watch::channel(ops::router(handle.clone(), Arc::new(readiness::Probe(Arc::clone(&parts)))));
    let mut ops_listener = JoinSet::new();
    let ops = Listener { socket: ops_socket, tls: None, limits: limits.clone(), router: ops_routes, describe: |_| () };
    ops_listener.spawn(ops.run(stopping_ops));

    let background = background::start(&parts, &certificate, &tls, handle, &config);
    if parts.index.wait_until_ready(INDEX_PATIENCE).await.is_err() {
        tracing::warn!("the credential index is still loading; devices are refused (503) until it is complete");
    }
    profiles_in_use::warn_of_missing(&parts).await;
    parts.wait_for_crls(CRL_PATIENCE).await;
    data_dir.note_addresses(ops_address, address)?;
    let (stop, stopping) = watch::channel(false);
    let mut listener = JoinSet::new();
    let pki = pki_socket.map(|pki| pki.serve(&parts, &config, &shedding, &mut listener, stopping.clone()));
    let (proxy_protocol, protocol) = watch::channel(proxies::protocol(&config.proxy));
    let serving = Listener { socket, tls: Some(tls.current()), limits, router: current, describe: connection };
    listener.spawn(serving.run_behind(protocol, stopping));
    let authorities = parts.authorities.current();
    Ok(RunningServer {
        address,
        ops_address,
        pki_address: pki.as_ref().map(|pki| pki.address),
        authority_fingerprint: fingerprint(authorities.signing().root_der()),
        authority_pem: authorities.certificates_pem(),
        is_first_start: parts.authorities_are_new,
        parts,
        config,
        api,
        router,
        proxy_protocol,
        shedding,
        certificate,
        stop,
        stop_ops,
        listener,
        ops_listener,
        pki,
        background,
        _data_dir: data_dir,
    })
}

impl RunningServer {
    /// Takes what can change while running from a configuration that was read again, and renews or rereads the server's
    /// certificate in any case. The log level is the caller's to set.
    pub async fn reload(&mut self, fresh: &Config) -> Reloaded {
        let changed = self.config.differing_keys(fresh);
        let (applied, needs_restart) = changed.into_iter().partition(|key| is_reloadable(key));
        let mut reloaded = Reloaded { applied, needs_restart, ..Reloaded::default() };
        match self.certificate.reconfigure(fresh.tls.clone()).await {
            Ok(is_other) => {
                reloaded.has_new_certificate = is_other;
                self.config.tls = fresh.tls.clone();
            }
            Err(error) => {
                reloaded.applied.retain(|key| !key.starts_with("tls."));
                reloaded.certificate_error = Some(error);
            }
        }
        self.reload_audit(fresh);
        self.config.proxy.clone_from(&fresh.proxy);
        drop(self.proxy_protocol.send_replace(proxies::protocol(&fresh.proxy)));
        self.config.log.level.clone_from(&fresh.log.level);
        self.config.listener.body_timeout_seconds = fresh.listener.body_timeout_seconds;
        self.config.listener.max_body_bytes = fresh.listener.max_body_bytes;
        self.config.listener.max_concurrent_requests = fresh.listener.max_concurrent_requests;
        self.config.listener.max_concurrent_costly_requests = fresh.listener.max_concurrent_costly_requests;
        self.config.rate_limit = fresh.rate_limit.clone();
        self.config.tenants = fresh.tenants.clone();
        let has_profiles = self.reload_profiles(fresh);
        profiles_in_use::warn_of_missing(&self.parts).await;
        if !has_profiles {
            let held: Vec<String> = reloaded.applied.extract_if(.., |key| key.starts_with("profiles.")).collect();
            reloaded.needs_restart.extend(held);
        }
        limits::put_in_force(&self.config, &self.parts.limits, &self.shedding);
        drop(self.router.send_replace(around_api(&self.api, &self.config, &self.shedding)));
        if let Some(pki) = &self.pki {
            pki.reload(&self.config, &self.shedding);
        }
        reloaded
    }

    /// Puts the profiles in force for what is issued from now on. They are right together with the rest of the fresh
    /// configuration; `false` where they are not with what stays as it is until a restart.
    fn reload_profiles(&mut self, fresh: &Config) -> bool {
        let before = std::mem::replace(&mut self.config.profiles, fresh.profiles.clone());
        let configured = profiles::configured(&self.config);
        let is_right = configured.is_ok();
        match configured {
            Ok(set) => self.parts.profiles.replace(set),
            Err(_) => self.config.profiles = before,
        }
        is_right
    }

    fn reload_audit(&mut self, fresh: &Config) {
        self.config.audit = crate::config::Audit { durability: self.config.audit.durability, ..fresh.audit.clone() };
        self.parts.audit_settings.send_replace(self.config.audit.clone());
    }

    /// Waits for what must not happen: a listener that ends by itself.
    pub async fn failed(&mut self) {
        tokio::select! {
            _ = self.listener.join_next() => {}
            _ = self.ops_listener.join_next() => {}
        }
    }

    /// Stops accepting, lets running requests finish (10 s), and closes the stores.
    pub async fn shutdown(self) {
        let Self {
            parts,
            api,
            router,
            certificate,
            stop,
            stop_ops,
            mut listener,
            mut ops_listener,
            pki,
            background,
            ..
        } = self;
        // No receiver is left where a listener has ended by itself.
        let _ended = stop.send(true);
        while listener.join_next().await.is_some() {}
        let _ended = stop_ops.send(true);
        while ops_listener.join_next().await.is_some() {}
        // Whatever follows the log ends before the log is closed.
        drop((background, certificate, router, api, pki));
        log_guard::bear_last_witness(&parts.guard, &parts.store, &*parts.clock).await;
        let stores = parts.stores();
        drop(parts);
        stores.close().await;
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { key, address, source })
}

fn local_address(key: &'static str, socket: &TcpListener) -> Result<SocketAddr, StartError> {
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    socket.local_addr().map_err(|source| StartError::Bind { key, address, source })
}

/// What every request of a connection carries.
fn connection(peer: Peer) -> Arc<Connection> {
    Arc::new(Connection::with_certificates(peer.address, peer.certificates))
}

fn is_reloadable(key: &str) -> bool {
    let section = key.split('.').next().unwrap_or_default();
    RELOADABLE.contains(&key) || RELOADABLE_SECTIONS.contains(&section)
}

fn around_api(api: &Router, config: &Config, shedding: &Arc<Shedding>) -> Router {
    let listener = &config.listener;
    let limits = RequestLimits {
        request_timeout: seconds(listener.request_timeout_seconds),
        body_timeout: seconds(listener.body_timeout_seconds),
        max_body_bytes: listener.max_body_bytes as usize,
    };
    around(api.clone(), proxies::trusted(&config.proxy), limits, Arc::clone(shedding))
}

fn listener_limits(config: &Config) -> Limits {
    let listener = &config.listener;
    Limits {
        max_connections: listener.max_connections as usize,
        max_concurrent_handshakes: listener.max_concurrent_handshakes as usize,
        handshake_timeout: seconds(listener.handshake_timeout_seconds),
        header_timeout: seconds(listener.header_timeout_seconds),
        idle_timeout: seconds(listener.idle_timeout_seconds),
        // A request that is being answered has its own, shorter limits; this is for peers that do not read.
        stall_timeout: seconds(listener.request_timeout_seconds) + DRAIN_TIMEOUT,
        answer_timeout: seconds(listener.request_timeout_seconds) + SENDING_TIMEOUT,
        drain_timeout: DRAIN_TIMEOUT,
    }
}

fn seconds(number: u16) -> Duration {
    Duration::from_secs(u64::from(number))
}

//! `signalbeam serve`: runs until it is told to end, and reloads when it is told to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use signalbeam_event_store::SystemClock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{DataDirArgs, Failure, print};
use crate::config::{Config, Flags, Sources};
use crate::logging::{self, LogControl};
use crate::serve::{RunningServer, start};

/// How to serve.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration; by default ./signalbeam.toml, then signalbeam.toml in the data directory
    #[arg(long, env = "SIGNALBEAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Where to serve HTTPS, by default 127.0.0.1:8443
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where to serve metrics and health over plain HTTP, by default 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    ops_listen: Option<SocketAddr>,
    /// Where to serve revocation lists and the authority's certificate over plain HTTP, by default nowhere
    #[arg(long, value_name = "ADDR")]
    pki_listen: Option<SocketAddr>,
}

/// A listener ended, which it does not do by itself.
#[derive(Debug, thiserror::Error)]
#[error("a listener ended unexpectedly")]
struct ListenerEnded;

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let flags = Flags { listen: args.listen, ops_listen: args.ops_listen, pki_listen: args.pki_listen };
    let data_dir = args.data_dir.data_dir;
    let sources = Sources::find(args.config, &data_dir, flags);
    let config = sources.load()?;
    let log = logging::begin(&config.log).map_err(Failure::of)?;
    for warning in sources.warnings()? {
        tracing::warn!("{warning}");
    }
    if config.lacks_server_names() {
        let address = config.listener.address;
        tracing::warn!(%address, "other machines are served, and the certificate names localhost alone: set tls.server_names");
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::of)?;
    runtime.block_on(async {
        // Before the server is there, so that a signal during the start is not lost.
        let signals = Signals::listen().map_err(Failure::of)?;
        let server = start(&data_dir, config, Arc::new(SystemClock)).await.map_err(Failure::of)?;
        print(&banner(&server, &data_dir.display().to_string()))?;
        until_told(server, signals, &sources, &log).await
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn until_told(
    mut server: RunningServer,
    mut signals: Signals,
    sources: &Sources,
    log: &LogControl,
) -> Result<(), Failure> {
    let outcome = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break Ok(()),
            _ = signals.interrupt.recv() => break Ok(()),
            _ = signals.hangup.recv() => reload(&mut server, sources, log).await,
            () = server.failed() => break Err(Failure::of(ListenerEnded)),
        }
    };
    tracing::info!("stopping: no new connections, running requests may take 10 s");
    server.shutdown().await;
    tracing::info!("stopped");
    outcome
}

/// Reads the configuration again. One with errors changes nothing.
async fn reload(server: &mut RunningServer, sources: &Sources, log: &LogControl) {
    let fresh: Config = match sources.load() {
        Ok(fresh) => fresh,
        Err(error) => return tracing::error!(%error, "the configuration has errors; nothing was reloaded"),
    };
    if let Err(error) = log.set_level(&fresh.log) {
        tracing::error!(%error, "the log level stays as it was");
    }
    let reloaded = server.reload(&fresh).await;
    tracing::info!(applied = ?reloaded.applied, new_certificate = reloaded.has_new_certificate, "reloaded");
    if let Some(error) = reloaded.certificate_error {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "the server certificate stays as it was");
    }
    if !reloaded.needs_restart.is_empty() {
        tracing::warn!(keys = ?reloaded.needs_restart, "these settings take a restart");
    }
}

fn banner(server: &RunningServer, data_dir: &str) -> String {
    let host = if server.address.ip().is_unspecified() { "localhost".to_owned() } else { host(server.address) };
    let url = format!("https://{host}:{}", server.address.port());
    let lists = server.pki_address.map(|address| format!("http://{address}/api/certificates/crl"));
    if !server.is_first_start {
        let lists = lists.map(|lists| format!("; revocation lists: {lists}")).unwrap_or_default();
        return format!("SignalBeam serves {url} (health and metrics: http://{}{lists})\n", server.ops_address);
    }
    let lists = lists.map(|lists| format!("\x20 revocation lists       {lists}\n")).unwrap_or_default();
    format!(
        "SignalBeam serves {url}\n\n\
         \x20 certificate authority  {}\n\
         \x20 its certificate        {data_dir}/ca/ca-cert.pem\n\
         \x20 API documentation      {url}/docs\n\
         \x20 health and metrics     http://{}\n{lists}\n\
         Next, get a token for the API:\n\n\
         \x20 signalbeam admin-token --data-dir {data_dir}\n\n",
        server.authority_fingerprint, server.ops_address,
    )
}

fn host(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

/// Each connection takes a file descriptor, and the usual soft limit of 1,024 is far below what a fleet needs.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, limit = ?limit.current, "the limit of open files cannot be raised");
    }
}

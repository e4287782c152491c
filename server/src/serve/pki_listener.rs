//! The plain-HTTP listener for those who check certificates: revocation lists, OCSP, the authority's certificate, nothing
//! else.
//!
//! What it serves is signed, so TLS would add nothing, and whoever checks certificates cannot check this server's before it
//! has the list (RFC 5280, section 8).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::parts::Parts;
use super::{StartError, around_api, bind, connection, listener_limits, local_address};
use crate::config::Config;
use crate::http::shedding::Shedding;
use crate::listener::Listener;

const KEY: &str = "pki.listen";

/// Its socket, before anything can be served.
pub(super) struct PkiSocket {
    socket: TcpListener,
    address: SocketAddr,
}

impl PkiSocket {
    /// `None` where the configuration asks for no such listener.
    pub(super) async fn bind(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(address) = config.pki.listen else { return Ok(None) };
        let socket = bind(KEY, address).await?;
        let address = local_address(KEY, &socket)?;
        Ok(Some(Self { socket, address }))
    }

    /// Serves on it until `stop`.
    pub(super) fn serve(
        self,
        parts: &Parts,
        config: &Config,
        shedding: &Arc<Shedding>,
        listeners: &mut JoinSet<()>,
        stop: watch::Receiver<bool>,
    ) -> PkiListener {
        let Self { socket, address } = self;
        let bare = parts.pki_routes();
        let (router, current) = watch::channel(around_api(&bare, config, shedding));
        let listener =
            Listener { socket, tls: None, limits: listener_limits(config), router: current, describe: connection };
        listeners.spawn(listener.run(stop));
        tracing::info!(%address, "revocation lists and the authority's certificate are served over plain HTTP");
        PkiListener { address, routes: bare, router }
    }
}

/// The listener while it runs.
pub(super) struct PkiListener {
    pub(super) address: SocketAddr,
    routes: Router,
    router: watch::Sender<Router>,
}

impl PkiListener {
    /// Puts changed limits in force.
    pub(super) fn reload(&self, config: &Config, shedding: &Arc<Shedding>) {
        drop(self.router.send_replace(around_api(&self.routes, config, shedding)));
    }
}

//! What finishes TLS handshakes: another one whenever the authorities change, since it names to clients those that may
//! have issued their certificates.

use std::sync::Arc;

use rustls::DistinguishedName;
use rustls::server::danger::ClientCertVerifier;
use signalbeam_authn::tls::PossessionVerifier;
use signalbeam_pki::Authorities;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::tls::{self, CertificateSlot};

/// Makes acceptors and keeps the latest.
pub(crate) struct Acceptors {
    certificate: Arc<CertificateSlot>,
    authorities: Authorities,
    asks_clients: bool,
    current: watch::Sender<TlsAcceptor>,
}

impl Acceptors {
    /// Makes the first one; with `asks_clients` client certificates are asked for.
    ///
    /// # Errors
    /// [`rustls::Error`] where TLS cannot be set up so.
    pub(crate) fn new(
        certificate: Arc<CertificateSlot>,
        authorities: Authorities,
        asks_clients: bool,
    ) -> Result<Self, rustls::Error> {
        let first = acceptor(&certificate, &authorities, asks_clients)?;
        Ok(Self { certificate, authorities, asks_clients, current: watch::Sender::new(first) })
    }

    /// What new connections use, at each moment.
    pub(crate) fn current(&self) -> watch::Receiver<TlsAcceptor> {
        self.current.subscribe()
    }

    /// Makes another one after the authorities have changed.
    ///
    /// # Errors
    /// [`rustls::Error`]; the present one stays in use then.
    pub(crate) fn renew(&self) -> Result<(), rustls::Error> {
        self.current.send_replace(acceptor(&self.certificate, &self.authorities, self.asks_clients)?);
        Ok(())
    }
}

fn acceptor(
    certificate: &Arc<CertificateSlot>,
    authorities: &Authorities,
    asks_clients: bool,
) -> Result<TlsAcceptor, rustls::Error> {
    let verifier = asks_clients.then(|| {
        let names = authorities.current().issuer_names().into_iter().map(DistinguishedName::from).collect();
        Arc::new(PossessionVerifier::new(names)) as Arc<dyn ClientCertVerifier>
    });
    Ok(TlsAcceptor::from(Arc::new(tls::server_config(Arc::clone(certificate), verifier)?)))
}

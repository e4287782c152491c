//! What finishes TLS handshakes: another one whenever the authorities change, or those whose certificates were imported,
//! since it names to clients those that may have issued their certificates.

use std::sync::Arc;

use rustls::DistinguishedName;
use rustls::server::danger::ClientCertVerifier;
use signalbeam_authn::tls::PossessionVerifier;
use signalbeam_pki::Authorities;
use signalbeam_projections::CredentialIndex;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::tls::{self, CertificateSlot};

/// The most authorities of imported certificates that clients are told of. Beyond it nobody is named, which lets a client
/// send whatever certificate it has (RFC 8446, section 4.2.4; RFC 5246, section 7.4.4).
const MAX_IMPORTED_ISSUERS: usize = 64;

/// Makes acceptors and keeps the latest.
pub(crate) struct Acceptors {
    certificate: Arc<CertificateSlot>,
    authorities: Authorities,
    index: Arc<CredentialIndex>,
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
        index: Arc<CredentialIndex>,
        asks_clients: bool,
    ) -> Result<Self, rustls::Error> {
        let first = acceptor(&certificate, &authorities, &index, asks_clients)?;
        Ok(Self { certificate, authorities, index, asks_clients, current: watch::Sender::new(first) })
    }

    /// What new connections use, at each moment.
    pub(crate) fn current(&self) -> watch::Receiver<TlsAcceptor> {
        self.current.subscribe()
    }

    /// Makes another one after the authorities, or those of imported certificates, have changed.
    ///
    /// # Errors
    /// [`rustls::Error`]; the present one stays in use then.
    pub(crate) fn renew(&self) -> Result<(), rustls::Error> {
        self.current.send_replace(acceptor(&self.certificate, &self.authorities, &self.index, self.asks_clients)?);
        Ok(())
    }
}

fn acceptor(
    certificate: &Arc<CertificateSlot>,
    authorities: &Authorities,
    index: &CredentialIndex,
    asks_clients: bool,
) -> Result<TlsAcceptor, rustls::Error> {
    let verifier = asks_clients
        .then(|| Arc::new(PossessionVerifier::new(names(authorities, index))) as Arc<dyn ClientCertVerifier>);
    Ok(TlsAcceptor::from(Arc::new(tls::server_config(Arc::clone(certificate), verifier)?)))
}

/// Whose certificates are wanted: our authorities', and those of imported certificates.
fn names(authorities: &Authorities, index: &CredentialIndex) -> Vec<DistinguishedName> {
    let Some(imported) = index.imported_issuers(MAX_IMPORTED_ISSUERS) else { return vec![] };
    let imported = imported.iter().map(|name| name.to_vec());
    authorities.current().issuer_names().into_iter().chain(imported).map(DistinguishedName::from).collect()
}

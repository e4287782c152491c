//! A client's connection, and what its certificate is worth as far as that cannot change while the connection lives.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use rustls_pki_types::CertificateDer;
use signalbeam_domain::{Fingerprint, Timestamp};
use signalbeam_pki::{AuthoritySet, Validity, fingerprint, peek_validity};

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end of the socket, or of the connection that a PROXY header describes.
    pub peer: SocketAddr,
    /// The certificate that the client proved to hold the key of, to us or to a trusted proxy, whatever else it may be
    /// worth.
    pub certificate: Option<Arc<PresentedCertificate>>,
    /// When it was opened, by the monotonic clock.
    pub opened: Instant,
}

impl Connection {
    /// A connection without a client certificate.
    pub fn plain(peer: SocketAddr) -> Self {
        Self { peer, certificate: None, opened: Instant::now() }
    }

    /// A connection with the chain that the client sent, its own certificate first; an empty chain is none.
    pub fn with_certificates(peer: SocketAddr, chain: Vec<CertificateDer<'static>>) -> Self {
        let certificate = (!chain.is_empty()).then(|| Arc::new(PresentedCertificate::new(chain)));
        Self { peer, certificate, opened: Instant::now() }
    }
}

/// A client certificate and what is found out about it, once for each set of authorities and only when asked for.
#[derive(Debug)]
pub struct PresentedCertificate {
    chain: Vec<CertificateDer<'static>>,
    judged: RwLock<Option<(Arc<AuthoritySet>, Facts)>>,
}

/// What holds for a certificate as long as the authorities stay the same.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// When it says that it is valid, where that can be read.
    pub validity: Option<Span>,
    /// When its issuers are valid, where one of our authorities issued it for a device.
    pub issuers: Option<Span>,
}

/// A span of time in seconds since 1970, both ends inclusive: cheap to compare on every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    first: i64,
    last: i64,
}

impl Span {
    fn of(validity: Validity) -> Self {
        Self { first: validity.not_before.unix_timestamp(), last: validity.not_after.unix_timestamp() }
    }

    /// Whether it has not begun.
    pub fn is_ahead_of(&self, now: Timestamp) -> bool {
        now.unix_seconds() < self.first
    }

    /// Whether it is over.
    pub fn is_past(&self, now: Timestamp) -> bool {
        now.unix_seconds() > self.last
    }
}

impl PresentedCertificate {
    /// Takes a chain, the client's own certificate first; an empty one is a certificate that cannot be read.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, judged: RwLock::default() }
    }

    /// The facts, computed at the first call on this connection, and again where the authorities have changed since.
    pub fn facts(&self, authorities: &Arc<AuthoritySet>) -> Facts {
        if let Some((by, facts)) = &*self.judged.read().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(by, authorities)
        {
            return *facts;
        }
        // Whatever issuers the client sent are not looked at: an authority of ours signed it, or none did.
        let leaf: &[u8] = self.chain.first().map_or(&[], |leaf| leaf);
        let facts = Facts {
            fingerprint: fingerprint(leaf),
            validity: peek_validity(leaf).map(Span::of),
            issuers: authorities.verifier().verify(leaf).ok().map(|verified| Span::of(verified.issuers_validity)),
        };
        *self.judged.write().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(authorities), facts));
        facts
    }
}

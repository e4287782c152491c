//! A client's connection, and what its certificate is worth as far as that cannot change while the connection lives.

use std::net::SocketAddr;
use std::sync::OnceLock;

use rustls_pki_types::CertificateDer;
use signalbeam_domain::{Fingerprint, Timestamp};
use signalbeam_pki::{ChainError, ChainVerifier, VerifiedDeviceCertificate, fingerprint, peek_validity};

/// The connection that a request came on.
#[derive(Debug)]
pub struct Connection {
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The certificate that the client proved to hold the key of, whatever else it may be worth.
    pub certificate: Option<PresentedCertificate>,
}

impl Connection {
    /// A connection without a client certificate.
    pub fn plain(peer: SocketAddr) -> Self {
        Self { peer, certificate: None }
    }

    /// A connection with the chain that the client sent, its own certificate first; an empty chain is none.
    pub fn with_certificates(peer: SocketAddr, chain: Vec<CertificateDer<'static>>) -> Self {
        let certificate = (!chain.is_empty()).then(|| PresentedCertificate::new(chain));
        Self { peer, certificate }
    }
}

/// A client certificate and its unchanging facts, each computed once and only when asked for.
#[derive(Debug)]
pub struct PresentedCertificate {
    chain: Vec<CertificateDer<'static>>,
    facts: OnceLock<Facts>,
}

/// What holds for a certificate as long as the connection lives.
#[derive(Debug)]
pub struct Facts {
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// The first and the last moment of its validity, where it can be read.
    pub validity: Option<(Timestamp, Timestamp)>,
    /// Whether our authority issued it for a device, its validity aside.
    pub chain: Result<VerifiedDeviceCertificate, ChainError>,
}

impl PresentedCertificate {
    fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, facts: OnceLock::new() }
    }

    /// The facts, computed at the first call on this connection.
    pub fn facts(&self, verifier: &ChainVerifier) -> &Facts {
        self.facts.get_or_init(|| {
            let leaf = &self.chain[0];
            let whole_second = |moment| Timestamp::from_offset_date_time(moment).to_whole_second();
            Facts {
                fingerprint: fingerprint(leaf),
                // Both ends are inclusive: the last second counts to its end.
                validity: peek_validity(leaf)
                    .map(|v| (whole_second(v.not_before), whole_second(v.not_after).plus_seconds(1))),
                chain: verifier.verify(leaf, &self.chain[1..]),
            }
        })
    }
}

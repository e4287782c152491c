//! The authorities that this responder speaks for, as requests name them.

use std::sync::{Arc, Mutex, PoisonError};

use signalbeam_domain::Timestamp;
use signalbeam_pki::ocsp::{CertId, OcspIssuer};
use signalbeam_pki::{Authorities, AuthoritySet, CertificateAuthority, Timeliness};

use super::signers::SignerSlot;

/// An authority with what its answers need.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) authority: Arc<CertificateAuthority>,
    names: OcspIssuer,
    /// Who signs in its place.
    pub(super) signer: Arc<SignerSlot>,
}

impl Issuer {
    pub(super) fn is_named_by(&self, id: &CertId<'_>) -> bool {
        self.names.is_named_by(id)
    }
}

/// Every authority that is trusted, whether it signs certificates, did, or will.
#[derive(Debug)]
pub(super) struct Issuers {
    authorities: Authorities,
    known: Mutex<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    set: Arc<AuthoritySet>,
    issuers: Arc<[Arc<Issuer>]>,
}

impl Known {
    /// Of another set of authorities; those that stay keep their signers.
    fn of(set: Arc<AuthoritySet>, before: &[Arc<Issuer>]) -> Self {
        let issuers = set.trusted().iter().map(|one| {
            let id = one.authority.id();
            let same = before.iter().find(|issuer| issuer.authority.id() == id);
            Arc::new(Issuer {
                authority: Arc::clone(&one.authority),
                names: one.authority.ocsp_issuer(),
                signer: same.map_or_else(Arc::default, |issuer| Arc::clone(&issuer.signer)),
            })
        });
        Self { issuers: issuers.collect(), set }
    }
}

impl Issuers {
    pub(super) fn new(authorities: Authorities) -> Self {
        let known = Known::of(authorities.current(), &[]);
        Self { authorities, known: Mutex::new(known) }
    }

    /// The first authority that one of the certificates is asked about of; none where all are foreign, or its own time is
    /// over.
    pub(super) fn find(&self, certificates: &[CertId<'_>], now: Timestamp) -> Option<Arc<Issuer>> {
        let issuers = self.current();
        let mut named = certificates.iter().filter_map(|id| issuers.iter().find(|issuer| issuer.is_named_by(id)));
        let is_timely = |issuer: &&Arc<Issuer>| {
            issuer.authority.own_validity().timeliness(now.to_offset_date_time()) != Timeliness::Past
        };
        named.find(is_timely).cloned()
    }

    fn current(&self) -> Arc<[Arc<Issuer>]> {
        let set = self.authorities.current();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.set, &set) {
            *known = Known::of(set, &known.issuers);
        }
        Arc::clone(&known.issuers)
    }
}

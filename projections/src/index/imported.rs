//! Whose certificates were imported: the names that a TLS server must hint at, so that clients send theirs.

use std::collections::HashMap;
use std::sync::Arc;

use signalbeam_domain::Fingerprint;

/// The issuers of the imported certificates that are neither superseded nor revoked.
#[derive(Debug, Default)]
pub(super) struct ImportedIssuers {
    of: HashMap<Fingerprint, Arc<[u8]>>,
    /// How many certificates each has.
    counts: HashMap<Arc<[u8]>, usize>,
    /// How often the names have changed.
    changes: u64,
}

impl ImportedIssuers {
    /// Notes a certificate's issuer, by its name in DER.
    pub(super) fn add(&mut self, certificate: Fingerprint, issuer: Arc<[u8]>) {
        if self.of.insert(certificate, issuer.clone()).is_none() {
            let count = self.counts.entry(issuer).or_default();
            *count += 1;
            self.changes += u64::from(*count == 1);
        }
    }

    pub(super) fn remove(&mut self, certificate: &Fingerprint) {
        let Some(issuer) = self.of.remove(certificate) else { return };
        if let Some(count) = self.counts.get_mut(&issuer) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&issuer);
                self.changes += 1;
            }
        }
    }

    /// How often the names have changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The names, sorted; `None` where there are more than `max`.
    pub(super) fn names(&self, max: usize) -> Option<Vec<Arc<[u8]>>> {
        if self.counts.len() > max {
            return None;
        }
        let mut names: Vec<_> = self.counts.keys().cloned().collect();
        names.sort();
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_named_as_long_as_one_of_its_certificates_is_in_force() {
        let mut issuers = ImportedIssuers::default();
        let certificate = |number| Fingerprint::from_digest([number; 32]);
        let (acme, other): (Arc<[u8]>, Arc<[u8]>) = (Arc::from([1]), Arc::from([2]));
        assert_eq!(issuers.names(2), Some(vec![]));
        issuers.add(certificate(1), acme.clone());
        issuers.add(certificate(1), acme.clone());
        issuers.add(certificate(2), acme.clone());
        issuers.add(certificate(3), other.clone());
        assert_eq!(issuers.names(2), Some(vec![acme, other.clone()]));
        assert_eq!(issuers.names(1), None, "too many to hint at");
        issuers.remove(&certificate(1));
        issuers.remove(&certificate(1));
        issuers.remove(&certificate(2));
        assert_eq!(issuers.names(1), Some(vec![other]));
    }
}

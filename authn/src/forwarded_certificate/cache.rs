//! What is known of the certificates that came through proxies, so that a chain's signatures are not checked again on
//! every request. Bounded in bytes and in time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest;
use rustls_pki_types::CertificateDer;

use crate::connection::PresentedCertificate;

/// The most bytes of chains in one of the two generations: some 8,000 certificates of usual size.
const GENERATION_BYTES: usize = 8 * 1024 * 1024;
/// What an entry takes beside its chain, roughly.
const ENTRY_BYTES: usize = 256;
/// How long an entry is believed: what a chain is worth changes with the authority's anchors, as it does for open
/// connections, and these end at some time.
const LIFE: Duration = Duration::from_mins(1);

/// The SHA-256 of a whole chain: the issuers that came along decide with the certificate.
type Key = [u8; 32];

/// Remembers the latest chains. When a generation is full, the one before it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    current: HashMap<Key, Entry>,
    current_bytes: usize,
    last: HashMap<Key, Entry>,
}

#[derive(Debug)]
struct Entry {
    certificate: Arc<PresentedCertificate>,
    since: Instant,
}

impl Cache {
    /// The same object for the same chain, with the facts that were found out before.
    pub(super) fn known_or_new(&self, chain: Vec<CertificateDer<'static>>) -> Arc<PresentedCertificate> {
        self.at(chain, Instant::now())
    }

    fn at(&self, chain: Vec<CertificateDer<'static>>, now: Instant) -> Arc<PresentedCertificate> {
        let key = key(&chain);
        // The maps hold together after every statement, so that a panic elsewhere leaves them whole.
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = generations.current.get(&key).or_else(|| generations.last.get(&key));
        if let Some(entry) = found.filter(|entry| now.duration_since(entry.since) < LIFE) {
            return Arc::clone(&entry.certificate);
        }
        let bytes = ENTRY_BYTES + chain.iter().map(|certificate| certificate.len()).sum::<usize>();
        if generations.current_bytes + bytes > GENERATION_BYTES {
            generations.last = std::mem::take(&mut generations.current);
            generations.current_bytes = 0;
        }
        let certificate = Arc::new(PresentedCertificate::new(chain));
        let entry = Entry { certificate: Arc::clone(&certificate), since: now };
        if generations.current.insert(key, entry).is_none() {
            generations.current_bytes += bytes;
        }
        certificate
    }
}

fn key(chain: &[CertificateDer<'_>]) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    for certificate in chain {
        // With its length in front, so that two chains never join to the same bytes.
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(certificates: &[&[u8]]) -> Vec<CertificateDer<'static>> {
        certificates.iter().map(|certificate| CertificateDer::from(certificate.to_vec())).collect()
    }

    #[test]
    fn the_same_chain_is_known_for_a_minute() {
        let cache = Cache::default();
        let start = Instant::now();
        let first = cache.at(chain(&[b"leaf", b"issuer"]), start);
        let again = cache.at(chain(&[b"leaf", b"issuer"]), start + LIFE / 2);
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &cache.at(chain(&[b"leaf", b"issuer"]), start + LIFE)));
    }

    #[test]
    fn other_issuers_or_other_borders_are_another_chain() {
        let cache = Cache::default();
        let first = cache.known_or_new(chain(&[b"leaf", b"issuer"]));
        for other in [&[&b"leaf"[..]][..], &[b"leafissuer"], &[b"leafi", b"ssuer"], &[b"issuer", b"leaf"]] {
            assert!(!Arc::ptr_eq(&first, &cache.known_or_new(chain(other))), "{other:?}");
        }
    }

    #[test]
    fn it_never_holds_more_than_two_generations() {
        let cache = Cache::default();
        let large = vec![0; 16 * 1024 - 4];
        let bytes = |entries: &HashMap<Key, Entry>| entries.len() * (16 * 1024 + ENTRY_BYTES);
        for number in 0..2_000_u32 {
            let newest = cache.known_or_new(chain(&[&large, &number.to_be_bytes()]));
            let generations = cache.0.lock().unwrap();
            assert_eq!(generations.current_bytes, bytes(&generations.current));
            assert!(generations.current_bytes <= GENERATION_BYTES && bytes(&generations.last) <= GENERATION_BYTES);
            drop(generations);
            assert!(Arc::ptr_eq(&newest, &cache.known_or_new(chain(&[&large, &number.to_be_bytes()]))));
        }
    }
}

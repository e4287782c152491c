//! Answers that were signed already, as many as fit in bounds.
//!
//! Two generations: when the young one is full it becomes the old one, and what of that is asked for again moves back. So
//! what nobody asks for goes, and nothing has to be searched for. What is unknown has a small cache of its own: strangers
//! can make up serial numbers without end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::HeaderValue;
use signalbeam_domain::Timestamp;
use signalbeam_domain::certificate::Standing;
use signalbeam_pki::ocsp::CertificateStatus;

/// How many answers about certificates that exist each generation holds; about 1.5 KiB each.
const KNOWN: usize = 16_384;
/// How many of those about certificates that do not.
const UNKNOWN: usize = 1_024;

/// An answer that was signed.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    /// The `OCSPResponse`.
    pub(super) response: Bytes,
    /// What it says.
    pub(super) status: CertificateStatus,
    /// What the index said when it was made.
    pub(super) seen: Option<Standing>,
    pub(super) this_update: Timestamp,
    /// From when on it is made anew.
    pub(super) refresh_at: Timestamp,
    pub(super) next_update: Timestamp,
    /// Tells it from every other one.
    pub(super) etag: HeaderValue,
}

impl Signed {
    /// Whether it still says what there is to be said.
    fn holds(&self, seen: Option<Standing>, now: Timestamp) -> bool {
        self.seen == seen && self.this_update <= now && now < self.refresh_at
    }
}

/// Signed answers, by the `CertID` that they are about.
#[derive(Debug)]
pub(super) struct Cache {
    known: Mutex<Generations>,
    unknown: Mutex<Generations>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { known: Mutex::new(Generations::of(KNOWN)), unknown: Mutex::new(Generations::of(UNKNOWN)) }
    }
}

impl Cache {
    /// The answer about a certificate, of which the index says `seen` now.
    pub(super) fn find(&self, cert_id: &[u8], seen: Option<Standing>, now: Timestamp) -> Option<Signed> {
        let find = |generations: &Mutex<Generations>| {
            generations.lock().unwrap_or_else(PoisonError::into_inner).find(cert_id, seen, now)
        };
        // What the index has forgotten may be known all the same.
        find(&self.known).or_else(|| if seen.is_none() { find(&self.unknown) } else { None })
    }

    pub(super) fn keep(&self, cert_id: &[u8], signed: Signed) {
        let generations = if signed.status == CertificateStatus::Unknown { &self.unknown } else { &self.known };
        generations.lock().unwrap_or_else(PoisonError::into_inner).keep(cert_id.into(), signed);
    }
}

#[derive(Debug)]
struct Generations {
    most: usize,
    young: HashMap<Box<[u8]>, Signed>,
    old: HashMap<Box<[u8]>, Signed>,
}

impl Generations {
    fn of(most: usize) -> Self {
        Self { most, young: HashMap::new(), old: HashMap::new() }
    }

    fn find(&mut self, cert_id: &[u8], seen: Option<Standing>, now: Timestamp) -> Option<Signed> {
        if let Some(signed) = self.young.get(cert_id) {
            return signed.holds(seen, now).then(|| signed.clone());
        }
        let (cert_id, signed) = self.old.remove_entry(cert_id)?;
        if !signed.holds(seen, now) {
            return None;
        }
        self.keep(cert_id, signed.clone());
        Some(signed)
    }

    fn keep(&mut self, cert_id: Box<[u8]>, signed: Signed) {
        if self.young.len() >= self.most && !self.young.contains_key(&cert_id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(cert_id, signed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_seconds(second)
    }

    fn signed(seen: Option<Standing>) -> Signed {
        Signed {
            response: Bytes::from_static(b"answer"),
            status: if seen.is_some() { CertificateStatus::Good } else { CertificateStatus::Unknown },
            seen,
            this_update: at(100),
            refresh_at: at(200),
            next_update: at(300),
            etag: HeaderValue::from_static("\"1\""),
        }
    }

    #[test]
    fn an_answer_holds_while_the_index_says_the_same_and_until_it_is_made_anew() {
        let cache = Cache::default();
        let active = Some(Standing::Active);
        cache.keep(b"a", signed(active));
        assert!(cache.find(b"a", active, at(100)).is_some() && cache.find(b"a", active, at(199)).is_some());
        assert!(cache.find(b"a", active, at(200)).is_none(), "half of its life is over");
        assert!(cache.find(b"a", active, at(99)).is_none(), "the clock was set back");
        assert!(cache.find(b"a", Some(Standing::Revoked), at(150)).is_none(), "it was revoked");
        assert!(cache.find(b"a", None, at(150)).is_none());
        cache.keep(b"b", signed(None));
        assert!(cache.find(b"b", None, at(150)).is_some());
        assert!(cache.find(b"b", active, at(150)).is_none(), "it was issued meanwhile");
    }

    #[test]
    fn strangers_fill_neither_cache() {
        let cache = Cache::default();
        cache.keep(b"good", signed(Some(Standing::Active)));
        for nth in 0..100_000_u32 {
            cache.keep(&nth.to_be_bytes(), signed(None));
        }
        let size = |generations: &Mutex<Generations>| {
            let generations = generations.lock().unwrap();
            generations.young.len() + generations.old.len()
        };
        assert!(size(&cache.unknown) <= 2 * UNKNOWN);
        assert!(cache.find(b"good", Some(Standing::Active), at(150)).is_some());
        for nth in 0..100_000_u32 {
            cache.keep(&nth.to_be_bytes(), signed(Some(Standing::Active)));
        }
        assert!(size(&cache.known) <= 2 * KNOWN);
    }

    #[test]
    fn what_is_asked_for_again_stays() {
        let mut generations = Generations::of(2);
        let active = Some(Standing::Active);
        for name in [&b"a"[..], b"b", b"c"] {
            generations.keep(name.into(), signed(active));
        }
        assert!(generations.find(b"a", active, at(150)).is_some(), "it comes back from the old generation");
        generations.keep(b"d"[..].into(), signed(active));
        assert!(generations.find(b"a", active, at(150)).is_some());
        assert!(generations.find(b"b", active, at(150)).is_none());
    }
}

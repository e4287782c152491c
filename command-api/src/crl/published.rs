//! The revocation lists that are served: one publication for each authority, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use signalbeam_domain::authority::CrlPublished;
use signalbeam_domain::{AuthorityId, Timestamp};
use signalbeam_pki::SignedCrl;
use tokio::sync::watch;

/// One list, ready to be sent.
#[derive(Debug)]
pub(super) struct Document {
    der: Bytes,
    pem: OnceLock<Bytes>,
    /// The first half of its SHA-256, in hex.
    pub(super) tag: String,
}

impl Document {
    fn new(signed: SignedCrl) -> Self {
        let mut tag = signed.sha256.to_string();
        tag.truncate(32);
        Self { der: signed.der.into(), pem: OnceLock::new(), tag }
    }

    pub(super) fn der(&self) -> Bytes {
        self.der.clone()
    }

    /// Made when it is first asked for: few ask.
    pub(super) fn pem(&self) -> Bytes {
        self.pem.get_or_init(|| SignedCrl::pem(&self.der).into()).clone()
    }
}

/// A complete list and its delta.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) number: u64,
    pub(super) entries: u64,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) complete: Document,
    pub(super) delta: Document,
}

impl Publication {
    pub(super) fn new(published: &CrlPublished, complete: SignedCrl, delta: SignedCrl) -> Self {
        Self {
            number: published.number,
            entries: published.complete.entries,
            this_update: published.this_update,
            next_update: published.next_update,
            complete: Document::new(complete),
            delta: Document::new(delta),
        }
    }
}

/// What is served of an authority's lists, for those who watch over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlStatus {
    /// The number.
    pub number: u64,
    /// How many certificates the complete list names.
    pub entries: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// By when there will be a newer one.
    pub next_update: Timestamp,
}

/// The revocation lists that this node serves: what the log knows of, and nothing else.
#[derive(Debug, Default)]
pub struct PublishedCrls {
    lists: watch::Sender<BTreeMap<AuthorityId, Arc<Publication>>>,
}

impl PublishedCrls {
    /// Where an authority's lists stand; `None` before the first is served.
    pub fn status(&self, authority: AuthorityId) -> Option<CrlStatus> {
        let publication = self.of(authority)?;
        let Publication { number, entries, this_update, next_update, .. } = *publication;
        Some(CrlStatus { number, entries, this_update, next_update })
    }

    /// Waits until an authority's lists are served; false where that takes longer.
    pub async fn wait_for(&self, authority: AuthorityId, timeout: Duration) -> bool {
        let mut lists = self.lists.subscribe();
        let served = lists.wait_for(|lists| lists.contains_key(&authority));
        tokio::time::timeout(timeout, served).await.is_ok_and(|served| served.is_ok())
    }

    pub(super) fn of(&self, authority: AuthorityId) -> Option<Arc<Publication>> {
        self.lists.borrow().get(&authority).cloned()
    }

    pub(super) fn serve(&self, authority: AuthorityId, publication: Publication) {
        self.lists.send_modify(|lists| drop(lists.insert(authority, Arc::new(publication))));
    }

    /// Serves an authority's lists no longer.
    pub(super) fn withdraw(&self, authority: AuthorityId) {
        self.lists.send_if_modified(|lists| lists.remove(&authority).is_some());
    }

    /// Serves these authorities' lists and no others.
    pub(super) fn keep(&self, authorities: &[AuthorityId]) {
        self.lists.send_if_modified(|lists| {
            let before = lists.len();
            lists.retain(|authority, _| authorities.contains(authority));
            lists.len() != before
        });
    }
}

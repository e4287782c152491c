//! Keeps an issuer's keys for a while, and asks for them again without ever hammering the issuer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::key_set::KeySet;

/// The shortest that keys are kept, whatever the issuer says of caching.
const SHORTEST_LIFETIME: Duration = Duration::from_mins(1);

/// How many callers wait for the issuer at a time: whoever sends tokens under unknown keys must not fill this server with
/// waiting requests where the issuer is slow.
const PLACES: usize = 64;
/// How long whoever has an old key that still counts waits for the issuer to confirm or withdraw it.
const PATIENCE_WITH_OLD_KEYS: Duration = Duration::from_secs(2);

/// A key set as an issuer answered it.
#[derive(Debug, Clone)]
pub struct FetchedKeySet {
    /// The document.
    pub json: Vec<u8>,
    /// How long the answer says that it may be kept.
    pub max_age: Option<Duration>,
}

/// Why keys could not be fetched.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// Where an issuer's keys come from.
#[async_trait]
pub trait KeySetSource: Send + Sync + 'static {
    /// Asks for the keys; bounded in time and size by whoever implements it.
    ///
    /// # Errors
    /// Whatever went wrong, for the log.
    async fn fetch(&self) -> Result<FetchedKeySet, FetchError>;
}

/// How long keys are kept.
#[derive(Debug, Clone, Copy)]
pub struct KeyLifetimes {
    /// How long they are kept at most before they are asked for again; as long where the issuer says nothing.
    pub longest: Duration,
    /// How much time passes at least between two fetches, whatever unknown keys tokens name.
    pub between_fetches: Duration,
    /// For how long beyond their lifetime they still count while the issuer does not answer.
    pub stale: Duration,
}

/// There are no keys that may still be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoKeys;

/// The keys of one issuer.
pub(super) struct KeyCache(Arc<Inner>);

struct Inner {
    source: Box<dyn KeySetSource>,
    lifetimes: KeyLifetimes,
    state: Mutex<State>,
    places: Semaphore,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    last_fetch: Option<Fetch>,
}

#[derive(Clone)]
struct Held {
    keys: Arc<KeySet>,
    fetched: Instant,
    lifetime: Duration,
}

struct Fetch {
    started: Instant,
    /// Ends with its sender.
    end: watch::Receiver<()>,
}

impl KeyCache {
    pub(super) fn new(source: Box<dyn KeySetSource>, lifetimes: KeyLifetimes) -> Self {
        Self(Arc::new(Inner { source, lifetimes, state: Mutex::default(), places: Semaphore::new(PLACES) }))
    }

    /// The issuer's keys: asked for again where they are old or `has_wanted` misses one.
    pub(super) async fn keys(&self, has_wanted: impl Fn(&KeySet) -> bool) -> Result<Arc<KeySet>, NoKeys> {
        if let Some(held) = self.0.state().held.clone()
            && held.is_fresh()
            && has_wanted(&held.keys)
        {
            return Ok(held.keys);
        }
        let Some(mut end) = self.refresh() else { return self.usable(has_wanted) };
        if let Ok(_place) = self.0.places.try_acquire() {
            // The error is the end.
            let ended = end.changed();
            if self.usable(&has_wanted).is_ok_and(|keys| has_wanted(&keys)) {
                let _in_time = timeout(PATIENCE_WITH_OLD_KEYS, ended).await;
            } else {
                let _ended = ended.await;
            }
        }
        self.usable(has_wanted)
    }

    /// What is held, where it may still be relied on.
    fn usable(&self, has_wanted: impl Fn(&KeySet) -> bool) -> Result<Arc<KeySet>, NoKeys> {
        let held = self.0.state().held.clone().ok_or(NoKeys)?;
        // A key that old keys lack may well be among the present ones: nobody can tell until the issuer answers.
        let is_usable =
            held.is_fresh() || (held.age() <= held.lifetime + self.0.lifetimes.stale && has_wanted(&held.keys));
        if is_usable { Ok(held.keys) } else { Err(NoKeys) }
    }

    /// The end of the fetch that runs, or of one that is started unless the last one was just now. It runs to its end even
    /// where nobody waits for it any longer, so that a caller who hangs up spoils it for nobody.
    fn refresh(&self) -> Option<watch::Receiver<()>> {
        let mut state = self.0.state();
        match &state.last_fetch {
            Some(fetch) if fetch.end.has_changed().is_ok() => Some(fetch.end.clone()),
            Some(fetch) if fetch.started.elapsed() < self.0.lifetimes.between_fetches => None,
            _ => {
                let (running, end) = watch::channel(());
                state.last_fetch = Some(Fetch { started: Instant::now(), end: end.clone() });
                let inner = Arc::clone(&self.0);
                tokio::spawn(async move {
                    inner.fetch().await;
                    drop(running);
                });
                Some(end)
            }
        }
    }
}

impl Held {
    fn age(&self) -> Duration {
        self.fetched.elapsed()
    }

    fn is_fresh(&self) -> bool {
        self.age() < self.lifetime
    }
}

impl Inner {
    /// Nothing panics while it is locked; if it did, what is in there would still be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self) {
        // Before the question: what was published later than that may be missing.
        let asked = Instant::now();
        let fetched = self.source.fetch().await;
        let read = fetched.and_then(|answer| Ok((KeySet::parse(&answer.json)?, answer.max_age)));
        let result = match read {
            Ok((keys, max_age)) => {
                let longest = self.lifetimes.longest;
                let lifetime = max_age.map_or(longest, |age| age.max(SHORTEST_LIFETIME).min(longest));
                self.state().held = Some(Held { keys: Arc::new(keys), fetched: asked, lifetime });
                "success"
            }
            Err(error) => {
                tracing::warn!(error = &*error as &dyn std::error::Error, "the OIDC issuer's keys cannot be fetched");
                "failure"
            }
        };
        metrics::counter!("signalbeam_oidc_key_fetches_total", "result" => result).increment(1);
    }
}

#[cfg(test)]
mod tests;

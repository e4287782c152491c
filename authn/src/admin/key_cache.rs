//! Keeps an issuer's keys for a while, and asks for them again without ever hammering the issuer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;

use super::key_set::KeySet;

/// The shortest that keys are kept, whatever the issuer says of caching.
const SHORTEST_LIFETIME: Duration = Duration::from_mins(1);

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
        Self(Arc::new(Inner { source, lifetimes, state: Mutex::default() }))
    }

    /// The issuer's keys: asked for again where they are old or `has_wanted` misses one.
    pub(super) async fn keys(&self, has_wanted: impl Fn(&KeySet) -> bool) -> Result<Arc<KeySet>, NoKeys> {
        if let Some(held) = self.0.state().held.clone()
            && held.is_fresh()
            && has_wanted(&held.keys)
        {
            return Ok(held.keys);
        }
        self.refresh().await;
        let held = self.0.state().held.clone().ok_or(NoKeys)?;
        // A key that old keys lack may well be among the present ones: nobody can tell until the issuer answers.
        let is_usable =
            held.is_fresh() || (held.age() <= held.lifetime + self.0.lifetimes.stale && has_wanted(&held.keys));
        if is_usable { Ok(held.keys) } else { Err(NoKeys) }
    }

    /// Waits for the fetch that runs, or starts one unless the last one was just now. It runs to its end even where nobody
    /// waits for it any longer, so that a caller who hangs up spoils it for nobody.
    async fn refresh(&self) {
        let mut end = {
            let mut state = self.0.state();
            match &state.last_fetch {
                Some(fetch) if fetch.end.has_changed().is_ok() => fetch.end.clone(),
                Some(fetch) if fetch.started.elapsed() < self.0.lifetimes.between_fetches => return,
                _ => {
                    let (running, end) = watch::channel(());
                    state.last_fetch = Some(Fetch { started: Instant::now(), end: end.clone() });
                    let inner = Arc::clone(&self.0);
                    tokio::spawn(async move {
                        inner.fetch().await;
                        drop(running);
                    });
                    end
                }
            }
        };
        // The error is the end.
        let _ended = end.changed().await;
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

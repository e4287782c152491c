//! How often an issuer is asked for its keys, and for how long old ones count.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::Semaphore;

use super::super::key_set::SigningAlgorithm;
use super::*;

const HOUR: Duration = Duration::from_hours(1);
const NEVER: Duration = Duration::ZERO;

/// Answers with one set after the other, the last one again and again; `None` is a failure.
struct Script {
    asked: AtomicUsize,
    answers: Mutex<VecDeque<Option<FetchedKeySet>>>,
    gate: Semaphore,
}

fn set(kid: &str) -> FetchedKeySet {
    let keys = json!({"keys": [{"kty": "RSA", "kid": kid, "n": "AQAB", "e": "AQAB"}]});
    FetchedKeySet { json: keys.to_string().into_bytes(), max_age: None }
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Option<FetchedKeySet>>) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { asked: AtomicUsize::new(0), answers, gate: Semaphore::new(1_000) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeySetSource for Arc<Script> {
    async fn fetch(&self) -> Result<FetchedKeySet, FetchError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.flatten().ok_or_else(|| "down".into())
    }
}

fn cache(script: &Arc<Script>, longest: Duration, between_fetches: Duration, stale: Duration) -> KeyCache {
    KeyCache::new(Box::new(Arc::clone(script)), KeyLifetimes { longest, between_fetches, stale })
}

async fn has(cache: &KeyCache, kid: &str) -> Result<bool, NoKeys> {
    let wanted = |keys: &KeySet| keys.candidates(Some(kid), SigningAlgorithm::Rs256).next().is_some();
    cache.keys(wanted).await.map(|keys| wanted(&keys))
}

#[tokio::test]
async fn keys_are_fetched_once_in_their_lifetime() {
    let script = Script::new([Some(set("a"))]);
    let cache = cache(&script, HOUR, NEVER, HOUR);
    for _ in 0..100 {
        assert_eq!(has(&cache, "a").await, Ok(true));
    }
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn keys_whose_lifetime_is_over_are_fetched_again() {
    let script = Script::new([Some(set("a")), Some(set("b"))]);
    let cache = cache(&script, NEVER, NEVER, HOUR);
    assert_eq!(has(&cache, "a").await, Ok(true));
    assert_eq!(has(&cache, "a").await, Err(NoKeys), "it was withdrawn, and these keys are old already");
    assert_eq!(has(&cache, "b").await, Ok(true));
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_once_and_a_flood_of_them_no_more_than_that() {
    let script = Script::new([Some(set("a")), Some(set("b"))]);
    let rotating = cache(&script, HOUR, NEVER, HOUR);
    assert_eq!(has(&rotating, "a").await, Ok(true));
    assert_eq!(has(&rotating, "b").await, Ok(true), "a new key is found though the old ones are fresh");
    assert_eq!(script.asked(), 2);

    let script = Script::new([Some(set("a"))]);
    let flooded = cache(&script, HOUR, HOUR, HOUR);
    for number in 0..1_000 {
        assert_eq!(has(&flooded, &format!("unknown-{number}")).await, Ok(false));
    }
    assert_eq!(script.asked(), 1);
    assert_eq!(has(&flooded, "a").await, Ok(true), "good tokens pass all the while");
}

#[tokio::test]
async fn many_at_a_time_wait_for_one_fetch() {
    let script = Script::new([Some(set("a"))]);
    script.gate.forget_permits(1_000);
    let cache = Arc::new(cache(&script, HOUR, NEVER, HOUR));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { has(&cache, "a").await })
        })
        .collect();
    while script.asked() == 0 {
        tokio::task::yield_now().await;
    }
    script.gate.add_permits(1);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ok(true));
    }
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn no_more_wait_for_a_slow_issuer_than_there_are_places() {
    let script = Script::new([Some(set("a")), Some(set("b"))]);
    let cache = Arc::new(cache(&script, HOUR, NEVER, HOUR));
    assert_eq!(has(&cache, "a").await, Ok(true));
    script.gate.forget_permits(1_000);
    let waiting: Vec<_> = (0..PLACES)
        .map(|number| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { has(&cache, &format!("unknown-{number}")).await })
        })
        .collect();
    while cache.0.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(has(&cache, "one-too-many").await, Ok(false), "answered at once");
    assert_eq!(has(&cache, "a").await, Ok(true), "good tokens pass all the while");
    script.gate.add_permits(1);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ok(false));
    }
    assert_eq!((cache.0.places.available_permits(), script.asked()), (PLACES, 2));
}

#[tokio::test]
async fn an_old_key_that_still_counts_does_not_wait_for_long() {
    let script = Script::new([Some(set("a")), Some(set("b"))]);
    let cache = cache(&script, NEVER, NEVER, HOUR);
    assert_eq!(has(&cache, "a").await, Ok(true));
    script.gate.forget_permits(1_000);
    let begun = Instant::now();
    assert_eq!(has(&cache, "a").await, Ok(true), "the issuer does not answer");
    assert!(begun.elapsed() >= PATIENCE_WITH_OLD_KEYS, "it was given the time to");
    script.gate.add_permits(1);
    assert_eq!(has(&cache, "a").await, Err(NoKeys), "it has answered: the key was withdrawn");
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_end_the_fetch() {
    let script = Script::new([Some(set("a"))]);
    script.gate.forget_permits(1_000);
    let cache = Arc::new(cache(&script, HOUR, HOUR, HOUR));
    let gone = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move { has(&cache, "a").await })
    };
    while script.asked() == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    script.gate.add_permits(1);
    assert_eq!(has(&cache, "a").await, Ok(true));
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn old_keys_count_for_a_while_where_the_issuer_is_down_and_none_after_that() {
    let patient = cache(&Script::new([Some(set("a")), None]), NEVER, NEVER, HOUR);
    for _ in 0..3 {
        assert_eq!(has(&patient, "a").await, Ok(true));
    }
    assert_eq!(has(&patient, "b").await, Err(NoKeys), "it may be a new one");
    let strict = cache(&Script::new([Some(set("a")), None]), NEVER, NEVER, NEVER);
    assert_eq!(has(&strict, "a").await, Err(NoKeys), "already older than allowed");
    let never = cache(&Script::new([None]), HOUR, NEVER, HOUR);
    assert_eq!(has(&never, "a").await, Err(NoKeys));
}

#[tokio::test]
async fn an_issuer_that_is_down_is_not_asked_again_and_again() {
    let script = Script::new([None]);
    let cache = cache(&script, HOUR, HOUR, HOUR);
    for _ in 0..100 {
        assert_eq!(has(&cache, "a").await, Err(NoKeys));
    }
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_does_not_take_the_place_of_one() {
    let garbage = Some(FetchedKeySet { json: b"<html>".to_vec(), max_age: None });
    let cache = cache(&Script::new([Some(set("a")), garbage]), HOUR, NEVER, HOUR);
    assert_eq!(has(&cache, "a").await, Ok(true));
    assert_eq!(has(&cache, "b").await, Ok(false));
    assert_eq!(has(&cache, "a").await, Ok(true));
}

#[tokio::test]
async fn what_the_issuer_says_of_caching_is_bounded() {
    for (max_age, longest, expected) in [
        (Some(0), 3_600, 60),
        (Some(300), 3_600, 300),
        (Some(1_000_000), 3_600, 3_600),
        (None, 3_600, 3_600),
        (Some(0), 30, 30),
    ] {
        let answer = Some(FetchedKeySet { max_age: max_age.map(Duration::from_secs), ..set("a") });
        let cache = cache(&Script::new([answer]), Duration::from_secs(longest), NEVER, NEVER);
        assert_eq!(has(&cache, "a").await, Ok(true));
        assert_eq!(cache.0.state().held.clone().unwrap().lifetime, Duration::from_secs(expected), "{max_age:?}");
    }
}

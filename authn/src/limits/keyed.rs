//! Quotas by key, in bounded memory: whatever strangers send, no more than so many keys are remembered.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::quota::{Quota, Standing, WholeAt};

/// How many idle keys are forgotten for each that is used.
const FORGOTTEN_AT_A_TIME: usize = 2;

/// What each key has used of its quota. A key whose quota is whole again is forgotten. Where there are too many, those
/// go first that are the closest to that: who has used up much stays known.
#[derive(Debug)]
pub(super) struct Keyed<K> {
    base: Instant,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    capacity: usize,
    by_key: HashMap<K, WholeAt>,
    by_moment: BTreeSet<(WholeAt, K)>,
}

impl<K: Copy + Ord + Hash> Keyed<K> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { capacity: capacity.max(1), by_key: HashMap::new(), by_moment: BTreeSet::new() };
        Self { base: Instant::now(), state: Mutex::new(state) }
    }

    /// Remembers so many keys from now on; with another quota none of those that are remembered.
    pub(super) fn adapt(&self, capacity: usize, is_other_quota: bool) {
        let mut state = self.lock();
        state.capacity = capacity.max(1);
        if is_other_quota {
            state.by_key.clear();
            state.by_moment.clear();
        }
        while state.by_key.len() > state.capacity {
            state.forget_first();
        }
    }

    /// Uses one unit of the key's quota up; `Err` where none is left.
    pub(super) fn take(&self, key: K, quota: Quota) -> Result<Standing, Standing> {
        self.take_at(key, quota, self.now())
    }

    pub(super) fn take_at(&self, key: K, quota: Quota, now: u64) -> Result<Standing, Standing> {
        let mut state = self.lock();
        state.forget_idle(now);
        let known = state.by_key.get(&key).copied();
        let (whole_at, standing) = known.unwrap_or_default().take(quota, now)?;
        if known.is_none() && state.by_key.len() >= state.capacity {
            state.forget_first();
        }
        state.set(key, whole_at);
        Ok(standing)
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, key: K, quota: Quota) {
        let mut state = self.lock();
        if let Some(whole_at) = state.by_key.get(&key).copied() {
            state.set(key, whole_at.give_back(quota));
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Ord + Hash> State<K> {
    fn set(&mut self, key: K, whole_at: WholeAt) {
        if let Some(before) = self.by_key.insert(key, whole_at) {
            self.by_moment.remove(&(before, key));
        }
        self.by_moment.insert((whole_at, key));
    }

    fn forget_idle(&mut self, now: u64) {
        for _ in 0..FORGOTTEN_AT_A_TIME {
            if self.by_moment.first().is_some_and(|(whole_at, _)| whole_at.0 <= now) {
                self.forget_first();
            }
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.by_moment.pop_first() {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sizes(keyed: &Keyed<u32>) -> (usize, usize) {
        let state = keyed.lock();
        (state.by_key.len(), state.by_moment.len())
    }

    #[test]
    fn a_burst_is_granted_and_then_one_at_every_interval() {
        let keyed = Keyed::new(10);
        let quota = Quota::new(3, 1, Duration::from_secs(10));
        assert_eq!(quota.window(), Duration::from_secs(30));
        let remaining: Vec<_> = (0..3).map(|_| keyed.take_at(1, quota, 0).unwrap().remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let refused = keyed.take_at(1, quota, SECOND).unwrap_err();
        assert_eq!((refused.remaining, refused.reset), (0, Duration::from_secs(9)));
        assert!(keyed.take_at(1, quota, 10 * SECOND).is_ok());
        assert!(keyed.take_at(1, quota, 10 * SECOND).is_err(), "being refused costs nothing and gains nothing");
        assert!(keyed.take_at(2, quota, 10 * SECOND).is_ok(), "another key has a quota of its own");
        let whole = (0..3).filter(|_| keyed.take_at(1, quota, 100 * SECOND).is_ok()).count();
        assert_eq!(whole, 3, "and no more than the burst after a long time");
    }

    #[test]
    fn what_was_given_back_can_be_taken_again() {
        let keyed = Keyed::new(10);
        let quota = Quota::new(1, 1, Duration::from_secs(10));
        keyed.take_at(1, quota, 0).unwrap();
        keyed.give_back(1, quota);
        keyed.give_back(2, quota);
        keyed.take_at(1, quota, 0).unwrap();
        keyed.take_at(1, quota, 0).unwrap_err();
    }

    #[test]
    fn a_smaller_quota_bars_nobody_for_longer_than_its_own_window() {
        let keyed = Keyed::new(10);
        let large = Quota::new(1_000, 1, Duration::from_secs(10));
        for _ in 0..1_000 {
            keyed.take_at(1, large, 0).unwrap();
        }
        let small = Quota::new(2, 1, Duration::from_secs(10));
        assert_eq!(keyed.take_at(1, small, 0).unwrap_err().reset, Duration::from_secs(10));
    }

    #[test]
    fn of_100_000_keys_no_more_than_the_capacity_is_kept_and_the_most_indebted_stay() {
        let keyed = Keyed::new(1_000);
        let quota = Quota::new(5, 1, Duration::from_secs(10));
        for _ in 0..5 {
            keyed.take_at(u32::MAX, quota, 0).unwrap();
        }
        for key in 0..100_000 {
            keyed.take_at(key, quota, u64::from(key)).unwrap();
            assert!(sizes(&keyed).0 <= 1_000);
        }
        assert_eq!(sizes(&keyed), (1_000, 1_000));
        keyed.take_at(u32::MAX, quota, 100_000).unwrap_err();
        keyed.take_at(99_999, quota, 100_000).unwrap();
        assert_eq!(keyed.take_at(99_999, quota, 100_000).unwrap().remaining, 2, "the newest is among those kept");
        keyed.adapt(10, false);
        assert_eq!(sizes(&keyed), (10, 10));
        keyed.take_at(u32::MAX, quota, 100_000).unwrap_err();
        keyed.adapt(10, true);
        assert_eq!(sizes(&keyed), (0, 0));
    }

    #[test]
    fn idle_keys_are_forgotten() {
        let keyed = Keyed::new(1_000);
        let quota = Quota::new(5, 1, Duration::from_secs(10));
        for key in 0..1_000 {
            keyed.take_at(key, quota, 0).unwrap();
        }
        // Each use sweeps, also one that is refused.
        let granted = (0..500).filter(|_| keyed.take_at(1_000, quota, 1_000 * SECOND).is_ok()).count();
        assert_eq!(granted, 5);
        assert_eq!(sizes(&keyed), (1, 1));
    }
}

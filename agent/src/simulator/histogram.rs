//! Latencies in bounded memory: counts in buckets that are at most 1/64 of their value wide.

use std::time::Duration;

const STEPS_BITS: u32 = 6;
const STEPS: u64 = 1 << STEPS_BITS;
/// Enough for 2^37 us, a day and a half.
const BUCKETS: usize = 2048;

/// A distribution of durations. Count, sum and maximum are exact; quantiles are too high by 1/64 at most.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: Duration::ZERO, longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros).min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum += took;
        self.longest = self.longest.max(took);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.longest
    }

    /// The mean; zero where there is none.
    pub fn mean(&self) -> Duration {
        if self.count == 0 { Duration::ZERO } else { self.sum.div_f64(as_f64(self.count)) }
    }

    /// The least duration that this share (0 to 1) of all does not exceed (the nearest-rank method); zero where there is none.
    // The product is between 0 and the count, so nothing is lost that matters.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((share * as_f64(self.count)).ceil() as u64).clamp(1, self.count.max(1));
        let mut passed = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            passed += count;
            if passed >= rank {
                return Duration::from_micros(upper_bound(index)).min(self.longest);
            }
        }
        Duration::ZERO
    }
}

/// A count as a number to calculate with; beyond 2^53 the last digits would not matter.
#[allow(clippy::cast_precision_loss)]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Below 64 us a bucket for each; from there on 64 for each doubling.
fn bucket_of(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(usize::MAX);
    }
    let shift = micros.ilog2() - STEPS_BITS;
    usize::try_from(u64::from(shift) * STEPS + (micros >> shift)).unwrap_or(usize::MAX)
}

/// The greatest duration of a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        micros.into_iter().for_each(|micros| histogram.record(Duration::from_micros(micros)));
        histogram
    }

    #[test]
    fn every_bucket_holds_its_bound_and_not_the_next() {
        for micros in (0..100_000).chain([1 << 30, (1 << 36) + 12345]) {
            let index = bucket_of(micros);
            let bound = upper_bound(index);
            assert!(bound >= micros && bound - micros <= micros / 64, "{micros}: {bound}");
            assert_eq!(bucket_of(bound), index, "{micros}");
            assert_eq!(bucket_of(bound + 1), index + 1, "{micros}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let histogram = of(1..=1000);
        for (share, exact) in [(0.0, 1), (0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1000)] {
            let found = histogram.quantile(share).as_micros();
            assert!((exact..=exact + exact / 64).contains(&found), "{share}: {found} for {exact}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(1));
        assert_eq!(histogram.mean(), Duration::from_nanos(500_500));
        assert_eq!(histogram.count(), 1000);
    }

    #[test]
    fn few_and_none_have_quantiles_too() {
        let none = Histogram::default();
        assert_eq!((none.quantile(0.99), none.mean(), none.max()), (Duration::ZERO, Duration::ZERO, Duration::ZERO));
        let one = of([70_001]);
        assert_eq!(one.quantile(0.5), Duration::from_micros(70_001));
        assert_eq!(of([10, 20]).quantile(0.5), Duration::from_micros(10));
        assert_eq!(of([10, 20]).quantile(0.51), Duration::from_micros(20));
    }

    #[test]
    fn what_lasts_beyond_all_buckets_is_counted_in_the_last() {
        let histogram = of([u64::MAX >> 8]);
        assert_eq!(histogram.count(), 1);
        assert!(histogram.quantile(1.0) > Duration::from_hours(24));
    }
}

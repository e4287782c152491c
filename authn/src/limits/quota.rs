//! How often something may happen: a burst, refilled at a steady pace (the generic cell rate algorithm).

use std::time::Duration;

/// A quota of `burst` units, of which one comes back at every interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    burst: u32,
    interval_nanoseconds: u64,
}

impl Quota {
    /// `burst` at once, and `refill` more in each `period`. Zero counts as one.
    pub fn new(burst: u32, refill: u32, period: Duration) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Self { burst: burst.max(1), interval_nanoseconds: (period / u64::from(refill.max(1))).max(1) }
    }

    /// `burst` at once, and so many more a minute.
    pub fn per_minute(burst: u32, refill: u32) -> Self {
        Self::new(burst, refill, Duration::from_mins(1))
    }

    /// How many may happen at once.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// How long a used-up quota takes to be whole again.
    pub fn window(self) -> Duration {
        Duration::from_nanos(self.window_nanoseconds())
    }

    fn window_nanoseconds(self) -> u64 {
        self.interval_nanoseconds.saturating_mul(u64::from(self.burst))
    }
}

/// What is left of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The quota.
    pub quota: Quota,
    /// How many more may happen right now.
    pub remaining: u32,
    /// Where nothing is left: how long until one more may happen. Otherwise: until the quota is whole again.
    pub reset: Duration,
}

/// The moment, in nanoseconds of a monotonic clock, at which a quota is whole again. All that is kept of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct WholeAt(pub(super) u64);

impl WholeAt {
    /// Uses one unit up; `Err` where none is left, which changes nothing.
    pub(super) fn take(self, quota: Quota, now: u64) -> Result<(Self, Standing), Standing> {
        // A quota that was larger once must not bar anybody for longer than the present one can.
        let debt = self.0.saturating_sub(now).min(quota.window_nanoseconds());
        let after = debt.saturating_add(quota.interval_nanoseconds);
        if after > quota.window_nanoseconds() {
            let reset = Duration::from_nanos(after - quota.window_nanoseconds());
            return Err(Standing { quota, remaining: 0, reset });
        }
        let left = (quota.window_nanoseconds() - after) / quota.interval_nanoseconds;
        let remaining = u32::try_from(left).unwrap_or(quota.burst);
        let reset = if remaining == 0 {
            Duration::from_nanos(after + quota.interval_nanoseconds - quota.window_nanoseconds())
        } else {
            Duration::from_nanos(after)
        };
        Ok((Self(now.saturating_add(after)), Standing { quota, remaining, reset }))
    }

    /// Gives one unit back.
    pub(super) fn give_back(self, quota: Quota) -> Self {
        Self(self.0.saturating_sub(quota.interval_nanoseconds))
    }
}

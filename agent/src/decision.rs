//! What the agent decides from times alone. Nothing here reads a clock, a disk or a socket.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::certificate::CertificateInfo;

/// How long before its end an API key is worth a warning.
pub const API_KEY_WARNING: time::Duration = time::Duration::days(7);

/// Certificates are back-dated a little for slow clocks; a clock further behind than this is wrong.
const CLOCK_TOLERANCE: time::Duration = time::Duration::days(1);

/// Longest pause between heartbeats that fail.
const LONGEST_BACKOFF: Duration = Duration::from_mins(15);

/// The longest wait that a server, or something that speaks in its place, can ask for.
const LONGEST_WISH: Duration = Duration::from_hours(1);

/// How a credential's time of validity stands to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It has not begun, by far: the clock is wrong.
    ClockBehind,
    /// In force.
    Valid,
    /// Over.
    Expired,
}

/// How a certificate's validity stands to now.
pub fn certificate_age(now: OffsetDateTime, info: &CertificateInfo) -> Age {
    if now > info.not_after {
        Age::Expired
    } else if now + CLOCK_TOLERANCE < info.not_before {
        Age::ClockBehind
    } else {
        Age::Valid
    }
}

/// Whether a certificate should be renewed now: when the server says so, or within the threshold of its end. For certificates
/// that live shorter than three thresholds the last third of their life counts, lest they be renewed all the time. A clock
/// that is wrong decides nothing.
pub fn renewal_is_due(now: OffsetDateTime, info: &CertificateInfo, threshold: time::Duration, hint: bool) -> bool {
    let window = threshold.min((info.not_after - info.not_before) / 3);
    hint || (certificate_age(now, info) != Age::ClockBehind && now >= info.not_after - window)
}

/// Whether the stored API key should be replaced by claiming: there is none, it is over, or the server speaks of another end
/// (an administrator rotated it). Where the server has no key there is nothing to claim.
pub fn claim_is_due(now: OffsetDateTime, stored: Option<OffsetDateTime>, server: Option<OffsetDateTime>) -> bool {
    match (stored, server) {
        (None, _) => true,
        (Some(stored), None) => stored <= now,
        (Some(stored), Some(server)) => stored <= now || (server - stored).abs() > time::Duration::SECOND,
    }
}

/// The pause before the next heartbeat: the interval, doubled for each failure in a row up to a quarter of an hour, at least
/// what the server asked for, within an hour; spread by a tenth either way, so that a fleet that lost its server does not return in one instant.
pub fn pause(interval: Duration, failures: u32, retry_after: Option<Duration>, random: u8) -> Duration {
    let doubled = interval.saturating_mul(1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX));
    let base = if failures == 0 { interval } else { doubled.min(LONGEST_BACKOFF.max(interval)) };
    let spread = base.mul_f64(0.9 + f64::from(random) / f64::from(u8::MAX) * 0.2);
    spread.max(retry_after.unwrap_or_default().min(LONGEST_WISH))
}

/// When the running agent looks at its certificate: at its interval, and on a server's hint; but not within an interval after
/// a renewal, lest a hint that persists renews all the time, and after a failure with growing pauses.
#[derive(Debug)]
pub struct RenewalSchedule {
    interval: Duration,
    next_look: Instant,
    held_until: Instant,
    failures: u32,
}

impl RenewalSchedule {
    const FIRST_RETRY: Duration = Duration::from_mins(1);
    const LAST_RETRY: Duration = Duration::from_hours(1);

    /// The first look is at once.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next_look: now, held_until: now, failures: 0 }
    }

    /// Whether to look now.
    pub fn allows(&self, now: Instant, hint: bool) -> bool {
        now >= self.held_until && (hint || now >= self.next_look)
    }

    /// The look found nothing to do.
    pub fn nothing_to_do(&mut self, now: Instant) {
        self.next_look = now + self.interval;
    }

    /// The certificate was renewed.
    pub fn renewed(&mut self, now: Instant) {
        *self = Self::new(self.interval, now + self.interval);
    }

    /// The renewal failed.
    pub fn failed(&mut self, now: Instant) {
        let retry = Self::FIRST_RETRY.saturating_mul(1 << self.failures.min(6));
        self.failures += 1;
        self.next_look = now;
        self.held_until = now + retry.min(Self::LAST_RETRY).min(self.interval);
    }
}

#[cfg(test)]
mod tests;

//! What the agent decides from times alone. Nothing here reads a clock, a disk or a socket.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::api::SuggestedWindow;
use crate::certificate::CertificateInfo;

/// How long before its end an API key is worth a warning.
pub const API_KEY_WARNING: time::Duration = time::Duration::days(7);

/// Certificates are back-dated a little for slow clocks; a clock further behind than this is wrong.
const CLOCK_TOLERANCE: time::Duration = time::Duration::days(1);

/// A difference between this machine's clock and the server's that is worth a warning.
pub const CLOCK_WARNING: time::Duration = time::Duration::minutes(5);

/// Longest pause between heartbeats that fail.
const LONGEST_BACKOFF: Duration = Duration::from_mins(15);
/// Shortest pause after a failure, where the interval is not shorter still.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(5);

/// The longest wait that a server, or something that speaks in its place, can ask for.
const LONGEST_WISH: Duration = Duration::from_hours(1);

/// An API key's threshold where it is not known how long it lives.
const KEY_THRESHOLD: time::Duration = time::Duration::days(14);
/// The longest threshold of an API key.
const LONGEST_KEY_THRESHOLD: time::Duration = time::Duration::days(30);

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

/// What the server said of the installed certificate, from least to most pressing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// Nothing.
    #[default]
    None,
    /// It may be renewed.
    WindowOpen,
    /// It is not accepted any more.
    Ended,
}

/// When to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Now.
    Act,
    /// Not before this moment.
    Wait(OffsetDateTime),
    /// Nobody knows: the clock is wrong, and the server said nothing.
    ClockWrong,
}

/// When to renew a certificate: at this device's moment of the window that the server suggests (RFC 9773, section 4.2), or of
/// the one that the threshold before its end opens where the server suggests none. `share` is the device's place among its
/// fellows, from 0 to 1: a fleet that was enrolled in one night does not return in one instant. The moment falls into the
/// first half of the window; the second is for those who meet trouble. A moment that has passed is now, and no window
/// outlasts what the threshold would leave.
pub fn renewal(
    now: OffsetDateTime,
    info: &CertificateInfo,
    suggested: Option<SuggestedWindow>,
    hint: Hint,
    threshold: time::Duration,
    share: f64,
) -> Renewal {
    let reserve = threshold.min((info.not_after - info.not_before) / 3);
    let calendar = SuggestedWindow { start: info.not_after - reserve, end: info.not_after - reserve / 3 };
    let window = match suggested.filter(|window| window.start < window.end) {
        _ if hint == Hint::Ended => return Renewal::Act,
        Some(window) => window,
        None if hint == Hint::WindowOpen => return Renewal::Act,
        None if certificate_age(now, info) == Age::ClockBehind => return Renewal::ClockWrong,
        None => calendar,
    };
    let moment = moment_in(window.start, window.end, share).min(calendar.end);
    if window.end <= now || moment <= now { Renewal::Act } else { Renewal::Wait(moment) }
}

/// Whether the device should ask for a successor of its API key: in the last third of its life, or the last thirty days where
/// that is shorter; each device at its own moment in the first half of that time. Later keys are left to the administrator.
pub fn rotation_is_due(now: OffsetDateTime, obtained: Option<OffsetDateTime>, end: OffsetDateTime, share: f64) -> bool {
    let threshold = match obtained {
        None => KEY_THRESHOLD,
        Some(obtained) => {
            let third: time::Duration = (end - obtained) / 3;
            third.min(LONGEST_KEY_THRESHOLD)
        }
    };
    now >= moment_in(end - threshold, end, share)
}

/// A moment in the first half of a span.
fn moment_in(start: OffsetDateTime, end: OffsetDateTime, share: f64) -> OffsetDateTime {
    start + (end - start) * (share / 2.0)
}

/// A device's place among its fellows for one purpose, from 0 to 1: always the same, and spread evenly over devices.
pub fn share_of(device_id: Uuid, purpose: &str) -> f64 {
    let hash = digest(&SHA256, &[device_id.as_bytes(), purpose.as_bytes()].concat());
    let [high, low, ..] = hash.as_ref() else { return 0.5 };
    f64::from(u16::from_be_bytes([*high, *low])) / f64::from(u16::MAX)
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

/// The pause before the next heartbeat. After a success the interval, spread by a tenth either way. After failures a random
/// part ("full jitter") of the interval doubled for each in a row, up to a quarter of an hour, so that a fleet that lost its
/// server does not return in one instant; at least what the server asked for, within an hour.
pub fn pause(interval: Duration, failures: u32, retry_after: Option<Duration>, random: u8) -> Duration {
    let spread = if failures == 0 {
        interval.mul_f64(0.9 + f64::from(random) / f64::from(u8::MAX) * 0.2)
    } else {
        let doubled = interval.saturating_mul(1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX));
        jittered(doubled.min(LONGEST_BACKOFF.max(interval)), SHORTEST_BACKOFF.min(interval), random)
    };
    spread.max(wish(retry_after))
}

fn wish(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(LONGEST_WISH)
}

fn jittered(most: Duration, least: Duration, random: u8) -> Duration {
    least + most.saturating_sub(least).mul_f64(f64::from(random) / f64::from(u8::MAX))
}

/// Growing pauses after failures in a row, of which a random part is waited. Times are those since some start.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    held_until: Duration,
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_mins(1);
    const LONGEST: Duration = Duration::from_hours(1);

    /// Whether it may be tried now.
    pub fn allows(&self, now: Duration) -> bool {
        now >= self.held_until
    }

    /// From when on it may be tried.
    pub fn held_until(&self) -> Duration {
        self.held_until
    }

    /// It succeeded.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It failed.
    pub fn failed(&mut self, now: Duration, retry_after: Option<Duration>, random: u8) {
        let most = Self::FIRST.saturating_mul(2 << self.failures.min(6)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.held_until = now + jittered(most, SHORTEST_BACKOFF, random).max(wish(retry_after));
    }

    /// It makes no sense before then.
    pub fn hold_until(&mut self, until: Duration) {
        self.held_until = until;
    }
}

/// When the running agent looks at its certificate: at its interval, at the moment it chose in the window, and on a server's
/// hint that is more pressing than the one it knew at its last look; but not within an interval after a renewal, lest a hint
/// that persists renews all the time, and after a failure with growing pauses. Times are those since the start.
#[derive(Debug)]
pub struct RenewalSchedule {
    interval: Duration,
    next_look: Duration,
    known: Hint,
    backoff: Backoff,
}

impl RenewalSchedule {
    /// The first look is at once.
    pub fn new(interval: Duration) -> Self {
        Self { interval, next_look: Duration::ZERO, known: Hint::None, backoff: Backoff::default() }
    }

    /// Whether to look now.
    pub fn allows(&self, now: Duration, hint: Hint) -> bool {
        self.backoff.allows(now) && (hint > self.known || now >= self.next_look)
    }

    /// When the next look is due, hints aside.
    pub fn next_look(&self) -> Duration {
        self.next_look.max(self.backoff.held_until())
    }

    /// The look found nothing to do for now: the next is at the interval, or at the moment that was chosen if that is earlier.
    pub fn waits(&mut self, now: Duration, hint: Hint, moment: Option<Duration>) {
        self.next_look = now + moment.map_or(self.interval, |moment| moment.min(self.interval));
        self.known = hint;
    }

    /// The certificate was renewed.
    pub fn renewed(&mut self, now: Duration) {
        *self = Self::new(self.interval);
        self.next_look = now + self.interval;
        self.backoff.hold_until(self.next_look);
    }

    /// Asking again before the next interval is of no use.
    pub fn gives_up_until_the_next_look(&mut self, now: Duration) {
        self.renewed(now);
    }

    /// The renewal failed.
    pub fn failed(&mut self, now: Duration, retry_after: Option<Duration>, random: u8) {
        self.next_look = now;
        self.backoff.failed(now, retry_after, random);
    }
}

#[cfg(test)]
mod tests;

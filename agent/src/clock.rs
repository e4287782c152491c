//! The time, as something that is passed in.

use std::time::Duration;

use time::OffsetDateTime;

/// Tells the time of day; decisions take its answer and never ask by themselves.
pub trait Clock {
    /// Now, in UTC.
    fn now(&self) -> OffsetDateTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// Lets time pass. Pauses are measured by it, because the time of day can be set.
pub trait Pace {
    /// The time since some fixed start; it never runs backwards.
    fn elapsed(&self) -> Duration;

    /// Waits this long, or until the program is asked to stop; true in that case, then and at every later call.
    fn wait(&self, pause: Duration) -> bool;
}

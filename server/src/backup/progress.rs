//! What long work says of itself: a line now and then.

use std::time::{Duration, Instant};

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(2);

/// Says how far the work has come, but not too often; quick work says nothing.
pub struct Progress {
    say: Box<dyn FnMut(&str)>,
    last: Instant,
}

impl Progress {
    /// Hands lines to `say`.
    pub fn new(say: impl FnMut(&str) + 'static) -> Self {
        Self { say: Box::new(say), last: Instant::now() }
    }

    /// Says this where it is time for a line.
    pub fn at(&mut self, line: impl FnOnce() -> String) {
        if self.last.elapsed() >= PAUSE {
            self.last = Instant::now();
            (self.say)(&line());
        }
    }

    /// How often work that cannot be asked should be looked at.
    pub(crate) const fn pause() -> Duration {
        PAUSE
    }
}

/// A size for people.
pub fn readable_size(bytes: u64) -> String {
    let in_units = |shift: u32, unit: &str| {
        let tenths = ((bytes & ((1 << shift) - 1)) * 10) >> shift;
        format!("{}.{tenths} {unit}", bytes >> shift)
    };
    if bytes >= 1 << 30 { in_units(30, "GiB") } else { in_units(20, "MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(readable_size(0), "0.0 MiB");
        assert_eq!(readable_size((3 << 20) + (1 << 19)), "3.5 MiB");
        assert_eq!(readable_size((14 << 30) + (1 << 29)), "14.5 GiB");
    }
}

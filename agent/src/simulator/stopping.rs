//! The request to stop, which any thread may look at or wait for.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::signals::StopSignal;

/// The longest wait there is; a signal ends it.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Set once, by a signal or by the simulator itself.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Set by SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let signals = StopSignal::install()?;
        let shared = stop.clone();
        thread::Builder::new().name("stop".to_owned()).spawn(move || {
            if signals.wait(FOREVER) {
                shared.set();
            }
        })?;
        Ok(stop)
    }

    /// Asks everything to come to its end.
    pub fn set(&self) {
        let (flag, bell) = &*self.0;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_all();
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits this long; true as soon as it was asked.
    pub fn wait(&self, pause: Duration) -> bool {
        let (flag, bell) = &*self.0;
        let end = Instant::now() + pause;
        let mut is_set = flag.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if *is_set || left.is_zero() {
                return *is_set;
            }
            is_set = bell.wait_timeout(is_set, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_time_or_when_it_is_asked_to() {
        let stop = Stop::default();
        assert!(!stop.wait(Duration::from_millis(1)));
        let other = stop.clone();
        thread::scope(|scope| {
            scope.spawn(|| assert!(stop.wait(FOREVER)));
            other.set();
        });
        assert!(other.is_set());
    }
}

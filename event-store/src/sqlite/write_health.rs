//! When a writer last failed: what only reads cannot notice that nothing can be written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The moment of a writer's last failed write, until it has written again. All clones tell the same.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteHealth(Arc<Mutex<Option<Instant>>>);

impl WriteHealth {
    fn moment(&self) -> MutexGuard<'_, Option<Instant>> {
        // One value, replaced at once: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed(&self) {
        *self.moment() = Some(Instant::now());
    }

    pub(super) fn succeeded(&self) {
        *self.moment() = None;
    }

    /// How long ago the last write failed; none where it did not.
    pub(super) fn last_failure(&self) -> Option<Duration> {
        self.moment().map(|moment| moment.elapsed())
    }
}

//! The lock that is on while the event log is not to be relied on: it went back to an earlier state, so revocations may
//! be missing from it, and nobody has acknowledged that yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::code::ErrorCode;
use crate::http::problem::Problem;

/// On: no device is let in and nothing is granted; reading, and taking away, go on. All clones are one lock.
#[derive(Debug, Clone, Default)]
pub struct LogLock(Arc<AtomicBool>);

impl LogLock {
    /// From now on nobody is let in.
    pub fn engage(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The log is relied on again.
    pub fn release(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether it is on.
    pub fn is_engaged(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// # Errors
    /// 503 `LOG_ROLLED_BACK` while it is on.
    pub fn require_released(&self) -> Result<(), Problem> {
        if !self.is_engaged() {
            return Ok(());
        }
        Err(Problem::new(
            ErrorCode::LogRolledBack,
            "the event log went back to an earlier state and may have lost revocations, so no device is let in and \
             nothing is granted until the operator acknowledges it (`signalbeam restore acknowledge`)",
        )
        .retry_after(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_are_one_lock() {
        let lock = LogLock::default();
        let other = lock.clone();
        assert!(lock.require_released().is_ok());
        other.engage();
        assert_eq!(lock.require_released().unwrap_err().code(), ErrorCode::LogRolledBack);
        lock.release();
        assert!(other.require_released().is_ok());
    }
}

//! Certificates that our authority signed and the log does not know: a sign that the log has lost events, or that
//! somebody else signs with our authority's key.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Counts every such certificate that was presented.
pub const UNRECORDED_CERTIFICATES: &str = "signalbeam_unrecorded_certificates_total";

/// How often it is logged at most: whoever holds such a certificate may present it as often as they like.
const LOG_PAUSE: Duration = Duration::from_mins(1);

/// Notes each, and logs now and then.
///
/// It locks nobody out: whoever has stolen the authority's key could otherwise stop the whole fleet with one request.
#[derive(Debug, Default)]
pub(crate) struct Unrecorded(Mutex<Option<Instant>>);

impl Unrecorded {
    pub(crate) fn note(&self) {
        metrics::counter!(UNRECORDED_CERTIFICATES).increment(1);
        if self.is_to_be_logged(Instant::now()) {
            tracing::error!(
                "a certificate was presented that this authority signed and the event log does not know: the log may have \
                 lost events, or somebody else signs with this authority's key; {UNRECORDED_CERTIFICATES} counts them"
            );
        }
    }

    fn is_to_be_logged(&self, now: Instant) -> bool {
        // One value, replaced at once: a panic elsewhere leaves nothing half done.
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= LOG_PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute() {
        let unrecorded = Unrecorded::default();
        let start = Instant::now();
        assert!(unrecorded.is_to_be_logged(start));
        assert!(!unrecorded.is_to_be_logged(start + LOG_PAUSE / 2));
        assert!(unrecorded.is_to_be_logged(start + LOG_PAUSE));
    }
}

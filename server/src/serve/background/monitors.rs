//! The monitors that the configuration asks for, each in a task of its own: at the start, then at its interval.

use std::sync::Arc;
use std::time::Duration;

use signalbeam_projections::{ApiKeyExpiryMonitor, ApiKeyRetirementMonitor, Monitor};
use tokio::time::sleep;

use crate::config::{ApiKeyRetirement, Config};
use crate::serve::log_guard::LogGuard;
use crate::serve::parts::Parts;
use crate::supervise::{Supervised, supervise};

/// How long to wait after a round that was not completed, where the interval is not shorter.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_mins(1);
/// How long to wait before it is seen whether the event log is relied on again.
const PAUSE_WHILE_LOCKED: Duration = Duration::from_secs(1);

/// Starts them.
pub(super) fn start(parts: &Parts, config: &Config) -> Vec<Supervised> {
    let mut running = vec![];
    let check = &config.api_key_expiration_check;
    if check.enabled {
        let interval = Duration::from_hours(check.check_interval_hours.into());
        let monitor = ApiKeyExpiryMonitor::new(parts.surroundings(), interval, check.warning_threshold_days);
        running.push(run(monitor, &parts.guard));
    }
    if let ApiKeyRetirement::AfterDays(days) = config.authentication.api_key_retirement_days {
        running.push(run(ApiKeyRetirementMonitor::new(parts.surroundings(), days), &parts.guard));
    }
    running
}

fn run<M: Monitor>(monitor: M, guard: &Arc<LogGuard>) -> Supervised {
    let (monitor, guard) = (Arc::new(monitor), Arc::clone(guard));
    supervise(M::NAME, move || look_again_and_again(Arc::clone(&monitor), Arc::clone(&guard)))
}

/// Rests while the event log is not relied on: a key may seem to be in force, or a certificate, whose end was lost.
async fn look_again_and_again<M: Monitor>(monitor: Arc<M>, guard: Arc<LogGuard>) {
    loop {
        while guard.is_engaged() {
            sleep(PAUSE_WHILE_LOCKED).await;
        }
        let pause = match monitor.round().await {
            Ok(done) => {
                tracing::debug!(monitor = M::NAME, done, "a monitor has looked at everything");
                monitor.interval()
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(monitor = M::NAME, error, "a monitor could not look at everything; it looks again soon");
                monitor.interval().min(PAUSE_AFTER_FAILURE)
            }
        };
        sleep(pause).await;
    }
}

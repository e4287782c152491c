//! The monitors that the configuration asks for, each in a task of its own: at the start, then at its interval.

use std::sync::Arc;
use std::time::Duration;

use signalbeam_projections::{ApiKeyExpiryMonitor, ApiKeyRetirementMonitor, Monitor};
use tokio::time::sleep;

use crate::config::{ApiKeyRetirement, Config};
use crate::serve::parts::Parts;
use crate::supervise::{Supervised, supervise};

/// How long to wait after a round that was not completed, where the interval is not shorter.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// Starts them.
pub(super) fn start(parts: &Parts, config: &Config) -> Vec<Supervised> {
    let mut running = vec![];
    let check = &config.api_key_expiration_check;
    if check.enabled {
        let interval = Duration::from_hours(check.check_interval_hours.into());
        running.push(run(ApiKeyExpiryMonitor::new(parts.surroundings(), interval, check.warning_threshold_days)));
    }
    if let ApiKeyRetirement::AfterDays(days) = config.authentication.api_key_retirement_days {
        running.push(run(ApiKeyRetirementMonitor::new(parts.surroundings(), days)));
    }
    running
}

fn run<M: Monitor>(monitor: M) -> Supervised {
    let monitor = Arc::new(monitor);
    supervise(M::NAME, move || look_again_and_again(Arc::clone(&monitor)))
}

async fn look_again_and_again<M: Monitor>(monitor: Arc<M>) {
    loop {
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

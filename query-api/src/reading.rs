//! Reading what was written before: how long a query waits for the tables, and what is answered where they fail.

use std::time::Duration;

use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::Position;
use signalbeam_projections::{AuditError, Behind};
use tokio::sync::Semaphore;

use crate::state::QueryApi;

/// How long a query waits for the position that it names.
const NAMED_POSITION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a query that names none waits for what this node has appended.
const OWN_WRITES_TIMEOUT: Duration = Duration::from_millis(500);

impl QueryApi {
    /// Waits until the tables hold the position that the query names; where it names none, what this node has appended,
    /// though not for long: tables that are behind are better than none.
    ///
    /// # Errors
    /// 503 `PROJECTION_BEHIND` where the named position is not reached in time.
    pub(crate) async fn settle(&self, min_position: Option<u64>) -> Result<(), Problem> {
        if let Some(position) = min_position.map(Position) {
            let wait = |timeout| self.freshness.wait_for(position, timeout);
            return wait_within(&self.waits, wait).await;
        }
        if let Err(behind) = self.freshness.wait_for_own_writes(OWN_WRITES_TIMEOUT).await {
            tracing::warn!(reached = behind.reached.0, wanted = behind.wanted.0, "a query is answered from old tables");
        }
        Ok(())
    }

    /// Waits until the index of credentials holds the position that the query names.
    ///
    /// # Errors
    /// 503 `PROJECTION_BEHIND` where it does not in time.
    pub(crate) async fn settle_index(&self, min_position: Option<u64>) -> Result<(), Problem> {
        self.settle_index_within(&self.waits, min_position).await
    }

    /// The same for a query that needs no credential.
    ///
    /// # Errors
    /// 503 `PROJECTION_BEHIND` where it does not in time.
    pub(crate) async fn settle_index_for_strangers(&self, min_position: Option<u64>) -> Result<(), Problem> {
        self.settle_index_within(&self.strangers_waits, min_position).await
    }

    async fn settle_index_within(&self, waits: &Semaphore, min_position: Option<u64>) -> Result<(), Problem> {
        let Some(position) = min_position.map(Position) else { return Ok(()) };
        wait_within(waits, |timeout| self.index.wait_for(position, timeout)).await
    }
}

/// Waits for a position, where it is not there already and not too many wait.
async fn wait_within<F>(waits: &Semaphore, wait: impl Fn(Duration) -> F) -> Result<(), Problem>
where
    F: Future<Output = Result<(), Behind>>,
{
    let Err(behind) = wait(Duration::ZERO).await else { return Ok(()) };
    let Ok(_permit) = waits.try_acquire() else { return Err(projection_behind(&behind)) };
    wait(NAMED_POSITION_TIMEOUT).await.map_err(|behind| projection_behind(&behind))
}

fn projection_behind(behind: &Behind) -> Problem {
    let detail = format!("the read model is at position {}, not yet at {}; try again", behind.reached, behind.wanted);
    Problem::new(ErrorCode::ProjectionBehind, detail)
}

/// The tables or the log did not answer.
pub(crate) fn store_unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a query could not be answered");
    Problem::new(ErrorCode::StoreUnavailable, "the data cannot be read right now; try again")
}

/// The authentication log did not answer.
pub(crate) fn audit_unavailable(error: &AuditError) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "the authentication log could not be read");
    Problem::new(ErrorCode::AuditUnavailable, "the authentication log cannot be read right now; try again")
}

//! Monitors: each looks at the tables again and again, does what is due by now, and records it, so that it is done once
//! however often and wherever it looks.

mod api_key_expiry;
mod api_key_retirement;

use std::sync::Arc;
use std::time::Duration;

use signalbeam_domain::{Actor, CorrelationId};
use signalbeam_event_store::{AppendError, Clock, CommandMetadata, EventStore, LoadError, StoreError};
use uuid::Uuid;

pub use self::api_key_expiry::ApiKeyExpiryMonitor;
pub use self::api_key_retirement::ApiKeyRetirementMonitor;
use crate::columns::ReadError;
use crate::freshness::Freshness;
use crate::progress::Behind;
use crate::read_model::ReadModel;

/// How long a round waits for the tables to hold what the log held when it began.
const TABLES_TIMEOUT: Duration = Duration::from_secs(30);
/// How many rows are looked at in one go.
const PAGE: usize = 500;

/// Something that is looked at when the server starts and then at an interval.
pub trait Monitor: Send + Sync + 'static {
    /// As logs, metrics and the recorded events' actor name it.
    const NAME: &'static str;

    /// How long to wait after a round before the next.
    fn interval(&self) -> Duration;

    /// Looks once, and does what is due; returns how much was. What fails for one device keeps none of the others waiting.
    ///
    /// # Errors
    /// [`MonitorError`]: not everything was looked at; the next round does what is left.
    fn round(&self) -> impl Future<Output = Result<usize, MonitorError>> + Send;
}

/// What a monitor works with.
#[derive(Clone)]
pub struct Surroundings {
    /// The event log, to which it appends.
    pub store: Arc<dyn EventStore>,
    /// The tables that it looks at.
    pub read_model: ReadModel,
    /// Knows how far they have come.
    pub freshness: Freshness,
    /// Tells the time that decisions are taken by.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// Why a round was not completed.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The tables are behind the log: what they do not show yet would be missed.
    #[error("the tables are behind the log")]
    Behind(#[from] Behind),
    /// The tables do not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A stream cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What was done could not be recorded, so it was not done.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<StoreError> for MonitorError {
    fn from(error: StoreError) -> Self {
        Self::Load(error.into())
    }
}

impl Surroundings {
    /// Waits until the tables hold what the log holds at this moment.
    async fn settle(&self) -> Result<(), MonitorError> {
        let head = self.store.head().await?;
        Ok(self.freshness.wait_for(head, TABLES_TIMEOUT).await?)
    }
}

/// What is recorded of whoever caused a monitor's events.
fn metadata(monitor: &str) -> CommandMetadata {
    CommandMetadata {
        actor: Actor::system(monitor),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    }
}

/// Counts what was done in a round, and keeps the last failure until its end.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failure: Option<MonitorError>,
}

impl Tally {
    fn add(&mut self, outcome: Result<bool, MonitorError>) {
        match outcome {
            Ok(is_done) => self.done += usize::from(is_done),
            Err(error) => self.failure = Some(error),
        }
    }

    fn conclude(self) -> Result<usize, MonitorError> {
        self.failure.map_or(Ok(self.done), Err)
    }
}

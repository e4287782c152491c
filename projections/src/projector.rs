//! The runner of the projection `directory`: follows the log and brings the tables up to it.

use std::sync::Arc;
use std::time::Duration;

use signalbeam_domain::Position;
use signalbeam_event_store::{Clock, EventReader, Filter, Recorded, StoreError, SubscriptionItem};
use tokio::task::JoinHandle;

use crate::checkpoint::Checkpoint;
use crate::columns::ReadError;
use crate::directory::Changes;
use crate::progress::{Behind, Progress, ProjectionFailure};
use crate::tables::{Tables, result_code};

/// The most events of one transaction: many, since pages are then written once and not over and over, but not so many
/// that they hold the writer or the memory for long.
const PAGE_EVENTS: usize = 4_096;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Keeps the tables up to the log, in a task of its own that ends when this is dropped.
///
/// A log or a database that fails is tried again until it heals. An event that cannot be applied stops the projector for
/// good: [`Projector::failure`] says why.
#[derive(Debug)]
pub struct Projector {
    followed: Arc<Followed>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Followed {
    tables: Tables,
    progress: Progress,
}

/// How far a projection is behind the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// How many positions lie between the projection and the head of the log: as many events, where positions are dense.
    pub events: u64,
    /// How long ago the oldest event that is missing was recorded, in seconds; 0 where none is.
    pub seconds: f64,
}

/// Why applying a batch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Somebody else moved the checkpoint: start over from where it stands.
    #[error("another runner moved the checkpoint")]
    Overtaken,
    /// An event cannot be applied.
    #[error(transparent)]
    Failure(#[from] ProjectionFailure),
    /// The tables do not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

impl Projector {
    /// Starts following the log, from the tables' checkpoint.
    pub fn start(reader: Arc<dyn EventReader>, tables: Tables) -> Self {
        let followed = Arc::new(Followed { tables, progress: Progress::default() });
        let task = tokio::spawn(follow(reader, followed.clone()));
        Self { followed, task }
    }

    /// The tables that it keeps.
    pub fn tables(&self) -> &Tables {
        &self.followed.tables
    }

    /// How far the tables have come.
    pub fn position(&self) -> Position {
        self.followed.progress.position()
    }

    /// Why it stopped, where it has.
    pub fn failure(&self) -> Option<ProjectionFailure> {
        self.followed.progress.failure()
    }

    /// Waits until the tables have come to a position.
    ///
    /// # Errors
    /// [`Behind`] where they have not by then, or the projector has stopped before it.
    pub async fn wait_for(&self, position: Position, timeout: Duration) -> Result<(), Behind> {
        self.followed.progress.wait_for(position, timeout).await
    }

    /// How far the tables are behind the log right now.
    ///
    /// # Errors
    /// [`StoreError`] where the log does not answer.
    pub async fn lag(&self, reader: &dyn EventReader, clock: &dyn Clock) -> Result<Lag, StoreError> {
        let reached = self.position();
        let head = reader.head().await?;
        let missing = reader.read_all(reached, 1, &Filter::default()).await?.events;
        let seconds = missing
            .first()
            .map_or(0.0, |oldest| clock.now().days_since(oldest.envelope.recorded_at).max(0.0) * 86_400.0);
        Ok(Lag { events: head.0.saturating_sub(reached.0), seconds })
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why following the log ended.
enum Ended {
    /// The log was closed.
    Closed,
    /// The tables have to be asked again where they stand.
    StartOver(ApplyError),
    /// For good.
    Failed(ProjectionFailure),
}

impl From<ApplyError> for Ended {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Failure(failure) => Self::Failed(failure),
            error => Self::StartOver(error),
        }
    }
}

async fn follow(reader: Arc<dyn EventReader>, followed: Arc<Followed>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let before = followed.progress.position();
        match follow_from_checkpoint(reader.as_ref(), &followed).await {
            Ended::Closed => return,
            Ended::StartOver(ApplyError::Overtaken) => tracing::debug!("another runner keeps the projections too"),
            Ended::StartOver(error) => {
                pause = if followed.progress.position() > before { FIRST_PAUSE } else { pause };
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    ?pause,
                    "the projections cannot follow the log"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Ended::Failed(failure) => {
                tracing::error!(error = &failure as &dyn std::error::Error, "the projections have stopped");
                followed.progress.fail(failure);
                return;
            }
        }
    }
}

async fn follow_from_checkpoint(reader: &dyn EventReader, followed: &Followed) -> Ended {
    let reach = |checkpoint: Checkpoint| followed.progress.reach(checkpoint.position);
    let mut checkpoint = match followed.tables.checkpoint().await {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Ended::StartOver(error.into()),
    };
    reach(checkpoint);
    checkpoint = match catch_up(reader, &followed.tables, checkpoint, |checkpoint, _| reach(checkpoint)).await {
        Ok(checkpoint) => checkpoint,
        Err(error) => return error.into(),
    };
    let mut items = reader.subscribe(checkpoint.position);
    let mut is_failing = false;
    while let Some(item) = items.next().await {
        if let SubscriptionItem::Failed(error) = &item
            && !is_failing
        {
            tracing::warn!(error = error as &dyn std::error::Error, "cannot read the event log");
        }
        is_failing = matches!(item, SubscriptionItem::Failed(_));
        match item {
            SubscriptionItem::Events(events) => {
                checkpoint = match apply(&followed.tables, checkpoint, &events).await {
                    Ok(checkpoint) => checkpoint,
                    Err(error) => return error.into(),
                };
                reach(checkpoint);
            }
            SubscriptionItem::CaughtUp(position) => followed.progress.reach(position),
            SubscriptionItem::Failed(_) => {}
        }
    }
    Ended::Closed
}

/// Applies everything from a checkpoint up to the end of the log, a page while the next one is read. `reached` is told of
/// every checkpoint and how many events it is behind the one before.
pub(crate) async fn catch_up(
    reader: &dyn EventReader,
    tables: &Tables,
    mut checkpoint: Checkpoint,
    mut reached: impl FnMut(Checkpoint, usize),
) -> Result<Checkpoint, ApplyError> {
    let everything = Filter::default();
    let mut page = reader.read_all(checkpoint.position, PAGE_EVENTS, &everything).await?.events;
    while let Some(last) = page.last() {
        let next = reader.read_all(last.envelope.position, PAGE_EVENTS, &everything);
        let (applied, next) = tokio::join!(apply(tables, checkpoint, &page), next);
        checkpoint = applied?;
        reached(checkpoint, page.len());
        page = next?.events;
    }
    Ok(checkpoint)
}

/// Writes the rows of a batch and moves the checkpoint, both or neither.
pub(crate) async fn apply(tables: &Tables, from: Checkpoint, batch: &[Recorded]) -> Result<Checkpoint, ApplyError> {
    let Some(last) = batch.last() else { return Ok(from) };
    let changes = Changes::of(batch)?;
    let next = Checkpoint::behind(last);
    let mut transaction = tables.begin_write().await?;
    if !from.advance(next, &mut transaction).await? {
        return Err(ApplyError::Overtaken);
    }
    changes.write(&mut transaction).await.map_err(|error| refused(error, next.position))?;
    transaction.commit().await?;
    Ok(next)
}

/// A broken constraint will be broken the next time too; everything else may heal.
fn refused(error: sqlx::Error, position: Position) -> ApplyError {
    const SQLITE_CONSTRAINT: u32 = 19;
    if result_code(&error) == Some(SQLITE_CONSTRAINT) {
        ProjectionFailure::Contradiction { position, source: Arc::new(error) }.into()
    } else {
        error.into()
    }
}

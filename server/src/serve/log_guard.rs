//! Watches that the event log only ever goes forward: notices at the start where it went back, keeps everybody out until
//! that is acknowledged, and remembers how far the log has come.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signalbeam_authn::log_lock::LogLock;
use signalbeam_domain::event_log::{EventLog, EventLogCommand, RollbackCause};
use signalbeam_domain::{CorrelationId, EventId, Position, StreamId};
use signalbeam_event_store::witness::{event_at, newest};
use signalbeam_event_store::{Clock, CommandMetadata, EventReader, LogPoint, StoreError, execute};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::StartError;
use crate::config::Config;
use crate::config::surroundings::folder_of;
use crate::metrics::LOG_ROLLED_BACK;
use crate::rollback::acknowledgement::{self, Acknowledgement};
use crate::rollback::witness::{WITNESS_FILE, Witness};
use crate::rollback::{Rollback, detect, evidence};

/// How long the witness may be behind the log.
const WITNESS_PAUSE: Duration = Duration::from_millis(250);
/// How often a failed write of a witness is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How often an acknowledgement is looked for.
const ACKNOWLEDGEMENT_PAUSE: Duration = Duration::from_millis(250);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What was found at the start, before anything was changed that could tell of it.
pub(super) struct Finding {
    data_dir: PathBuf,
    witness_files: Vec<PathBuf>,
    rollback: Option<Rollback>,
}

impl Finding {
    /// Holds the log against all that has seen it. What is found is kept in the data directory: the next start may not find
    /// it again, since the derived tables are rebuilt.
    ///
    /// # Errors
    /// [`StartError`] where the log does not answer, or the second witness's folder is not there.
    pub(super) async fn look(
        data_dir: &Path,
        config: &Config,
        log: &dyn EventReader,
        clock: &dyn Clock,
    ) -> Result<Self, StartError> {
        let witness_files = witness_files(data_dir, config.store.witness_file.as_deref())?;
        let mut rollback = Rollback::read(data_dir)?;
        if rollback.is_none() {
            let seen = evidence(data_dir, &witness_files).await;
            rollback = detect(&seen, log, clock.now()).await?;
            if let Some(found) = &rollback {
                found.write(data_dir)?;
            }
            warn_of_missing(&witness_files, log).await?;
        }
        Ok(Self { data_dir: data_dir.to_owned(), witness_files, rollback })
    }

    /// Begins to guard; everybody is kept out from here on where the log went back.
    pub(super) fn into_guard(self, lock: LogLock) -> LogGuard {
        let Self { data_dir, witness_files, rollback } = self;
        let guard = LogGuard { data_dir, witness_files, lock, rollback: Mutex::default(), seen: Mutex::default() };
        if let Some(rollback) = rollback {
            guard.keep_out_at_start(rollback);
        }
        guard
    }
}

/// The data directory's own witness, and the second one where it is configured.
fn witness_files(data_dir: &Path, second: Option<&Path>) -> Result<Vec<PathBuf>, StartError> {
    let mut files = vec![data_dir.join(WITNESS_FILE)];
    if let Some(second) = second {
        let folder = folder_of(second);
        if !folder.is_dir() {
            // A volume that is not mounted: without it nobody could tell whether the whole directory was put back.
            let reason = format!("the folder {} does not exist; is its volume mounted?", folder.display());
            return Err(StartError::Setting { key: "store.witness_file", reason });
        }
        files.push(second.to_owned());
    }
    Ok(files)
}

async fn warn_of_missing(witness_files: &[PathBuf], log: &dyn EventReader) -> Result<(), StoreError> {
    if log.head().await? == Position(0) {
        return Ok(());
    }
    for path in witness_files.iter().filter(|path| !path.exists()) {
        tracing::warn!(path = %path.display(), "a witness of the event log is missing; it is made anew");
    }
    Ok(())
}

/// Guards the log of a running server.
pub(super) struct LogGuard {
    data_dir: PathBuf,
    witness_files: Vec<PathBuf>,
    lock: LogLock,
    rollback: Mutex<Option<Rollback>>,
    /// The newest event that the witness files tell of.
    seen: Mutex<Option<LogPoint>>,
}

fn value<T: Clone>(mutex: &Mutex<T>) -> T {
    // Values are replaced at once: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set<T>(mutex: &Mutex<T>, value: T) {
    *mutex.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

impl LogGuard {
    /// What nobody has acknowledged yet.
    pub(super) fn rollback(&self) -> Option<Rollback> {
        value(&self.rollback)
    }

    /// Whether the log is not relied on. Monitors, sealer and retention rest then: they would judge by a history that may
    /// be missing its end.
    pub(super) fn is_engaged(&self) -> bool {
        self.lock.is_engaged()
    }

    /// What was acknowledged while no server ran is about to end: that is no alarm.
    fn keep_out_at_start(&self, rollback: Rollback) {
        let Ok(Some(said)) = Acknowledgement::read(&self.data_dir, &rollback) else { return self.keep_out(rollback) };
        let operator = said.operator;
        tracing::info!(operator, "{}: that was acknowledged, and is recorded now", rollback.describe());
        self.engage(rollback);
    }

    fn engage(&self, rollback: Rollback) {
        self.lock.engage();
        metrics::gauge!(LOG_ROLLED_BACK).set(1.0);
        set(&self.rollback, Some(rollback));
    }

    fn keep_out(&self, rollback: Rollback) {
        tracing::error!(
            cause = rollback.cause.as_str(),
            "{}: revocations may be lost, so no device is let in and nothing is issued; look into it, then run `{}`",
            rollback.describe(),
            rollback.command(&self.data_dir),
        );
        self.engage(rollback);
    }

    /// Follows the log until it is closed: writes the witnesses soon after each commit, and takes up acknowledgements.
    pub(super) async fn follow(&self, log: &Log, mut committed: watch::Receiver<Position>, clock: &dyn Clock) {
        let mut is_failing = false;
        loop {
            committed.borrow_and_update();
            let (done, pause) = match self.rollback() {
                Some(rollback) => (self.take_up_acknowledgement(&rollback, log, clock).await, ACKNOWLEDGEMENT_PAUSE),
                None => (self.bear_witness(log, clock).await, WITNESS_PAUSE),
            };
            if let Err(error) = &done
                && !is_failing
            {
                let error = &**error as &dyn std::error::Error;
                if self.lock.is_engaged() {
                    tracing::error!(error, "the acknowledgement of the rollback cannot be taken up; trying again");
                } else {
                    tracing::error!(error, "the witness of the event log cannot be kept");
                }
            }
            is_failing = done.is_err();
            sleep(if is_failing { RETRY_PAUSE } else { pause }).await;
            if self.lock.is_engaged() || is_failing {
                continue;
            }
            if committed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writes down the newest event. Whoever reads it sees only what is durable.
    ///
    /// # Errors
    /// Where the log cannot be read or a file not be written; the other files are written all the same.
    pub(super) async fn bear_witness(&self, log: &Log, clock: &dyn Clock) -> Result<(), BoxError> {
        if self.lock.is_engaged() {
            return Ok(());
        }
        let Some(recorded) = newest(log).await? else { return Ok(()) };
        let witness = Witness::of(&recorded);
        let before = value(&self.seen);
        if before == Some(witness.point) {
            return Ok(());
        }
        if let Some(before) = before.filter(|before| before.position >= witness.point.position) {
            let cause = RollbackCause::Behind;
            let name = "this server".to_owned();
            let rollback = Rollback::new(cause, name, Some(before), witness.point.position, clock.now());
            rollback.write(&self.data_dir)?;
            self.keep_out(rollback);
            return Ok(());
        }
        self.write(witness.clone()).await?;
        set(&self.seen, Some(witness.point));
        Ok(())
    }

    async fn write(&self, witness: Witness) -> Result<(), BoxError> {
        let files = self.witness_files.clone();
        let written = tokio::task::spawn_blocking(move || {
            let outcomes: Vec<_> = files.iter().map(|path| witness.write(path)).collect();
            outcomes.into_iter().collect::<Result<Vec<()>, _>>()
        });
        written.await??;
        Ok(())
    }

    /// Where the operator has acknowledged it: records that in the log, lets the witnesses start anew from there, and
    /// then lets devices in. After a crash in between, the next start does it again.
    async fn take_up_acknowledgement(&self, rollback: &Rollback, log: &Log, clock: &dyn Clock) -> Result<(), BoxError> {
        let Some(said) = Acknowledgement::read(&self.data_dir, rollback)? else { return Ok(()) };
        let first = event_at(log, Position(1)).await?;
        let first = first.map_or(EventId::from_uuid(Uuid::nil()), |first| first.envelope.event_id);
        let metadata = CommandMetadata {
            actor: said.actor(),
            correlation_id: CorrelationId::from_uuid(*rollback.id.as_uuid()),
            causation_id: None,
            idempotency: None,
        };
        let acknowledge = || EventLogCommand::AcknowledgeRollback(said.event(rollback));
        let stream = StreamId::event_log(first);
        execute::<EventLog>(log, &stream, None, &metadata, clock.now(), acknowledge).await?;
        if let Some(recorded) = newest(log).await? {
            let witness = Witness::of(&recorded);
            self.write(witness.clone()).await?;
            set(&self.seen, Some(witness.point));
        }
        acknowledgement::clear(&self.data_dir)?;
        set(&self.rollback, None);
        metrics::gauge!(LOG_ROLLED_BACK).set(0.0);
        self.lock.release();
        tracing::warn!(
            operator = said.operator,
            "the rollback was acknowledged ({}); devices are let in",
            rollback.describe()
        );
        Ok(())
    }
}

/// The log as this server writes it.
pub(super) type Log = super::measured_store::MeasuredStore<signalbeam_event_store::SqliteEventStore>;

/// The last witness of an orderly end; a slow disk does not hold the end up for long.
pub(super) async fn bear_last_witness(guard: &LogGuard, log: &Log, clock: &dyn Clock) {
    const PATIENCE: Duration = Duration::from_secs(2);
    match timeout(PATIENCE, guard.bear_witness(log, clock)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = &*error as &dyn std::error::Error, "the witness of the event log is behind");
        }
        Err(_) => tracing::warn!("the witness of the event log is behind: writing it took too long"),
    }
}

/// Runs beside the server; see [`LogGuard::follow`].
pub(super) async fn keep(guard: Arc<LogGuard>, log: Arc<Log>, clock: Arc<dyn Clock>) {
    let committed = log.committed();
    guard.follow(&log, committed, &*clock).await;
}

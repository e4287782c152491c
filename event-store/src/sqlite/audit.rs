//! The audit log in a file of its own, so that a million heartbeats never stand in the way of an append.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signalbeam_domain::Timestamp;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use crate::audit::ocsp_answers::{OcspAnswerLog, OcspAnswerRow};
use crate::audit::{
    AttemptFilter, AttemptPage, AttemptScan, AuditArchive, AuditDurability, AuditError, AuditLog, AuditReader,
    AuthenticationAttempt, UsageSummary,
};
use crate::sqlite::copy;
use crate::sqlite::database::{self, Database, Kind, OpenError};
use crate::sqlite::write_health::WriteHealth;

mod ocsp_answers;
mod query;
mod row;
mod trim;
mod usage;
mod writer;

use writer::Request;

/// How many requests' attempts may wait; whoever comes then waits for a place.
const QUEUE: usize = 4_096;

/// What was tried where a read fails.
const READ: &str = "read the audit log";

static KIND: Kind = Kind {
    what: "an audit log of SignalBeam",
    application_id: i32::from_be_bytes(*b"SBau"),
    migrator: &sqlx::migrate!("../migrations/sqlite/audit"),
};

/// The audit log in a file: the table `device_authentication_logs`, written in groups by one task.
///
/// Dropping it ends the writer once what waits is written; [`close`](Self::close) also waits for that.
pub struct SqliteAuditLog {
    requests: mpsc::Sender<Request>,
    reader: SqliteAuditReader,
    durability: AuditDurability,
    /// Set by the writer while it cannot write: then nothing is answered before it is on disk.
    is_failing: Arc<AtomicBool>,
    health: WriteHealth,
}

/// The audit log in a file, for reading only: also beside a running server, in another process.
pub struct SqliteAuditReader {
    pool: SqlitePool,
}

impl SqliteAuditReader {
    /// Opens an existing log for reading.
    ///
    /// # Errors
    /// [`OpenError`] where the file does not exist or is something else.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        database::recognise(path.as_ref(), &KIND).await?;
        Ok(Self { pool: database::readers(path.as_ref()) })
    }

    /// Opens an existing log for reading, and leaves no file beside it where nobody writes to it at the moment.
    ///
    /// # Errors
    /// [`OpenError`] where the file does not exist or is something else.
    pub async fn open_at_rest(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let options = copy::reading(path.as_ref());
        database::recognise_by(path.as_ref(), &KIND, &options).await?;
        Ok(Self { pool: database::readers_by(options) })
    }

    /// Closes the connections. Reads that come later fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The log was closed, or its runtime is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the audit log is closed")]
struct Closed;

impl SqliteAuditLog {
    /// Opens the log for writing; creates it, readable by its owner alone, where it does not exist. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] says whether the file is in use, something else, newer, or out of reach.
    pub async fn open(path: impl AsRef<Path>, durability: AuditDurability) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let database = Database::open(path, &KIND).await?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let is_failing = Arc::new(AtomicBool::new(false));
        let health = WriteHealth::default();
        writer::start(database, queue, Arc::clone(&is_failing), health.clone())
            .await
            .map_err(|error| database::database_error(path, error))?;
        Ok(Self {
            requests,
            reader: SqliteAuditReader { pool: database::readers(path) },
            durability,
            is_failing,
            health,
        })
    }

    /// How long ago the last attempt to write failed; none where something has been written since, or nothing failed.
    pub fn last_write_failure(&self) -> Option<Duration> {
        self.health.last_failure()
    }

    /// Writes what waits, then ends the writer and lets go of the file. Attempts that come later are refused.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.requests.send(Request::Close(closed)).await.is_ok() {
            // An error says that the writer has ended already.
            let _ = done.await;
        }
        self.reader.close().await;
    }

    /// Drops what was recorded of OCSP answers before a moment, in steps that keep no writer waiting.
    ///
    /// # Errors
    /// [`AuditError`]; what is left is dropped by the next call.
    pub async fn drop_answers_before(&self, moment: Timestamp) -> Result<(), AuditError> {
        let closed = || AuditError { context: "drop old OCSP answers", source: Arc::new(Closed) };
        loop {
            let (answer, outcome) = oneshot::channel();
            self.requests.send(Request::DropOcspAnswers { before: moment, answer }).await.map_err(|_| closed())?;
            if !outcome.await.map_err(|_| closed())?? {
                return Ok(());
            }
        }
    }

    fn may_be_queued(&self, attempts: &[AuthenticationAttempt]) -> bool {
        self.durability == AuditDurability::Relaxed
            && !self.is_failing.load(Ordering::Relaxed)
            && attempts.iter().all(|attempt| attempt.success)
    }
}

#[async_trait]
impl AuditLog for SqliteAuditLog {
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        let closed = || AuditError { context: "record an attempt", source: Arc::new(Closed) };
        if attempts.is_empty() {
            return Ok(());
        }
        if self.may_be_queued(&attempts) {
            return self.requests.send(Request::Queue(attempts)).await.map_err(|_| closed());
        }
        let (answer, outcome) = oneshot::channel();
        self.requests.send(Request::Write { attempts, answer }).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError> {
        query::page(&self.reader.pool, filter, after, limit).await.map_err(AuditError::because(READ))
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        usage::after(&self.reader.pool, row, limit).await.map_err(AuditError::because("count the audit log's rows"))
    }
}

#[async_trait]
impl OcspAnswerLog for SqliteAuditLog {
    async fn record_answers(&self, rows: Vec<OcspAnswerRow>) -> Result<(), AuditError> {
        let closed = || AuditError { context: "record OCSP answers", source: Arc::new(Closed) };
        let (answer, outcome) = oneshot::channel();
        self.requests.send(Request::OcspAnswers { rows, answer }).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl AuditReader for SqliteAuditReader {
    async fn head(&self) -> Result<i64, AuditError> {
        query::head(&self.pool).await.map_err(AuditError::because(READ))
    }

    async fn scan(
        &self,
        filter: &AttemptFilter,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Result<AttemptScan, AuditError> {
        query::scan(&self.pool, filter, after, through, limit).await.map_err(AuditError::because(READ))
    }
}

#[async_trait]
impl AuditReader for SqliteAuditLog {
    async fn head(&self) -> Result<i64, AuditError> {
        self.reader.head().await
    }

    async fn scan(
        &self,
        filter: &AttemptFilter,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Result<AttemptScan, AuditError> {
        self.reader.scan(filter, after, through, limit).await
    }
}

#[async_trait]
impl AuditArchive for SqliteAuditLog {
    async fn earliest_behind(&self, after: i64) -> Result<Option<Timestamp>, AuditError> {
        query::earliest_behind(&self.reader.pool, after).await.map_err(AuditError::because(READ))
    }

    async fn last_row_before(&self, after: i64, moment: Timestamp) -> Result<Option<i64>, AuditError> {
        query::last_row_before(&self.reader.pool, after, moment).await.map_err(AuditError::because(READ))
    }

    async fn drop_through(&self, row: i64) -> Result<(), AuditError> {
        let closed = || AuditError { context: "drop old rows", source: Arc::new(Closed) };
        loop {
            // One step, then whoever waits in the queue.
            let (answer, outcome) = oneshot::channel();
            self.requests.send(Request::Drop { through: row, answer }).await.map_err(|_| closed())?;
            if !outcome.await.map_err(|_| closed())?? {
                return Ok(());
            }
        }
    }
}

//! The audit log in a file of its own, so that a million heartbeats never stand in the way of an append.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use crate::audit::{
    AttemptFilter, AttemptPage, AuditDurability, AuditError, AuditLog, AuthenticationAttempt, UsageSummary,
};
use crate::sqlite::database::{self, Database, Kind, OpenError};
use crate::sqlite::write_health::WriteHealth;

mod query;
mod row;
mod usage;
mod writer;

use writer::Request;

/// How many requests' attempts may wait; whoever comes then waits for a place.
const QUEUE: usize = 4_096;

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
    readers: SqlitePool,
    durability: AuditDurability,
    /// Set by the writer while it cannot write: then nothing is answered before it is on disk.
    is_failing: Arc<AtomicBool>,
    health: WriteHealth,
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
        Ok(Self { requests, readers: database::readers(path), durability, is_failing, health })
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
        self.readers.close().await;
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
        query::page(&self.readers, filter, after, limit).await.map_err(AuditError::because("read the audit log"))
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        usage::after(&self.readers, row, limit).await.map_err(AuditError::because("count the audit log's rows"))
    }
}

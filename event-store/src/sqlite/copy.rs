//! Copies of the files, made beside a running writer, and looking into a copy without changing its folder.
//!
//! A copy is made by `VACUUM INTO` on a connection that only reads: one snapshot of the write-ahead log, which the writer
//! goes on extending meanwhile. The engine's backup interface would begin anew whenever another process writes, so beside
//! a busy server it ends late or never. What a long copy costs is that the write-ahead log grows until it is done.

use std::path::{Path, PathBuf};

use signalbeam_domain::Position;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::port::{EventReader, Filter, Recorded, StoreError};
use crate::sqlite::SqliteEventReader;
use crate::sqlite::database::{OpenError, database_error};

/// How many events are read in one go.
const PAGE: usize = 4_096;

/// The end of an authentication log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditTail {
    /// The number of its last row.
    pub row: i64,
    /// When that attempt was made, as the row tells it.
    pub timestamp: String,
}

/// Why an event log is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum LogCheckError {
    /// It cannot be read, or an event is not what its hash was taken of.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Positions must follow each other without a gap.
    #[error("position {} is missing", .0.0)]
    Gap(Position),
}

/// How to open a database of ours for reading alone. One that nobody writes to is opened without any other file beside it, so
/// that nothing is left there.
pub fn reading(path: &Path) -> SqliteConnectOptions {
    let wal = beside(path, "-wal");
    let is_at_rest = std::fs::metadata(wal).map_or(true, |wal| wal.len() == 0);
    SqliteConnectOptions::new().filename(path).read_only(true).immutable(is_at_rest).disable_statement_logging()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes a consistent copy of a database of ours into a new file, also while another process writes to it.
///
/// # Errors
/// [`OpenError`]; the new file may be there half done.
pub async fn copy_database(from: &Path, to: &Path) -> Result<(), OpenError> {
    let failed = |source| database_error(from, source);
    // Not at rest, even where it looks so: a writer may begin at any time.
    let options = SqliteConnectOptions::new().filename(from).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    let target = to.to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO ?").bind(target).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// The last row of the authentication log in a file; `None` where it is empty. Checks the file's structure first where
/// `thorough`.
///
/// # Errors
/// [`OpenError`] where the file is none, or damaged.
pub async fn audit_tail(path: &Path, thorough: bool) -> Result<Option<AuditTail>, OpenError> {
    let failed = |source| database_error(path, source);
    let mut connection = reading(path).connect().await.map_err(failed)?;
    if thorough {
        quick_check(&mut connection).await.map_err(failed)?;
    }
    let tail: Option<(i64, String)> =
        sqlx::query_as("SELECT row, timestamp FROM device_authentication_logs ORDER BY row DESC LIMIT 1")
            .fetch_optional(&mut connection)
            .await
            .map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(tail.map(|(row, timestamp)| AuditTail { row, timestamp }))
}

async fn quick_check(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    if verdict == "ok" { Ok(()) } else { Err(sqlx::Error::Protocol(format!("the database is damaged: {verdict}"))) }
}

/// Reads every event behind `after` up to `through`, which recomputes its hash, and returns the last one. `progress` hears
/// how far it has come.
///
/// # Errors
/// [`LogCheckError`] at the first event that is missing or damaged.
pub async fn check_events(
    log: &SqliteEventReader,
    after: Position,
    through: Position,
    mut progress: impl FnMut(Position),
) -> Result<Option<Recorded>, LogCheckError> {
    let mut last = None;
    let mut reached = after;
    while reached < through {
        let wanted = usize::try_from(through.0 - reached.0).map_or(PAGE, |missing| missing.min(PAGE));
        let page = log.read_all(reached, wanted, &Filter::default()).await?;
        let before = reached;
        for recorded in page.events {
            let expected = Position(reached.0 + 1);
            if recorded.envelope.position != expected {
                return Err(LogCheckError::Gap(expected));
            }
            reached = expected;
            last = Some(recorded);
        }
        if reached == before {
            return Err(LogCheckError::Gap(Position(reached.0 + 1)));
        }
        progress(reached);
    }
    Ok(last)
}

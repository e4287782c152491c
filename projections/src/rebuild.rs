//! Rebuilding a projection from the log: beside the live tables, which go on living, then all at once in their place.
//!
//! Works beside a running server, from the same process or another one. Readers see the old rows until the new ones are
//! committed; the server's projector notices that its checkpoint was moved and goes on from there.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use signalbeam_domain::Position;
use signalbeam_event_store::{EventReader, StoreError};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::checkpoint::{Checkpoint, DIRECTORY};
use crate::columns::ReadError;
use crate::progress::ProjectionFailure;
use crate::projector::{ApplyError, catch_up};
use crate::tables::{OpenError, Tables, beside, remove};

/// Every table, with the order of its rows; where that is the rowid, it tells which came first.
const TABLES: [(&str, &str); 7] = [
    ("devices", "device_id"),
    ("device_tags", "device_id, tag"),
    ("device_api_keys", "rowid"),
    ("device_registration_tokens", "id"),
    ("device_certificates", "rowid"),
    ("service_certificates", "serial_number"),
    ("admin_token_revocations", "id"),
];

const MOVE_CHECKPOINT: &str = "
UPDATE main.checkpoints AS live SET (position, event_id, recorded_at) = (fresh.position, fresh.event_id, fresh.recorded_at)
FROM fresh.checkpoints AS fresh WHERE fresh.projection = live.projection AND live.projection = 'directory'";

/// The log knows the first use of a key; the last one is counted from the authentication log.
const RESTORE_LAST_USES: &str = "
UPDATE main.device_api_keys AS keys SET last_used_at = usage.last_used_at
FROM main.credential_usage AS usage
WHERE usage.device_id = keys.device_id AND usage.method = 'ApiKey' AND usage.credential = keys.key_prefix
    AND usage.last_used_at > coalesce(keys.last_used_at, '')";

/// What was rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The position up to which the tables were made anew.
    pub position: Position,
    /// Of how many events.
    pub events: usize,
}

/// Why a projection could not be rebuilt. The live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no projection of that name.
    #[error("there is no projection {name:?}; there is {DIRECTORY:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Somebody else is rebuilding it.
    #[error("the projection is being rebuilt already")]
    Running,
    /// A file beside the tables could not be made.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The new tables could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event cannot be applied.
    #[error(transparent)]
    Failure(#[from] ProjectionFailure),
    /// The tables do not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

impl From<ApplyError> for RebuildError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Overtaken => Self::Running,
            ApplyError::Failure(failure) => failure.into(),
            ApplyError::Read(error) => error.into(),
            ApplyError::Store(error) => error.into(),
        }
    }
}

/// Makes the tables of a projection anew from the whole log and puts them in the place of the live ones. `progress` is told
/// how far the new tables have come.
///
/// # Errors
/// [`RebuildError`]; the live tables are as they were then.
pub async fn rebuild(
    name: &str,
    tables: &Tables,
    reader: &dyn EventReader,
    mut progress: impl FnMut(Position),
) -> Result<Rebuilt, RebuildError> {
    if name != DIRECTORY {
        return Err(RebuildError::Unknown { name: name.to_owned() });
    }
    let path = beside(tables.path(), ".rebuild");
    let _lock = lock(&beside(&path, ".lock"))?;
    let fresh = Tables::create_anew(&path).await?;
    let mut checkpoint = Checkpoint::default();
    let mut rebuilt = Rebuilt { position: Position(0), events: 0 };
    loop {
        let reached = |reached: Checkpoint, events| {
            rebuilt = Rebuilt { position: reached.position, events: rebuilt.events + events };
            progress(reached.position);
        };
        checkpoint = catch_up(reader, &fresh, checkpoint, reached).await?;
        if swap(tables, &path, checkpoint).await? {
            break;
        }
    }
    fresh.close().await;
    remove(&path)?;
    Ok(rebuilt)
}

/// Held until the file is closed, also by a crash.
fn lock(path: &Path) -> Result<File, RebuildError> {
    let failed = |source| RebuildError::File { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RebuildError::Running),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Puts the new rows in the place of the live ones, in one transaction; false where the live ones are ahead.
async fn swap(tables: &Tables, fresh: &Path, checkpoint: Checkpoint) -> Result<bool, RebuildError> {
    let mut connection = tables.connection_of_its_own().await?;
    let path = fresh.to_string_lossy().into_owned();
    sqlx::query("ATTACH DATABASE $1 AS fresh").bind(path).execute(&mut connection).await?;
    let swapped = copy(&mut connection, checkpoint).await;
    connection.close().await?;
    swapped
}

async fn copy(connection: &mut SqliteConnection, checkpoint: Checkpoint) -> Result<bool, RebuildError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if Checkpoint::read(&mut transaction).await?.position > checkpoint.position {
        return Ok(false);
    }
    for (table, order) in TABLES {
        // Only names out of the list above.
        let sql =
            format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM fresh.{table} ORDER BY {order};");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
    }
    sqlx::raw_sql(MOVE_CHECKPOINT).execute(&mut *transaction).await?;
    sqlx::raw_sql(RESTORE_LAST_USES).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

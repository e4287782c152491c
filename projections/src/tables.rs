//! `projections.db`: opened or created, compared with the log, and thrown away where it is of no use.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use signalbeam_event_store::sqlite::copy::reading;
use signalbeam_event_store::{EventReader, StoreError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::checkpoint::Checkpoint;
use crate::columns::ReadError;

const SCHEMA: &str = concat!(
    include_str!("../../migrations/sqlite/projections/0001_directory.sql"),
    include_str!("../../migrations/sqlite/projections/0002_usage.sql"),
);

/// Raised where the same tables are filled in another way, so that what was filled before is rebuilt.
const RULES_VERSION: u32 = 1;

/// Names the schema and the rules that fill it. Kept as SQLite's `user_version`: a file with any other is rebuilt.
const FORMAT: i32 = {
    let mut hash = 0x811c_9dc5 ^ RULES_VERSION;
    let schema = SCHEMA.as_bytes();
    let mut at = 0;
    while at < schema.len() {
        hash = (hash ^ schema[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    i32::from_be_bytes((hash & 0x7fff_ffff).to_be_bytes())
};

const READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables that are derived from the log. Cheap to clone; all clones share one writer and a few readers.
#[derive(Debug, Clone)]
pub struct Tables(Arc<Pools>);

#[derive(Debug)]
struct Pools {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
}

/// Why `projections.db` could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database could not be opened, read or created.
    #[error("cannot open {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A file could not be created, renamed or removed.
    #[error("cannot create or replace {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is missing, damaged, or of another version of this program; starting the server rebuilds it.
    #[error("{} is missing, damaged or of another version; starting the server rebuilds it", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
    },
    /// The tables could not be compared with the log.
    #[error("cannot compare the projections with the event log")]
    Store(#[from] StoreError),
    /// The checkpoint could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What was found at the path.
enum Found {
    Nothing,
    Fit,
    OtherFormat,
    Damage,
}

impl Tables {
    /// Opens the file, for the one process that serves from it. What is missing is created empty; what is damaged is
    /// moved aside to `{path}.damaged`; what another version wrote, or what belongs to another log than `reader`'s, is
    /// removed. The projector fills what is empty.
    ///
    /// # Errors
    /// [`OpenError`] where the file system, the database or the log does not answer.
    pub async fn open(path: &Path, reader: &dyn EventReader) -> Result<Self, OpenError> {
        match examine(path).await? {
            Found::Nothing => create(path).await?,
            Found::Fit => {}
            Found::OtherFormat => {
                tracing::info!(path = %path.display(), "projections of another version: rebuilding them from the log");
                remove(path)?;
                create(path).await?;
            }
            Found::Damage => {
                tracing::warn!(path = %path.display(), "damaged projections moved aside: rebuilding them from the log");
                move_aside(path)?;
                create(path).await?;
            }
        }
        let tables = Self::connect(path);
        if tables.checkpoint().await?.is_of(reader).await? {
            return Ok(tables);
        }
        tracing::info!(path = %path.display(), "projections of another log: rebuilding them");
        tables.close().await;
        remove(path)?;
        create(path).await?;
        Ok(Self::connect(path))
    }

    /// Opens the file beside the process that serves from it; repairs nothing.
    ///
    /// # Errors
    /// [`OpenError::Unfit`] where only a start of the server makes it usable.
    pub async fn attach(path: &Path) -> Result<Self, OpenError> {
        match examine(path).await? {
            Found::Fit => Ok(Self::connect(path)),
            Found::Nothing | Found::OtherFormat | Found::Damage => Err(OpenError::Unfit { path: path.to_owned() }),
        }
    }

    /// Looks into the file without changing anything, also one of another version; whether it is of this one is told too.
    /// Leaves no file beside it where nobody writes to it.
    ///
    /// # Errors
    /// [`OpenError`] where the file is missing or damaged.
    pub async fn peek(path: &Path) -> Result<(Self, bool), OpenError> {
        let failed = |source| OpenError::Database { path: path.to_owned(), source };
        let options = reading(path).pragma("query_only", "ON").busy_timeout(BUSY_TIMEOUT);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        let format: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await.map_err(failed)?;
        connection.close().await.map_err(failed)?;
        let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
        let tables = Self(Arc::new(Pools { path: path.to_owned(), writer: pool.clone(), readers: pool }));
        Ok((tables, format == FORMAT))
    }

    /// Creates empty tables in a new file, in the place of whatever is there.
    pub(crate) async fn create_anew(path: &Path) -> Result<Self, OpenError> {
        remove(path)?;
        create(path).await?;
        Ok(Self::connect(path))
    }

    fn connect(path: &Path) -> Self {
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = pool(1).connect_lazy_with(options(path).pragma("cache_size", "-65536"));
        let readers = pool(READERS).connect_lazy_with(options(path).pragma("query_only", "ON").row_buffer_size(1024));
        Self(Arc::new(Pools { path: path.to_owned(), writer, readers }))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How far the tables have come.
    ///
    /// # Errors
    /// [`ReadError`] where they do not answer.
    pub async fn checkpoint(&self) -> Result<Checkpoint, ReadError> {
        let mut connection = self.0.readers.acquire().await?;
        Checkpoint::read(&mut connection).await
    }

    /// Closes every connection. Clones must not be used any more.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.0.readers
    }

    /// A connection beside the pools, for what would leave traces in one of theirs.
    pub(crate) async fn connection_of_its_own(&self) -> Result<SqliteConnection, sqlx::Error> {
        SqliteConnection::connect_with(&options(self.path())).await
    }

    pub(crate) async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.0.writer.begin_with("BEGIN IMMEDIATE").await
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(false)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("cache_size", "-8192")
        // In pages of 4 KiB. A rebuild writes the same pages again and again; they need not go to the file each time.
        .pragma("wal_autocheckpoint", "8192")
        .pragma("temp_store", "MEMORY")
}

async fn create(path: &Path) -> Result<(), OpenError> {
    create_private(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let options = options(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let script = format!("BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;");
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// Creates the file readable by its owner alone. The engine takes it for a new one, and gives its other files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

async fn examine(path: &Path) -> Result<Found, OpenError> {
    let exists = path.try_exists().map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    if !exists {
        return Ok(Found::Nothing);
    }
    match look_into(path).await {
        Ok(found) => Ok(found),
        Err(error) if is_damage(&error) => Ok(Found::Damage),
        Err(source) => Err(OpenError::Database { path: path.to_owned(), source }),
    }
}

async fn look_into(path: &Path) -> Result<Found, sqlx::Error> {
    let mut connection = SqliteConnection::connect_with(&options(path)).await?;
    let format: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(match (verdict.as_str(), format) {
        ("ok", FORMAT) => Found::Fit,
        ("ok", _) => Found::OtherFormat,
        _ => Found::Damage,
    })
}

/// SQLite's primary result code of an error that SQLite reported.
pub(crate) fn result_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

fn is_damage(error: &sqlx::Error) -> bool {
    const SQLITE_CORRUPT: u32 = 11;
    const SQLITE_NOTADB: u32 = 26;
    matches!(result_code(error), Some(SQLITE_CORRUPT | SQLITE_NOTADB))
}

/// A file's path with something behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Removes a database with what SQLite keeps beside it.
pub(crate) fn remove(path: &Path) -> Result<(), OpenError> {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::File { path: file, source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

fn move_aside(path: &Path) -> Result<(), OpenError> {
    std::fs::rename(path, beside(path, ".damaged"))
        .map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    remove(path)
}

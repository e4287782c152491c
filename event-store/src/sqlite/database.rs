//! One file of ours: created private, recognised, locked against a second writer, migrated.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, SqlitePool};

/// How long a connection waits for another process that holds the file's lock, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many connections read beside the writer, each with a thread of its own.
const READERS: u32 = 4;
/// How much of the file the writer keeps in memory, in KiB.
const WRITER_CACHE_KIB: u32 = 16 << 10;
/// What a write-ahead log that grew under a long read is cut back to.
const WAL_KEPT_BYTES: u32 = 64 << 20;

/// Why a log could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store in this one, has it open for writing. Readers may open it all the same.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else: no database, or another program's, or another one of ours. It was left untouched.
    #[error("{} is not what it should be: {expected}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// A newer version of this program has written it.
    #[error("{} was written by a newer version of this program (schema {schema})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema version that this program does not know.
        schema: i64,
    },
    /// The file or its folder could not be created or read.
    #[error("{} could not be opened", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The database engine failed.
    #[error("{} could not be opened", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// What a kind of file is recognised by, and how it is brought up to date.
pub(crate) struct Kind {
    pub(crate) what: &'static str,
    pub(crate) application_id: i32,
    pub(crate) migrator: &'static Migrator,
}

/// A file that this process may write. Dropping it lets others in.
pub(crate) struct Database {
    options: SqliteConnectOptions,
    _lock: Lock,
}

/// The locked file beside the database.
struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a process that is just being started holds a copy of every open file for a moment.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a log's lock could not be released");
        }
    }
}

impl Database {
    /// Opens the file for writing; creates it where it does not exist.
    pub(crate) async fn open(path: &Path, kind: &Kind) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        create(path).map_err(|source| OpenError::Io { path: path.to_owned(), source: Arc::new(source) })?;
        recognise(path, kind).await?;
        let database = Self { options: writing(path), _lock: lock };
        let failed = |source: sqlx::Error| database_error(path, source);
        let mut connection = database.connect().await.map_err(failed)?;
        let mark = format!("PRAGMA application_id = {}", kind.application_id);
        sqlx::query(AssertSqlSafe(mark)).execute(&mut connection).await.map_err(failed)?;
        kind.migrator.run(&mut connection).await.map_err(|error| match error {
            MigrateError::VersionMissing(schema) => OpenError::Newer { path: path.to_owned(), schema },
            other => database_error(path, other),
        })?;
        connection.close().await.map_err(failed)?;
        Ok(database)
    }

    /// Makes everything in the write-ahead log durable. (The engine holds no lock on that file, so another handle on it does
    /// no harm.)
    pub(crate) fn sync_written_ahead(&self) -> io::Result<()> {
        let mut name = self.options.get_filename().as_os_str().to_owned();
        name.push("-wal");
        match File::open(PathBuf::from(name)) {
            Ok(file) => file.sync_data(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A connection that writes durably: a commit that it acknowledged survives the loss of power.
    pub(crate) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.options.connect().await
    }
}

/// Connections that only read, opened as they are needed.
pub(crate) fn readers(path: &Path) -> SqlitePool {
    readers_by(SqliteConnectOptions::new().filename(path).read_only(true))
}

/// As [`readers`], on connections of these options.
pub(crate) fn readers_by(options: SqliteConnectOptions) -> SqlitePool {
    let options = options
        .busy_timeout(BUSY_TIMEOUT)
        .thread_name(|number| format!("sqlite-read-{number}"))
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(BUSY_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Refuses a file that is missing or none of ours, without changing it.
pub(crate) async fn recognise(path: &Path, kind: &Kind) -> Result<(), OpenError> {
    /// `SQLITE_READONLY_ROLLBACK`: whoever created the file was killed before it was in write-ahead mode.
    const INTERRUPTED: &str = "776";
    let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
    let found = match identity(&options.clone().read_only(true)).await {
        // Only a connection that may write can take back what was left half done.
        Err(error) if code(&error).as_deref() == Some(INTERRUPTED) => identity(&options).await,
        found => found,
    };
    judge(path, kind, found)
}

/// As [`recognise`], by one look through these options.
pub(crate) async fn recognise_by(path: &Path, kind: &Kind, options: &SqliteConnectOptions) -> Result<(), OpenError> {
    judge(path, kind, identity(options).await)
}

fn judge(path: &Path, kind: &Kind, found: Result<(i32, i64), sqlx::Error>) -> Result<(), OpenError> {
    const NOT_A_DATABASE: &str = "26";
    let foreign = || OpenError::Foreign { path: path.to_owned(), expected: kind.what };
    let found = found.map_err(|error| match code(&error).as_deref() {
        Some(NOT_A_DATABASE) => foreign(),
        _ => database_error(path, error),
    })?;
    let is_new = found == (0, 0);
    if is_new || found.0 == kind.application_id { Ok(()) } else { Err(foreign()) }
}

/// The application's id, and how many things the schema holds.
async fn identity(options: &SqliteConnectOptions) -> Result<(i32, i64), sqlx::Error> {
    let mut connection = options.connect().await?;
    let found = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(found)
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

pub(crate) fn database_error(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    OpenError::Database { path: path.to_owned(), source: Arc::new(source) }
}

fn writing(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", WAL_KEPT_BYTES.to_string())
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .pragma("temp_store", "MEMORY")
        .busy_timeout(BUSY_TIMEOUT)
        .thread_name(|number| format!("sqlite-write-{number}"))
        .disable_statement_logging()
}

/// Closes the writer's connection with everything in the database itself: open readers would keep the engine from that, and
/// who copies the file after an orderly end shall have all of it.
///
/// # Errors
/// Where the disk refuses; everything acknowledged is in the write-ahead log then, and the next opening takes it from there.
pub(super) async fn close_writer(mut connection: SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    connection.close().await
}

/// Locks a file beside the database. Not the database itself: closing another handle on it would drop the locks that
/// the database engine holds there (POSIX).
fn lock(path: &Path) -> Result<Lock, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source: Arc::new(source) };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = private(&mut options).open(PathBuf::from(name)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Creates the file readable by its owner alone, and makes its name durable. The engine gives its other files the same mode.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    match private(&mut options).open(path) {
        Ok(_) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file; its entries are durable with the files.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

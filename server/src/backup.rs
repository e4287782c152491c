//! Backups of a data directory: a folder with consistent copies of the log and the authentication log, the keys without
//! which they are worth little, and a manifest that says what it should hold. Made beside a running server.

pub mod create;
pub(crate) mod digest;
pub mod manifest;
pub mod progress;
pub mod verify;

use std::io;
use std::path::{Path, PathBuf};

use signalbeam_event_store::sqlite::copy::LogCheckError;
use signalbeam_event_store::{OpenError, StoreError};

use crate::data_dir::DataDirError;
use crate::data_dir::access::AccessError;

/// Why a backup could not be made, or is none.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to back up, or it may not be read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Something has that name already.
    #[error("{} exists already; a backup overwrites nothing, choose another name", path.display())]
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// The backup would lie in what it is a backup of.
    #[error("{} is inside of the data directory; a backup belongs elsewhere, best on another disk", path.display())]
    InsideDataDirectory {
        /// The name.
        path: PathBuf,
    },
    /// Somebody replaced a key while the backup was made, so that it may not fit the log.
    #[error("{path} was changed while the backup was made; make it again")]
    SecretsChanged {
        /// The key's file in the data directory.
        path: String,
    },
    /// The manifest is missing, or cannot be read.
    #[error("{} is no backup: its manifest cannot be read", path.display())]
    NoManifest {
        /// The backup.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is not what this program writes.
    #[error("the manifest of {} is damaged: {reason}", path.display())]
    Manifest {
        /// The backup.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A file is not what the manifest says.
    #[error("{file} in the backup is not what its manifest says: {reason}")]
    Mismatch {
        /// The file, or what of it.
        file: String,
        /// What differs.
        reason: String,
    },
    /// The log in the backup is damaged.
    #[error("the event log in the backup is damaged")]
    Log(#[from] LogCheckError),
    /// A database cannot be copied or read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written privately.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// For `map_err`: what was tried, with what.
pub(crate) fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BackupError + use<'a> {
    move |source| BackupError::Io { action, path: path.to_owned(), source }
}

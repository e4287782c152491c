//! Whether there is a server's data in a directory, and whether this process may read it. What may not be looked at is
//! never taken for missing: the advice would be to restore what is there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a data directory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It belongs to another user.
    #[error(
        "{} cannot be entered or read as this user, uid {user} (permission denied): run this as the owner, uid {owner}",
        path.display()
    )]
    Denied {
        /// The directory or the file.
        path: PathBuf,
        /// Who this process is.
        user: u32,
        /// Who may, as far as that can be seen.
        owner: u32,
    },
    /// No server has ever run on it.
    #[error("{} is no data directory of a server: there is no {missing} in it", path.display())]
    NoDataDirectory {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// The file system refused for another reason.
    #[error("cannot read {}", path.display())]
    Io {
        /// The directory or the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Sees that `needed` stand in the directory and can be read.
///
/// # Errors
/// [`AccessError`]
pub fn look(data_dir: &Path, needed: &[&'static str]) -> Result<(), AccessError> {
    for missing in needed {
        let path = data_dir.join(missing);
        match File::open(&path) {
            Ok(file) if file.metadata().is_ok_and(|file| file.is_file()) => {}
            Err(error) if !is_absent(&error) => return Err(refusal(path, error)),
            _ => return Err(AccessError::NoDataDirectory { path: data_dir.to_owned(), missing }),
        }
    }
    Ok(())
}

/// What of a directory and of some of its files this process may not read; what is missing does not count.
///
/// # Errors
/// [`AccessError::Denied`]
pub fn admits(data_dir: &Path, files: &[&str]) -> Result<(), AccessError> {
    let folder = fs::read_dir(data_dir).err().map(|error| (data_dir.to_owned(), error));
    let files = files.iter().map(|name| data_dir.join(name));
    let files = files.filter_map(|path| File::open(&path).err().map(|error| (path, error)));
    let mut denied = folder.into_iter().chain(files).filter(|(_, error)| is_denied(error));
    denied.next().map_or(Ok(()), |(path, error)| Err(refusal(path, error)))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The owner of what cannot be looked at is that of the first folder above it that can.
fn refusal(path: PathBuf, error: io::Error) -> AccessError {
    let seen = path.ancestors().find_map(|path| Some((path.to_owned(), fs::metadata(path).ok()?.uid())));
    match seen {
        Some((path, owner)) if is_denied(&error) => {
            AccessError::Denied { path, user: rustix::process::geteuid().as_raw(), owner }
        }
        _ => AccessError::Io { path, source: error },
    }
}

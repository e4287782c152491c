//! Changes to the disk as lists of small steps, so that what a power cut leaves behind can be tested after each of them.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

/// File mode of everything that holds a secret.
pub const PRIVATE_FILE: u32 = 0o600;
/// File mode of what anybody may read.
pub const PUBLIC_FILE: u32 = 0o644;
const PRIVATE_DIR: u32 = 0o700;

/// One change to the disk. Each is either done or not done after a crash, except that a `Write` may be cut short.
pub enum Step {
    /// Makes a directory and what is missing above it.
    MakeDir(PathBuf),
    /// Writes a new file with this mode from its creation on, and syncs it.
    Write {
        /// Where; must not exist.
        path: PathBuf,
        /// The content, wiped when the step is dropped.
        bytes: Zeroizing<Vec<u8>>,
        /// Unix permission bits.
        mode: u32,
    },
    /// Makes the names in a directory durable.
    SyncDir(PathBuf),
    /// Makes a symbolic link.
    Link {
        /// What the link says.
        target: PathBuf,
        /// Where the link stands; must not exist.
        path: PathBuf,
    },
    /// Replaces `to` by `from` in one instant.
    Rename {
        /// The name that disappears.
        from: PathBuf,
        /// The name that is replaced.
        to: PathBuf,
    },
    /// Removes a file or link, if it is there.
    Remove(PathBuf),
    /// Removes a directory with all that is in it, if it is there.
    RemoveTree(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDir(path) => write!(f, "make directory {}", path.display()),
            Self::Write { path, .. } => write!(f, "write {}", path.display()),
            Self::SyncDir(path) => write!(f, "sync directory {}", path.display()),
            Self::Link { path, .. } => write!(f, "make link {}", path.display()),
            Self::Rename { to, .. } => write!(f, "replace {}", to.display()),
            Self::Remove(path) | Self::RemoveTree(path) => write!(f, "remove {}", path.display()),
        }
    }
}

/// A step that the disk refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct DiskError {
    /// What was tried.
    pub step: String,
    /// The system's answer.
    pub source: io::Error,
}

impl DiskError {
    /// An error of reading or locking, which are no steps.
    pub fn new(what: &str, path: &Path, source: io::Error) -> Self {
        Self { step: format!("{what} {}", path.display()), source }
    }
}

/// What performs steps: the machine's disk, or a test's that fails where the test wants it to.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Performs one step.
    ///
    /// # Errors
    /// What the system answered.
    fn try_step(&self, step: &Step) -> io::Result<()>;
}

/// A disk that several stores write to.
pub type SharedDisk = Arc<dyn Disk>;

/// The machine's disk.
#[derive(Clone, Copy, Debug)]
pub struct SystemDisk;

impl SystemDisk {
    /// The machine's disk, to be shared.
    pub fn shared() -> SharedDisk {
        Arc::new(Self)
    }
}

impl Disk for SystemDisk {
    fn try_step(&self, step: &Step) -> io::Result<()> {
        try_step(step)
    }
}

/// Performs one step.
///
/// # Errors
/// What the system answered; the steps before it stay done.
pub fn perform(disk: &dyn Disk, step: &Step) -> Result<(), DiskError> {
    disk.try_step(step).map_err(|source| DiskError { step: step.to_string(), source })
}

/// Performs steps in order, up to the first that fails.
///
/// # Errors
/// As [`perform`].
pub fn perform_all(disk: &dyn Disk, steps: &[Step]) -> Result<(), DiskError> {
    steps.iter().try_for_each(|step| perform(disk, step))
}

/// The steps that replace a file's content: at every instant it has the old content or the new.
pub fn replace_file(path: &Path, bytes: Vec<u8>, mode: u32) -> Vec<Step> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let parent = parent_of(path);
    vec![
        Step::MakeDir(parent.clone()),
        Step::Remove(temporary.clone()),
        Step::Write { path: temporary.clone(), bytes: Zeroizing::new(bytes), mode },
        Step::Rename { from: temporary, to: path.to_owned() },
        Step::SyncDir(parent),
    ]
}

/// The directory that a path stands in; the current one for a bare name.
pub fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn try_step(step: &Step) -> io::Result<()> {
    match step {
        Step::MakeDir(path) => make_dir(path),
        Step::Write { path, bytes, mode } => {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        }
        Step::SyncDir(path) => File::open(path)?.sync_all(),
        Step::Link { target, path } => symlink(target, path),
        Step::Rename { from, to } => fs::rename(from, to),
        Step::Remove(path) => absent_is_fine(fs::remove_file(path)),
        Step::RemoveTree(path) => absent_is_fine(fs::remove_dir_all(path)),
    }
}

/// Makes a directory and syncs the one above each directory that is new.
fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    make_dir(&parent)?;
    match DirBuilder::new().mode(PRIVATE_DIR).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_is_private_from_its_creation_and_old_or_new_after_every_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file");
        perform_all(&SystemDisk, &replace_file(&path, b"old".to_vec(), PRIVATE_FILE)).unwrap();
        for done in 0..=replace_file(&path, Vec::new(), PRIVATE_FILE).len() {
            perform_all(&SystemDisk, &replace_file(&path, b"old".to_vec(), PRIVATE_FILE)).unwrap();
            perform_all(&SystemDisk, &replace_file(&path, b"new".to_vec(), PRIVATE_FILE)[..done]).unwrap();
            let content = fs::read(&path).unwrap();
            assert!(content == b"old" || content == b"new", "after {done} steps");
            for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
                let mode = entry.unwrap().metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o777, PRIVATE_FILE, "after {done} steps");
            }
        }
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_refused_step_names_the_path_and_not_the_content() {
        let step = Step::Write {
            path: PathBuf::from("/proc/nowhere/file"),
            bytes: Zeroizing::new(b"hidden".to_vec()),
            mode: PRIVATE_FILE,
        };
        let message = perform(&SystemDisk, &step).unwrap_err().to_string();
        assert!(message.contains("/proc/nowhere/file") && !message.contains("hidden"), "{message}");
    }
}

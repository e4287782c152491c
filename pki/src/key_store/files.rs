//! Files that appear whole or not at all, and private ones that nobody else may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::KeyStoreError;

/// Unfinished files start with it, so that they can be told and cleared away.
const UNFINISHED: &str = ".unfinished-";
/// Far more than an RSA-4096 key or a certificate needs.
const MAX_FILE_OCTETS: usize = 64 * 1024;

/// Who may read a file.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Private,
    Public,
}

/// The text of a file, `None` where there is none.
pub(super) fn read(path: &Path, access: Access) -> Result<Option<Zeroizing<String>>, KeyStoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyStoreError::Io { action: "open", path: path.to_owned(), source }),
    };
    // Asked of the open file, so that nobody can put another one in its place in between.
    let mode = file.metadata().map_err(io_error("look at", path))?.permissions().mode() & 0o7777;
    if matches!(access, Access::Private) && mode & 0o077 != 0 {
        return Err(KeyStoreError::NotPrivate { path: path.to_owned(), mode });
    }
    // Room for the largest file: a vector that grows leaves copies behind that nobody wipes.
    let mut octets = Zeroizing::new(Vec::with_capacity(MAX_FILE_OCTETS + 1));
    file.take(MAX_FILE_OCTETS as u64 + 1).read_to_end(&mut octets).map_err(io_error("read", path))?;
    if octets.len() > MAX_FILE_OCTETS {
        return Err(malformed(path, "larger than 64 KiB"));
    }
    let text = std::str::from_utf8(&octets).map_err(|_| malformed(path, "not text"))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Makes a folder that is its owner's alone.
pub(super) fn create_folder(path: &Path) -> Result<(), KeyStoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))?;
    // The folder's own entry must survive a power loss as well.
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

/// Puts a whole, synced file under its name in a folder unless there is one already.
pub(super) fn publish(folder: &Path, name: &str, mode: u32, contents: &str) -> Result<(), KeyStoreError> {
    let target = folder.join(name);
    let unfinished = folder.join(format!("{UNFINISHED}{}", random_suffix()?));
    let written = write_synced(&unfinished, mode, contents);
    let linked = written.and_then(|()| match fs::hard_link(&unfinished, &target) {
        // Someone was first, or has cleared our unfinished file away because everything is there already.
        Err(_) if target.exists() => Ok(()),
        outcome => outcome.map_err(io_error("create", &target)),
    });
    let removed = remove(&unfinished);
    linked.and(removed).and_then(|()| sync_folder(folder))
}

/// Removes what a crash left behind in a folder; it may hold a key that was never used.
pub(super) fn clear_unfinished(folder: &Path) -> Result<(), KeyStoreError> {
    for entry in fs::read_dir(folder).map_err(io_error("list", folder))? {
        let entry = entry.map_err(io_error("list", folder))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn malformed(path: &Path, problem: &'static str) -> KeyStoreError {
    KeyStoreError::Malformed { location: path.display().to_string(), problem }
}

fn remove(path: &Path) -> Result<(), KeyStoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(io_error("remove", path)),
    }
}

fn write_synced(path: &Path, mode: u32, contents: &str) -> Result<(), KeyStoreError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io_error("create", path))?;
    file.write_all(contents.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("write", path))
}

fn sync_folder(path: &Path) -> Result<(), KeyStoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("sync", path))
}

fn random_suffix() -> Result<String, KeyStoreError> {
    let mut octets = [0; 8];
    SystemRandom::new().fill(&mut octets).map_err(|_| KeyStoreError::Generation("no random numbers".to_owned()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(octets)))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyStoreError {
    move |source| KeyStoreError::Io { action, path: path.to_owned(), source }
}

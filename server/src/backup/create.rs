//! Making a backup.
//!
//! The authentication log is copied before the event log: whatever an attempt refers to was recorded before it, so nothing
//! in the copy of the one points beyond the copy of the other. The keys are read before both and compared after both.

use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use signalbeam_domain::{Position, Timestamp};
use signalbeam_event_store::SqliteEventReader;
use signalbeam_event_store::sqlite::copy::{audit_tail, copy_database};
use signalbeam_event_store::witness::{event_at, newest};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::manifest::{FORMAT, FileEntry, LogEnd, MANIFEST_FILE, Manifest};
use super::progress::{Progress, readable_size};
use super::verify::verify;
use super::{BackupError, digest, io_error};
use crate::config;
use crate::data_dir::{access, make_private_dir, sync_folder, write_private};
use crate::serve::{ADMIN_KEY_FILE, AUDIT_FILE, AUTHORITY_FOLDER, EVENTS_FILE, MAC_KEY_FILE, TLS_FOLDER};

/// The authority's certificate: the one file of the authority that everybody may have.
const AUTHORITY_CERTIFICATE: &str = "ca-cert.pem";

/// A small file, as it stood in the data directory.
struct SmallFile {
    path: String,
    content: Zeroizing<Vec<u8>>,
}

/// What is to be backed up, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// The folder to make.
    pub output: &'a Path,
    /// Whether the private keys and the configuration go with it.
    pub with_secrets: bool,
}

/// Makes a backup and verifies it. It appears under its name whole and durable, or not at all.
///
/// # Errors
/// [`BackupError`]; nothing is left then, unless the process was killed.
pub async fn create(request: Request<'_>, now: Timestamp, progress: &mut Progress) -> Result<Manifest, BackupError> {
    let Request { data_dir, output, with_secrets } = request;
    let folder = check(data_dir, output)?;
    let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let draft = Draft::new(folder.join(format!(".{name}.partial-{}", Uuid::now_v7().simple())))?;

    let files = small_files(data_dir, with_secrets)?;
    for database in [AUDIT_FILE, EVENTS_FILE] {
        copy(&data_dir.join(database), &draft.path.join(database), progress).await?;
    }
    let later = small_files(data_dir, with_secrets)?;
    if let Some(path) = changed(&files, &later) {
        return Err(BackupError::SecretsChanged { path });
    }
    for file in &files {
        let path = draft.path.join(&file.path);
        if let Some(parent) = path.parent() {
            make_private_dir(parent)?;
        }
        write_private(&path, &file.content)?;
    }
    let manifest = describe(&draft.path, &files, with_secrets, now).await?;
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| BackupError::Manifest { path: output.to_owned(), reason: error.to_string() })?;
    write_private(&draft.path.join(MANIFEST_FILE), &json)?;
    verify(&draft.path, progress).await?;
    draft.publish(output, &folder)?;
    Ok(manifest)
}

/// Everything that would make a backup impossible or harmful; gives the folder that it will lie in.
fn check(data_dir: &Path, output: &Path) -> Result<PathBuf, BackupError> {
    access::look(data_dir, &[EVENTS_FILE, AUDIT_FILE])?;
    if output.symlink_metadata().is_ok() || output.file_name().is_none() {
        return Err(BackupError::Exists { path: output.to_owned() });
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(io_error("find", folder))?;
    let data_dir = data_dir.canonicalize().map_err(io_error("find", data_dir))?;
    if folder.starts_with(data_dir) {
        return Err(BackupError::InsideDataDirectory { path: output.to_owned() });
    }
    Ok(folder)
}

/// The folders of the authorities' keys: the first one's, and one a key slot in it.
fn authority_folders(data_dir: &Path) -> Result<Vec<String>, BackupError> {
    let slots = inner_names(&data_dir.join(AUTHORITY_FOLDER), FileType::is_dir)?;
    let slots = slots.into_iter().map(|slot| format!("{AUTHORITY_FOLDER}/{slot}"));
    Ok(std::iter::once(AUTHORITY_FOLDER.to_owned()).chain(slots).collect())
}

/// The keys, the certificates and the configuration; without secrets only the authorities' certificates.
fn small_files(data_dir: &Path, with_secrets: bool) -> Result<Vec<SmallFile>, BackupError> {
    let authorities = authority_folders(data_dir)?;
    let mut paths: Vec<_> = authorities.iter().map(|folder| format!("{folder}/{AUTHORITY_CERTIFICATE}")).collect();
    if with_secrets {
        for folder in authorities.iter().map(String::as_str).chain([TLS_FOLDER]) {
            paths.extend(names_in(&data_dir.join(folder))?.into_iter().map(|name| format!("{folder}/{name}")));
        }
        paths.extend([ADMIN_KEY_FILE, MAC_KEY_FILE, config::FILE_NAME].map(str::to_owned));
        let keys = names_in(data_dir)?;
        paths.extend(keys.into_iter().filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "key")));
    }
    paths.sort();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        match fs::read(data_dir.join(&path)) {
            Ok(content) => files.push(SmallFile { path, content: Zeroizing::new(content) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", &data_dir.join(&path))(error)),
        }
    }
    Ok(files)
}

/// The plain files of a folder that are no drafts; none where there is no such folder.
fn names_in(folder: &Path) -> Result<Vec<String>, BackupError> {
    inner_names(folder, FileType::is_file)
}

/// What there is of a kind in a folder and is no draft.
fn inner_names(folder: &Path, is_wanted: fn(&FileType) -> bool) -> Result<Vec<String>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("read", folder))?;
        let is_wanted = is_wanted(&entry.file_type().map_err(io_error("inspect", folder))?);
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_draft = Path::new(&name).extension().is_some_and(|kind| kind == "new") || name.starts_with('.');
        if is_wanted && !is_draft {
            names.push(name);
        }
    }
    Ok(names)
}

/// The first file that is not what it was.
fn changed(before: &[SmallFile], after: &[SmallFile]) -> Option<String> {
    let is_in = |file: &SmallFile, files: &[SmallFile]| {
        files.iter().any(|other| other.path == file.path && other.content == file.content)
    };
    let gone = before.iter().find(|file| !is_in(file, after));
    let new = after.iter().find(|file| !is_in(file, before));
    gone.or(new).map(|file| file.path.clone())
}

async fn copy(from: &Path, to: &Path, progress: &mut Progress) -> Result<(), BackupError> {
    // Before the engine makes it with wider permissions; it takes an empty file for its own.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(to).map_err(io_error("create", to))?;
    let copied = copy_database(from, to);
    tokio::pin!(copied);
    loop {
        tokio::select! {
            done = &mut copied => break done?,
            () = tokio::time::sleep(Progress::pause()) => {
                let size = |path| fs::metadata(path).map_or(0, |file| file.len());
                let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
                progress.at(|| format!("copying {name}: {} of about {}", readable_size(size(to)), readable_size(size(from))));
            }
        }
    }
    File::open(to).and_then(|file| file.sync_all()).map_err(io_error("sync", to))
}

async fn describe(
    draft: &Path,
    files: &[SmallFile],
    has_secrets: bool,
    created_at: Timestamp,
) -> Result<Manifest, BackupError> {
    let databases = [EVENTS_FILE, AUDIT_FILE].map(str::to_owned);
    let paths = databases.into_iter().chain(files.iter().map(|file| file.path.clone()));
    let mut entries = Vec::new();
    for path in paths {
        let on_disk = draft.join(&path);
        let (bytes, sha256) = digest::of_file(&on_disk).map_err(io_error("read", &on_disk))?;
        entries.push(FileEntry { path, bytes, sha256 });
    }
    let log = SqliteEventReader::open_at_rest(draft.join(EVENTS_FILE)).await?;
    let ends = (event_at(&log, Position(1)).await?, newest(&log).await?);
    log.close().await;
    Ok(Manifest {
        format: FORMAT,
        created_at,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        event_log: ends.0.zip(ends.1).map(|(first, last)| LogEnd::of(&first, &last)),
        authentication_log: audit_tail(&draft.join(AUDIT_FILE), false).await?.map(Into::into),
        has_secrets,
        files: entries,
    })
}

/// A folder that is removed again unless it is published.
struct Draft {
    path: PathBuf,
    is_published: bool,
}

impl Draft {
    fn new(path: PathBuf) -> Result<Self, BackupError> {
        DirBuilder::new().mode(0o700).create(&path).map_err(io_error("create", &path))?;
        Ok(Self { path, is_published: false })
    }

    fn publish(mut self, output: &Path, folder: &Path) -> Result<(), BackupError> {
        let authorities = authority_folders(&self.path)?;
        // The slots before the folder that names them.
        for inner in authorities.iter().rev().map(String::as_str).chain([TLS_FOLDER]).map(|name| self.path.join(name)) {
            if inner.is_dir() {
                sync_folder(&inner)?;
            }
        }
        sync_folder(&self.path)?;
        fs::rename(&self.path, output).map_err(io_error("make", output))?;
        self.is_published = true;
        Ok(sync_folder(folder)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished backup could not be removed");
        }
    }
}

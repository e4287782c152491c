//! Putting a backup into a data directory.
//!
//! In place, since a data directory is often a mounted volume that cannot be renamed. While it lasts, `restore.json` stands in
//! the directory: no server starts on it, and the same command again finishes it. What was there before is moved into a
//! folder beside, never deleted. In the end the log is marked as one that went back: devices are let in again only when
//! the operator has acknowledged that.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use signalbeam_domain::event_log::RollbackCause;
use signalbeam_domain::{Digest, Position, Timestamp};
use signalbeam_event_store::witness::{event_at, newest};
use signalbeam_event_store::{LogPoint, SqliteEventReader};

use crate::backup::manifest::{FileEntry, MANIFEST_FILE, Manifest};
use crate::backup::progress::Progress;
use crate::backup::verify::{compare, verify};
use crate::backup::{BackupError, digest, io_error};
use crate::data_dir::{DataDir, DataDirError, LOCK_FILE, RESTORE_FILE, make_private_dir, sync_folder, write_private};
use crate::rollback::witness::WITNESS_FILE;
use crate::rollback::{RecordError, Rollback, evidence};
use crate::serve::{ADMIN_KEY_FILE, AUTHORITY_FOLDER, EVENTS_FILE, MAC_KEY_FILE};

/// What the folders begin with into which a restore moves what was there before.
pub const REPLACED_PREFIX: &str = "replaced-";
const AUTHORITY_CERTIFICATE: &str = "ca/ca-cert.pem";
const CERTIFICATE_NAME: &str = "ca-cert.pem";
const KEY_NAME: &str = "ca-key.pem";
/// Without these a server does not serve the devices that know it; nor without the key of each authority, where that is a
/// file.
const KEYS: [&str; 2] = [ADMIN_KEY_FILE, MAC_KEY_FILE];

/// Why a backup could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is none, or damaged.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The data directory cannot be used, above all while a server runs on it.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Something is there already.
    #[error("{} is not empty: restore into a new directory, or add --replace to move aside what is there", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// What is there belongs to another installation.
    #[error("{} holds another installation than the backup: restore into a new directory", path.display())]
    OtherInstallation {
        /// The directory.
        path: PathBuf,
    },
    /// Another backup is half restored there: what is there may be of neither installation alone.
    #[error(
        "a restore of {} into {} was interrupted: finish that one first, or restore into a new directory",
        backup.display(), path.display()
    )]
    OtherRestore {
        /// The directory.
        path: PathBuf,
        /// The backup that was being restored.
        backup: PathBuf,
    },
    /// What is kept of an interrupted restore, or of the rollback, cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What is kept of an interrupted restore is damaged.
    #[error("{} is damaged; what it was about cannot be told", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

/// What is to be restored.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The backup.
    pub backup: &'a Path,
    /// The data directory.
    pub data_dir: &'a Path,
    /// Whether what is there may be moved aside.
    pub replace: bool,
}

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// What the backup said of itself.
    pub manifest: Manifest,
    /// What the operator has to acknowledge.
    pub rollback: Rollback,
    /// Where that went which was there before.
    pub moved_to: Option<PathBuf>,
    /// The keys that are in neither the backup nor the directory that was replaced.
    pub missing_keys: Vec<String>,
}

/// What an interrupted restore needs to go on, in the data directory while it lasts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    backup: PathBuf,
    /// The SHA-256 of the backup's manifest, which tells one backup from another wherever it lies.
    manifest: Digest,
    started_at: Timestamp,
    /// The folder for what was there before; absent where nothing was.
    replaced: Option<String>,
    /// Whether all of that is in there by now.
    is_moved: bool,
    /// The last event that is known to have stood in the log that was there before.
    witnessed: Option<LogPoint>,
    witness: Option<String>,
}

impl Plan {
    fn read(data_dir: &Path) -> Result<Option<Self>, RestoreError> {
        let path = data_dir.join(RESTORE_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error).into()),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| RestoreError::Plan { path, source })
    }

    fn write(&self, data_dir: &Path) -> Result<(), RestoreError> {
        let path = data_dir.join(RESTORE_FILE);
        let json = serde_json::to_vec_pretty(self);
        let json = json.map_err(|source| RestoreError::Plan { path: path.clone(), source })?;
        Ok(write_private(&path, &json)?)
    }
}

/// Verifies the backup, then puts it into the data directory. Interrupted, it is finished by doing it again.
///
/// # Errors
/// [`RestoreError`]; before anything is touched where the backup, the directory or a running server forbid it.
pub async fn restore(request: Request<'_>, now: Timestamp, progress: &mut Progress) -> Result<Restored, RestoreError> {
    let manifest = verify(request.backup, progress).await?;
    let data_dir = DataDir::lock(request.data_dir)?;
    let folder = data_dir.path().to_owned();
    let mut plan = match Plan::read(&folder)? {
        Some(interrupted) if interrupted.manifest == manifest_digest(request.backup)? => interrupted,
        Some(Plan { backup, .. }) => return Err(RestoreError::OtherRestore { path: folder, backup }),
        None => begin(request, &folder, &manifest, now).await?,
    };
    plan.write(&folder)?;
    if !plan.is_moved {
        move_aside(&folder, &plan)?;
        plan.is_moved = true;
        plan.write(&folder)?;
    }
    for file in &manifest.files {
        progress.at(|| format!("restoring {}", file.path));
        put(request.backup, &folder, file)?;
    }
    let moved_to = plan.replaced.as_ref().map(|name| folder.join(name));
    let missing_keys = take_over_keys(&folder, moved_to.as_deref(), &manifest)?;
    let rollback = rollback(&plan, &manifest, now);
    rollback.write(&folder)?;
    fs::remove_file(folder.join(RESTORE_FILE)).map_err(io_error("remove", &folder.join(RESTORE_FILE)))?;
    sync_folder(&folder)?;
    Ok(Restored { manifest, rollback, moved_to, missing_keys })
}

async fn begin(request: Request<'_>, folder: &Path, manifest: &Manifest, now: Timestamp) -> Result<Plan, RestoreError> {
    let mut plan = Plan {
        backup: request.backup.to_owned(),
        manifest: manifest_digest(request.backup)?,
        started_at: now,
        replaced: None,
        is_moved: true,
        witnessed: None,
        witness: None,
    };
    if entries(folder)?.is_empty() {
        return Ok(plan);
    }
    if !request.replace {
        return Err(RestoreError::NotEmpty { path: folder.to_owned() });
    }
    if !is_same_installation(folder, manifest).await? {
        return Err(RestoreError::OtherInstallation { path: folder.to_owned() });
    }
    plan.replaced = Some(new_name(folder, now));
    plan.is_moved = false;
    if let Some((witness, point)) = last_seen(folder).await {
        (plan.witness, plan.witnessed) = (Some(witness), Some(point));
    }
    Ok(plan)
}

fn manifest_digest(backup: &Path) -> Result<Digest, BackupError> {
    let path = backup.join(MANIFEST_FILE);
    let (_, sha256) = digest::of_file(&path).map_err(io_error("read", &path))?;
    Ok(sha256)
}

/// A name that nothing has, so that nothing is moved over anything.
fn new_name(folder: &Path, now: Timestamp) -> String {
    let name = format!("{REPLACED_PREFIX}{}", now.to_whole_second().to_string().replace([':', '.'], "-"));
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(|name| !folder.join(name).exists()).unwrap_or(name)
}

/// Everything in the directory but what a restore itself puts there and what earlier ones moved aside.
fn entries(folder: &Path) -> Result<Vec<String>, BackupError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error("read", folder))? {
        let name = entry.map_err(io_error("read", folder))?.file_name().to_string_lossy().into_owned();
        let is_ours = [LOCK_FILE, RESTORE_FILE, "lost+found"].contains(&name.as_str());
        if !is_ours && !name.starts_with(REPLACED_PREFIX) {
            names.push(name);
        }
    }
    Ok(names)
}

/// By the log's first event; where the log is lost, by the authority's certificate.
async fn is_same_installation(folder: &Path, manifest: &Manifest) -> Result<bool, RestoreError> {
    if let Ok(log) = SqliteEventReader::open(folder.join(EVENTS_FILE)).await {
        let first = event_at(&log, Position(1)).await;
        log.close().await;
        if let (Ok(Some(first)), Some(end)) = (first, &manifest.event_log) {
            return Ok(first.envelope.event_id == end.log_id);
        }
    }
    let certificate = AUTHORITY_CERTIFICATE;
    let Some(backed_up) = manifest.file(certificate) else { return Ok(false) };
    match digest::of_file(&folder.join(certificate)) {
        Ok((_, sha256)) => Ok(sha256 == backed_up.sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("read", &folder.join(certificate))(error).into()),
    }
}

/// How far the log had come that is about to be replaced, by all that can tell.
async fn last_seen(folder: &Path) -> Option<(String, LogPoint)> {
    let seen = evidence(folder, &[folder.join(WITNESS_FILE)]).await;
    let mut known: Vec<(String, LogPoint)> = seen.into_iter().map(|seen| (seen.witness, seen.point)).collect();
    if let Ok(log) = SqliteEventReader::open(folder.join(EVENTS_FILE)).await {
        if let Ok(Some(last)) = newest(&log).await {
            known.push((folder.join(EVENTS_FILE).display().to_string(), LogPoint::of(&last)));
        }
        log.close().await;
    }
    known.into_iter().max_by_key(|(_, point)| point.position)
}

fn move_aside(folder: &Path, plan: &Plan) -> Result<(), RestoreError> {
    let Some(name) = &plan.replaced else { return Ok(()) };
    let target = folder.join(name);
    make_private_dir(&target)?;
    for entry in entries(folder)? {
        let from = folder.join(&entry);
        fs::rename(&from, target.join(&entry)).map_err(io_error("move aside", &from))?;
    }
    sync_folder(&target)?;
    Ok(sync_folder(folder)?)
}

/// Copies one file, whose content must still be what the manifest says.
fn put(backup: &Path, folder: &Path, file: &FileEntry) -> Result<(), RestoreError> {
    let (from, to) = (backup.join(&file.path), folder.join(&file.path));
    let parent = to.parent().unwrap_or(folder);
    if parent != folder {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io_error("create", parent))?;
    }
    let mut draft = to.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    if let Err(error) = fs::remove_file(&draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(io_error("remove", &draft)(error).into());
    }
    // The one file that everybody may have, as it was made.
    let mode = if authority_folder(&file.path).is_some() { 0o644 } else { 0o600 };
    let mut options = OpenOptions::new();
    let mut output =
        options.write(true).create_new(true).mode(mode).open(&draft).map_err(io_error("create", &draft))?;
    let copied = digest::copy(&from, &mut output).map_err(io_error("copy", &from))?;
    compare(file, copied)?;
    output.sync_all().map_err(io_error("sync", &draft))?;
    fs::rename(&draft, &to).map_err(io_error("replace", &to))?;
    Ok(sync_folder(parent)?)
}

/// The folder of the authority whose certificate this file is.
fn authority_folder(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    (name == CERTIFICATE_NAME && Path::new(folder).starts_with(AUTHORITY_FOLDER)).then_some(folder)
}

/// The keys that belong to what is in a backup. One that was made with secrets has every key that is a file: those of the
/// other authorities are in a token or a vault.
fn needed_keys(manifest: &Manifest) -> Vec<String> {
    let folders = manifest.files.iter().filter_map(|file| authority_folder(&file.path));
    let keys = folders.map(|folder| format!("{folder}/{KEY_NAME}"));
    let in_files = keys.filter(|key| !manifest.has_secrets || manifest.file(key).is_some());
    in_files.chain(KEYS.map(str::to_owned)).collect()
}

/// Where the backup came without keys, those of the same installation that was replaced are still good. Gives the ones that
/// are nowhere.
fn take_over_keys(folder: &Path, replaced: Option<&Path>, manifest: &Manifest) -> Result<Vec<String>, RestoreError> {
    // An installation without any authority's key in a file has them in a token or a vault.
    let is_elsewhere = |key: &str| {
        let has_other_keys = |old: &Path| KEYS.iter().all(|key| old.join(key).exists());
        key.ends_with(KEY_NAME) && replaced.is_some_and(|old| has_other_keys(old) && !old.join(key).exists())
    };
    let mut missing = Vec::new();
    for key in needed_keys(manifest) {
        let target = folder.join(&key);
        if target.exists() || is_elsewhere(&key) {
            continue;
        }
        let Some(old) = replaced.map(|replaced| replaced.join(&key)).filter(|old| old.exists()) else {
            missing.push(key);
            continue;
        };
        let content = zeroize::Zeroizing::new(fs::read(&old).map_err(io_error("read", &old))?);
        make_private_dir(target.parent().unwrap_or(folder))?;
        write_private(&target, &content)?;
    }
    Ok(missing)
}

fn rollback(plan: &Plan, manifest: &Manifest, now: Timestamp) -> Rollback {
    let found = manifest.event_log.as_ref().map_or(Position(0), |end| end.position);
    let witness = plan.witness.clone().unwrap_or_default();
    Rollback::new(RollbackCause::Restored, witness, plan.witnessed, found, now)
}

#[cfg(test)]
mod tests;

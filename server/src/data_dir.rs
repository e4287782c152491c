//! The data directory: private, locked by one server at a time, with the secrets that the server makes for itself.

pub mod access;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use signalbeam_authn::secrets::KeyOctets;
use zeroize::Zeroizing;

use crate::config::FILE_NAME;
use crate::restore::REPLACED_PREFIX;
use crate::rollback::witness::WITNESS_FILE;
use crate::serve::{
    ADMIN_KEY_FILE, AUDIT_FILE, AUTHORITY_FOLDER, EVENTS_FILE, MAC_KEY_FILE, PROJECTIONS_FILE, TLS_FOLDER,
};

const SECRET_LENGTH: usize = 32;
/// The file that a server holds locked while it runs on the directory; its process and addresses stand in it.
pub const LOCK_FILE: &str = "signalbeam.lock";
/// The file that stands in the directory while a backup is being restored into it.
pub const RESTORE_FILE: &str = "restore.json";
/// What a server, a restore or somebody who prepares a start puts into a data directory.
const OURS: [&str; 11] = [
    LOCK_FILE,
    RESTORE_FILE,
    FILE_NAME,
    EVENTS_FILE,
    AUDIT_FILE,
    PROJECTIONS_FILE,
    ADMIN_KEY_FILE,
    MAC_KEY_FILE,
    AUTHORITY_FOLDER,
    TLS_FOLDER,
    WITNESS_FILE,
];
/// How often, and after which pauses, a lock that is held is tried again.
const LOCK_TRIES: usize = 4;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The permissions that group and others have.
const OTHERS: u32 = 0o077;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another server runs on it.
    #[error("another server (pid {pid}) is running on {}: stop it first, or choose another --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, as it noted itself; `unknown` in the instant before it has.
        pid: String,
    },
    /// A restore was interrupted: some of the files may be old, others new, others missing.
    #[error(
        "a restore into {} was interrupted: run the same `signalbeam restore` command again, it goes on where it was",
        path.display()
    )]
    HalfRestored {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else could have read a secret.
    #[error("{} can be read by others (mode {mode:03o}): run `chmod 600 {}`", path.display(), path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is not what the server wrote.
    #[error("{} does not hold 32 bytes in base64url: restore it from a backup", path.display())]
    DamagedSecret {
        /// The file.
        path: PathBuf,
    },
    /// The secret has not been made yet.
    #[error("{} does not exist: start the server on this directory first (`signalbeam serve`)", path.display())]
    NotStartedYet {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
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

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DataDirError + use<'a> {
    move |source| DataDirError::Io { action, path: path.to_owned(), source }
}

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holding it open holds the lock; the system lets go of it however the process ends.
    lock: File,
}

/// A server that runs on a data directory, as it noted itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its process; `unknown` in the instant before it has noted it.
    pub pid: String,
    /// Where it tells of its health; absent until it listens.
    pub ops_address: Option<SocketAddr>,
    /// Where it serves HTTPS; absent until it listens.
    pub address: Option<SocketAddr>,
}

/// Where to reach what listens on an address: a server that listens everywhere listens on this machine too.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The server that runs on a data directory, where one does. Changes nothing.
///
/// # Errors
/// [`DataDirError::Io`] where that cannot be told.
pub fn running(path: &Path) -> Result<Option<Running>, DataDirError> {
    let lock_path = path.join(LOCK_FILE);
    let mut lock = match File::open(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", &lock_path)(error)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(noted(&mut lock))),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &lock_path)(source)),
    }
}

impl DataDir {
    /// Makes the directory where it is missing, closes it to others, and locks it, for serving from it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] while another server holds it, [`DataDirError::HalfRestored`] after an interrupted restore.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        if let Some(found) = foreign(path) {
            tracing::warn!(path = %path.display(), found, "the data directory holds other things; it is closed to others");
        }
        let opened = Self::lock(path)?;
        if opened.join(RESTORE_FILE).exists() {
            return Err(DataDirError::HalfRestored { path: opened.path });
        }
        Ok(opened)
    }

    /// As [`Self::open`], in whatever state the directory is.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] while a server holds it.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        make_private_dir(path)?;
        let path = path.canonicalize().map_err(io_error("resolve", path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&lock_path).map_err(io_error("open", &lock_path))?;
        match try_lock_for_long(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { pid: noted(&mut lock).pid, path }),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock_path)(source)),
        }
        let opened = Self { path, lock };
        opened.note(&format!("{}\n", std::process::id()))?;
        Ok(opened)
    }

    /// Tells others where this server tells of its health, and where it serves HTTPS.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn note_addresses(&self, ops_address: SocketAddr, address: SocketAddr) -> Result<(), DataDirError> {
        self.note(&format!("{}\n{ops_address}\n{address}\n", std::process::id()))
    }

    fn note(&self, text: &str) -> Result<(), DataDirError> {
        let mut lock = &self.lock;
        let noted = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(text.as_bytes()));
        noted.map_err(io_error("write", &self.join(LOCK_FILE)))
    }

    /// The directory's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a secret of the server's own, which is made first where it is missing.
    ///
    /// # Errors
    /// [`DataDirError`], also where others could have read it.
    pub fn secret(&self, name: &str) -> Result<KeyOctets, DataDirError> {
        match read_secret(&self.path, name) {
            Err(DataDirError::NotStartedYet { path }) => make_secret(&path),
            other => other,
        }
    }
}

/// Reads a secret that a server has made before, without the directory's lock.
///
/// # Errors
/// [`DataDirError`], also where others could have read it.
pub fn read_secret(data_dir: &Path, name: &str) -> Result<KeyOctets, DataDirError> {
    let path = data_dir.join(name);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DataDirError::NotStartedYet { path }),
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    let mode = file.metadata().map_err(io_error("inspect", &path))?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(DataDirError::ReadableByOthers { path, mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(io_error("read", &path))?;
    KeyOctets::parse(&text).map_err(|_| DataDirError::DamagedSecret { path })
}

fn make_secret(path: &Path) -> Result<KeyOctets, DataDirError> {
    let mut secret = Zeroizing::new([0; SECRET_LENGTH]);
    SystemRandom::new().fill(&mut *secret).map_err(|_| DataDirError::Random)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()) + "\n");
    write_private(path, text.as_bytes())?;
    KeyOctets::parse(&text).map_err(|_| DataDirError::DamagedSecret { path: path.to_owned() })
}

/// Makes a folder that only its owner can enter, with its parents; one that exists is closed to others.
///
/// # Errors
/// [`DataDirError::Io`].
pub fn make_private_dir(path: &Path) -> Result<(), DataDirError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))?;
    let mode = fs::metadata(path).map_err(io_error("inspect", path))?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    // A mounted volume may belong to somebody else; then the files' own permissions have to do.
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(0o700)) {
        tracing::warn!(path = %path.display(), %error, "the directory is open to others and cannot be closed");
    }
    Ok(())
}

/// Writes a file that only its owner can read from the moment it exists: all of it or nothing, and durably.
///
/// # Errors
/// [`DataDirError::Io`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = path.with_file_name(name);
    // A draft that a crash left behind may have any permissions: it is not written into.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &draft)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io_error("create", &draft))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &draft))?;
    fs::rename(&draft, path).map_err(io_error("replace", path))?;
    sync_folder(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// [`DataDirError::Io`].
pub fn sync_folder(folder: &Path) -> Result<(), DataDirError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))
}

/// One of the things in a directory in which nothing is ours. Hidden ones do not count: volumes come with some.
fn foreign(path: &Path) -> Option<String> {
    let names = fs::read_dir(path).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.filter(|name| !name.starts_with('.') && name != "lost+found").collect();
    if names.iter().any(|name| OURS.contains(&name.as_str()) || name.starts_with(REPLACED_PREFIX)) {
        return None;
    }
    names.into_iter().min()
}

/// Whoever only looks whether a server runs holds the lock for an instant; a server holds it for long.
fn try_lock_for_long(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
            done => return done,
        }
    }
    lock.try_lock()
}

fn noted(lock: &mut File) -> Running {
    let mut text = String::new();
    // What cannot be read is not known.
    let _unread = lock.read_to_string(&mut text);
    let mut lines = text.lines();
    let pid = lines.next().filter(|pid| !pid.is_empty()).unwrap_or("unknown").to_owned();
    let mut addresses = lines.map(|address| address.parse().ok());
    Running { pid, ops_address: addresses.next().flatten(), address: addresses.next().flatten() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_directory_is_made_private_and_admits_one_server() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        let (address, https) = (SocketAddr::from(([127, 0, 0, 1], 9464)), SocketAddr::from(([0, 0, 0, 0], 8443)));
        first.note_addresses(address, https).unwrap();
        let pid = std::process::id().to_string();
        assert_eq!(running(&path).unwrap(), Some(Running { pid, ops_address: Some(address), address: Some(https) }));
        drop(first);
        assert_eq!(running(&path).unwrap(), None);
        assert_eq!(running(&parent.path().join("missing")).unwrap(), None);
        assert!(!parent.path().join("missing").exists());
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_directory_open_to_others_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let _data = DataDir::open(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
    }

    #[test]
    fn what_else_stands_in_a_directory_is_left_and_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(foreign(dir.path()), None);
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert_eq!(foreign(dir.path()), Some("thesis.tex".to_owned()));
        drop(DataDir::open(dir.path()).unwrap());
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(fs::read(dir.path().join("thesis.tex")).unwrap(), b"x");
        assert_eq!(foreign(dir.path()), None, "it is a data directory now");
    }

    #[test]
    fn a_secret_is_made_once_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let file = data.join("admin-jwt.key");
        assert!(matches!(read_secret(dir.path(), "admin-jwt.key"), Err(DataDirError::NotStartedYet { .. })));
        data.secret("admin-jwt.key").unwrap();
        assert_eq!(mode(&file), 0o600);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.trim_end().len(), 43);
        data.secret("admin-jwt.key").unwrap();
        read_secret(dir.path(), "admin-jwt.key").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        data.secret("credential-mac.key").unwrap();
        assert_ne!(fs::read_to_string(data.join("credential-mac.key")).unwrap(), text);

        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = data.secret("admin-jwt.key").unwrap_err().to_string();
        assert!(refused.contains("mode 640") && refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_damaged_secret_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        for damaged in ["", "abc", &"A".repeat(44), &"!".repeat(43)] {
            write_private(&data.join("k"), damaged.as_bytes()).unwrap();
            assert!(matches!(data.secret("k"), Err(DataDirError::DamagedSecret { .. })), "{damaged}");
        }
    }

    #[test]
    fn a_draft_left_by_a_crash_does_not_lend_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let draft = dir.path().join("k.new");
        fs::write(&draft, "x").unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o666)).unwrap();
        write_private(&dir.path().join("k"), b"y").unwrap();
        assert_eq!((mode(&dir.path().join("k")), draft.exists()), (0o600, false));
    }

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:9464".parse().unwrap()), "127.0.0.1:9464".parse().unwrap());
        assert_eq!(reachable("[::]:9464".parse().unwrap()), "[::1]:9464".parse().unwrap());
        assert_eq!(reachable("192.0.2.7:9464".parse().unwrap()), "192.0.2.7:9464".parse().unwrap());
    }
}

//! A key store in two files of a folder: `ca-key.pem` and `ca-cert.pem`.
//!
//! The key is written first and the certificate last, each to a file of its own that is synced and then linked to its
//! name. A link, unlike a rename, replaces nothing: of two processes that create at once the second finds the first
//! one's file and takes that. After a crash there is nothing, or a key, or both; a key alone is completed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::local_key::LocalKey;
use super::{CaKeyStore, CaKeyType, CaMaterial, KeyStoreError};
use crate::blocking::BlockingPool;
use crate::pem::{self, PrivateKeyPem};
use crate::public_key::CaPublicKey;

const KEY_FILE: &str = "ca-key.pem";
const CERTIFICATE_FILE: &str = "ca-cert.pem";
/// Unfinished files start with it, so that they can be told and cleared away.
const UNFINISHED: &str = ".unfinished-";
/// Far more than an RSA-4096 key or a certificate needs.
const MAX_FILE_OCTETS: usize = 64 * 1024;

/// A key store in a folder (mode 0700) with `ca-key.pem` (PKCS#8, mode 0600) and `ca-cert.pem`.
#[derive(Debug, Clone)]
pub struct FileKeyStore {
    folder: Arc<Folder>,
    pool: BlockingPool,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    key: OnceLock<Arc<LocalKey>>,
}

impl FileKeyStore {
    /// Makes one on a folder, which need not exist yet. Computes and touches files in `pool` only.
    pub fn new(folder: impl Into<PathBuf>, pool: BlockingPool) -> Self {
        Self { folder: Arc::new(Folder { path: folder.into(), key: OnceLock::new() }), pool }
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Folder) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let folder = Arc::clone(&self.folder);
        self.pool.run(move || job(&folder)).await?
    }
}

#[async_trait]
impl CaKeyStore for FileKeyStore {
    async fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        self.run(Folder::load).await
    }

    async fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        self.run(move |folder| folder.create_key(key_type)).await
    }

    async fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let certificate = certificate.to_vec();
        self.run(move |folder| folder.store_certificate(&certificate)).await
    }

    async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let to_be_signed = to_be_signed.to_vec();
        self.run(move |folder| folder.key()?.ok_or(KeyStoreError::NoKey)?.sign(&to_be_signed)).await
    }
}

impl Folder {
    fn load(&self) -> Result<CaMaterial, KeyStoreError> {
        let certificate = self.certificate()?;
        match (self.key()?, certificate) {
            (None, None) => Ok(CaMaterial::Absent),
            (Some(key), None) => Ok(CaMaterial::KeyOnly(key.public_key().clone())),
            (None, Some(_)) => {
                Err(KeyStoreError::KeyMissing { key: self.file(KEY_FILE), certificate: self.file(CERTIFICATE_FILE) })
            }
            (Some(key), Some(certificate)) => {
                self.clear_unfinished()?;
                Ok(CaMaterial::Complete { public_key: key.public_key().clone(), certificate })
            }
        }
    }

    fn create_key(&self, key_type: CaKeyType) -> Result<CaPublicKey, KeyStoreError> {
        self.create()?;
        if self.key()?.is_none() {
            let pkcs8 = LocalKey::generate(key_type)?;
            self.publish(KEY_FILE, 0o600, PrivateKeyPem::from_pkcs8_der(&pkcs8).expose())?;
        }
        Ok(self.key()?.ok_or(KeyStoreError::NoKey)?.public_key().clone())
    }

    fn store_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        if self.key()?.is_none() {
            return Err(KeyStoreError::NoKey);
        }
        self.publish(CERTIFICATE_FILE, 0o644, &pem::encode("CERTIFICATE", certificate))?;
        self.certificate()?.ok_or_else(|| self.malformed(CERTIFICATE_FILE, "it vanished while it was being stored"))
    }

    /// The key, read once: what was read stays in use while the process lives.
    fn key(&self) -> Result<Option<Arc<LocalKey>>, KeyStoreError> {
        if let Some(key) = self.key.get() {
            return Ok(Some(Arc::clone(key)));
        }
        let Some(text) = self.read(KEY_FILE, Access::Private)? else { return Ok(None) };
        let pkcs8 = pem::decode_one(&text, &["PRIVATE KEY"])
            .map_err(|_| self.malformed(KEY_FILE, "not one PKCS#8 key in PEM (`BEGIN PRIVATE KEY`)"))?;
        let key = LocalKey::from_pkcs8(&pkcs8)
            .ok_or_else(|| self.malformed(KEY_FILE, "not an RSA key of 2048, 3072 or 4096 bits, nor P-256 or P-384"))?;
        Ok(Some(Arc::clone(self.key.get_or_init(|| Arc::new(key)))))
    }

    fn certificate(&self) -> Result<Option<Vec<u8>>, KeyStoreError> {
        let Some(text) = self.read(CERTIFICATE_FILE, Access::Public)? else { return Ok(None) };
        pem::decode_one(&text, &["CERTIFICATE"])
            .map(|der| Some(der.to_vec()))
            .map_err(|_| self.malformed(CERTIFICATE_FILE, "not one certificate in PEM"))
    }

    fn read(&self, name: &str, access: Access) -> Result<Option<Zeroizing<String>>, KeyStoreError> {
        let path = self.file(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyStoreError::Io { action: "open", path, source }),
        };
        // Asked of the open file, so that nobody can put another one in its place in between.
        let mode = file.metadata().map_err(io_error("look at", &path))?.permissions().mode() & 0o7777;
        if matches!(access, Access::Private) && mode & 0o077 != 0 {
            return Err(KeyStoreError::NotPrivate { path, mode });
        }
        // Room for the largest file: a vector that grows leaves copies behind that nobody wipes.
        let mut octets = Zeroizing::new(Vec::with_capacity(MAX_FILE_OCTETS + 1));
        file.take(MAX_FILE_OCTETS as u64 + 1).read_to_end(&mut octets).map_err(io_error("read", &path))?;
        if octets.len() > MAX_FILE_OCTETS {
            return Err(self.malformed(name, "larger than 64 KiB"));
        }
        let text = std::str::from_utf8(&octets).map_err(|_| self.malformed(name, "not text"))?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    fn create(&self) -> Result<(), KeyStoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(io_error("create", &self.path))?;
        // The folder's own entry must survive a power loss as well.
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
    }

    /// Puts a whole, synced file under its name unless there is one already.
    fn publish(&self, name: &str, mode: u32, contents: &str) -> Result<(), KeyStoreError> {
        let target = self.file(name);
        let unfinished = self.file(&format!("{UNFINISHED}{}", random_suffix()?));
        let written = write_synced(&unfinished, mode, contents);
        let linked = written.and_then(|()| match fs::hard_link(&unfinished, &target) {
            // Someone was first, or has cleared our unfinished file away because everything is there already.
            Err(_) if target.exists() => Ok(()),
            outcome => outcome.map_err(io_error("create", &target)),
        });
        let removed = match fs::remove_file(&unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.map_err(io_error("remove", &unfinished)),
        };
        linked.and(removed).and_then(|()| sync_folder(&self.path))
    }

    /// Removes what a crash left behind; it may hold a key that was never used.
    fn clear_unfinished(&self) -> Result<(), KeyStoreError> {
        for entry in fs::read_dir(&self.path).map_err(io_error("list", &self.path))? {
            let entry = entry.map_err(io_error("list", &self.path))?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    outcome => outcome.map_err(io_error("remove", &entry.path()))?,
                }
            }
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn malformed(&self, name: &str, problem: &'static str) -> KeyStoreError {
        KeyStoreError::Malformed { location: self.file(name).display().to_string(), problem }
    }
}

/// Who may read a file.
#[derive(Clone, Copy)]
enum Access {
    Private,
    Public,
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

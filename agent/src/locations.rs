//! Where the agent keeps things.

use std::fs::{self, File};
use std::path::{self, Path, PathBuf};

use crate::cert_store::CertStore;
use crate::credentials::Credentials;
use crate::durable::{SharedDisk, SystemDisk};
use crate::failure::Failure;

const SYSTEM_CERT_DIR: &str = "/var/lib/signalbeam-agent/certs";

/// The paths that the options, the environment and the home directory give.
#[derive(Clone, Debug)]
pub struct Locations {
    /// `credentials.json`.
    pub credentials: PathBuf,
    cert_dir: Option<PathBuf>,
    home: Option<PathBuf>,
    disk: SharedDisk,
}

impl Locations {
    /// Chooses the credentials file: the option, or `~/.signalbeam/credentials.json`.
    ///
    /// # Errors
    /// When there is neither option nor home directory.
    pub fn new(
        credentials: Option<PathBuf>,
        cert_dir: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        // Other programs read the paths that are recorded, from other working directories.
        let absolute = |path: PathBuf| path::absolute(&path).unwrap_or(path);
        let home = home.map(|home| absolute(home).join(".signalbeam"));
        let credentials =
            credentials.map(absolute).or_else(|| home.as_ref().map(|home| home.join("credentials.json"))).ok_or_else(
                || Failure::Usage("no home directory is known: give --credentials and --cert-dir".to_owned()),
            )?;
        Ok(Self { credentials, cert_dir: cert_dir.map(absolute), home, disk: SystemDisk::shared() })
    }

    /// The same places on another disk.
    #[must_use]
    pub fn with_disk(self, disk: SharedDisk) -> Self {
        Self { disk, ..self }
    }

    /// The disk that all is kept on.
    pub fn disk(&self) -> &SharedDisk {
        &self.disk
    }

    /// The certificate directory: the option, else where the credentials say, else where certificates are, else the system's
    /// directory if it can be written, else the one in the home directory.
    ///
    /// # Errors
    /// When none of them can be used.
    pub fn cert_store(&self, credentials: Option<&Credentials>) -> Result<CertStore, Failure> {
        let recorded = credentials
            .and_then(|credentials| credentials.certificate.as_ref())
            .and_then(|record| record.certificate_path.parent());
        if let Some(dir) = self.cert_dir.as_deref().or(recorded) {
            return Ok(self.store_in(dir));
        }
        let candidates: Vec<PathBuf> = std::iter::once(PathBuf::from(SYSTEM_CERT_DIR))
            .chain(self.home.as_ref().map(|home| home.join("certs")))
            .collect();
        candidates
            .iter()
            .find(|dir| CertStore::new((*dir).clone()).is_in_use())
            .or_else(|| candidates.iter().find(|dir| can_be_written(dir)))
            // On a disk that is full or read-only there is nothing to read there either, and the API key must do.
            .or_else(|| credentials.and(candidates.last()))
            .map(|dir| self.store_in(dir))
            .ok_or_else(|| Failure::Usage(format!("{SYSTEM_CERT_DIR} cannot be written: give --cert-dir")))
    }

    fn store_in(&self, dir: &Path) -> CertStore {
        CertStore::on(self.disk.clone(), dir.to_owned())
    }
}

/// Asks the system by doing: permissions, read-only mounts and quotas all count.
fn can_be_written(dir: &Path) -> bool {
    let probe = dir.join(".write-probe");
    fs::create_dir_all(dir).is_ok() && File::create(&probe).is_ok() && fs::remove_file(&probe).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_win_over_the_home_directory() {
        let given = Locations::new(Some("/c.json".into()), Some("/certs".into()), Some("/home/d".into())).unwrap();
        assert_eq!(given.credentials, Path::new("/c.json"));
        assert_eq!(given.cert_store(None).unwrap().dir(), Path::new("/certs"));
        let default = Locations::new(None, None, Some("/home/d".into())).unwrap();
        assert_eq!(default.credentials, Path::new("/home/d/.signalbeam/credentials.json"));
        assert!(matches!(Locations::new(None, None, None), Err(Failure::Usage(_))));
    }

    #[test]
    fn relative_paths_are_made_absolute() {
        let given = Locations::new(Some("c.json".into()), Some("certs".into()), None).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(given.credentials, here.join("c.json"));
        assert_eq!(given.cert_store(None).unwrap().dir(), here.join("certs"));
    }

    #[test]
    fn a_directory_below_a_file_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!can_be_written(&dir.path().join("file/certs")));
        assert!(can_be_written(&dir.path().join("certs")));
        assert_eq!(fs::read_dir(dir.path().join("certs")).unwrap().count(), 0);
    }
}

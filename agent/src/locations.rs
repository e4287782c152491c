//! Where the agent keeps things.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cert_store::CertStore;
use crate::credentials::Credentials;
use crate::failure::Failure;

const SYSTEM_CERT_DIR: &str = "/var/lib/signalbeam-agent/certs";

/// The paths that the options, the environment and the home directory give.
#[derive(Clone, Debug)]
pub struct Locations {
    /// `credentials.json`.
    pub credentials: PathBuf,
    cert_dir: Option<PathBuf>,
    home: Option<PathBuf>,
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
        let home = home.map(|home| home.join(".signalbeam"));
        let credentials =
            credentials.or_else(|| home.as_ref().map(|home| home.join("credentials.json"))).ok_or_else(|| {
                Failure::Usage("no home directory is known: give --credentials and --cert-dir".to_owned())
            })?;
        Ok(Self { credentials, cert_dir, home })
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
            return Ok(CertStore::new(dir.to_owned()));
        }
        let candidates: Vec<PathBuf> = std::iter::once(PathBuf::from(SYSTEM_CERT_DIR))
            .chain(self.home.as_ref().map(|home| home.join("certs")))
            .collect();
        candidates
            .iter()
            .find(|dir| CertStore::new((*dir).clone()).is_in_use())
            .or_else(|| candidates.iter().find(|dir| can_be_written(dir)))
            .map(|dir| CertStore::new(dir.clone()))
            .ok_or_else(|| Failure::Usage(format!("{SYSTEM_CERT_DIR} cannot be written: give --cert-dir")))
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
    fn a_directory_below_a_file_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!can_be_written(&dir.path().join("file/certs")));
        assert!(can_be_written(&dir.path().join("certs")));
        assert_eq!(fs::read_dir(dir.path().join("certs")).unwrap().count(), 0);
    }
}

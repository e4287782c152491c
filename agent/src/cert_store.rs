//! The certificate directory: certificate, private key and CA certificate, replaced together or not at all.
//!
//! ```text
//! client-cert.pem -> current/client-cert.pem     (links that never change)
//! client-key.pem  -> current/client-key.pem
//! ca-cert.pem     -> current/ca-cert.pem
//! current         -> generations/00000002        (replaced by one rename)
//! generations/00000002/{client-cert.pem, client-key.pem, ca-cert.pem}
//! pending/renew-{serial}.pem, pending/issue.pem  (keys whose certificate is on its way)
//! hooks-done                                     (for which installation the hooks succeeded)
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::certificate::{CertificateFault, KeyedCertificate, fingerprint, generate_key, read_chain};
use crate::credentials::CertificateRecord;
use crate::durable::{DiskError, PRIVATE_FILE, PUBLIC_FILE, SharedDisk, Step, SystemDisk, perform_all, replace_file};
use crate::failure::Failure;
use crate::secret::Secret;

const CERTIFICATE: &str = "client-cert.pem";
const PRIVATE_KEY: &str = "client-key.pem";
const CA_CERTIFICATE: &str = "ca-cert.pem";
const CURRENT: &str = "current";
const CURRENT_NEW: &str = "current.new";
const GENERATIONS: &str = "generations";
const PENDING: &str = "pending";
const HOOKS_DONE: &str = "hooks-done";

/// The three files of the spec, which belong together.
#[derive(Debug)]
pub struct Installation {
    /// The device's certificate and key.
    pub identity: KeyedCertificate,
    /// The CA certificates that the server vouches for, in PEM.
    pub ca_pem: String,
}

impl Installation {
    /// Tells this installation from every other: another certificate or another set of CAs gives another digest.
    pub fn digest(&self) -> String {
        let both = [self.identity.certificate_pem(), &self.ca_pem].join("\n");
        fingerprint(both.as_bytes())
    }
}

/// What a pending key is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// A certificate issued anew.
    Issue,
    /// The successor of the certificate with this serial number.
    Renewal(&'a str),
}

/// A directory with at most one installation in force.
#[derive(Clone, Debug)]
pub struct CertStore {
    dir: PathBuf,
    disk: SharedDisk,
}

impl CertStore {
    /// A store in this directory, which need not exist yet.
    pub fn new(dir: PathBuf) -> Self {
        Self::on(SystemDisk::shared(), dir)
    }

    /// As [`Self::new`], on another disk.
    pub fn on(disk: SharedDisk, dir: PathBuf) -> Self {
        Self { dir, disk }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether an installation is in force in this directory.
    pub fn is_in_use(&self) -> bool {
        self.dir.join(CURRENT).is_symlink()
    }

    /// Reads the installation in force; nothing where there is none.
    ///
    /// # Errors
    /// When the files cannot be read or do not belong together.
    pub fn installed(&self) -> Result<Option<Installation>, Failure> {
        // The link is followed once, so that a replacement in between cannot mix two generations.
        let Some(generation) = self.current_generation()? else { return Ok(None) };
        let read = |name: &str| {
            let path = generation.join(name);
            fs::read_to_string(&path).map_err(|source| DiskError::new("read", &path, source))
        };
        let ca_pem = read(CA_CERTIFICATE)?;
        let identity = KeyedCertificate::new(read(CERTIFICATE)?, Secret::new(read(PRIVATE_KEY)?))
            .map_err(|fault| unusable(&generation, fault))?;
        Ok(Some(Installation { identity, ca_pem }))
    }

    /// Puts an installation in force. What it replaces stays until [`Self::confirm`].
    ///
    /// # Errors
    /// When the disk refuses; the former installation then stays in force.
    pub fn install(&self, new: &Installation) -> Result<CertificateRecord, Failure> {
        read_chain(new.ca_pem.as_bytes())
            .map_err(|fault| Failure::Certificate { what: "the CA certificate in the answer".to_owned(), fault })?;
        perform_all(&*self.disk, &self.install_steps(new)?)?;
        Ok(self.record(new))
    }

    /// What the credentials file says of an installation.
    pub fn record(&self, installation: &Installation) -> CertificateRecord {
        let info = installation.identity.info();
        CertificateRecord {
            serial_number: info.serial_number.clone(),
            expires_at: info.not_after,
            certificate_path: self.dir.join(CERTIFICATE),
            private_key_path: self.dir.join(PRIVATE_KEY),
            ca_certificate_path: self.dir.join(CA_CERTIFICATE),
        }
    }

    /// The key for a purpose: the one of an attempt whose answer was lost, or a new one that is on disk before it returns.
    ///
    /// # Errors
    /// When the disk or the random source fails.
    pub fn pending_key(&self, purpose: Purpose<'_>) -> Result<Secret, Failure> {
        if let Some(key) = self.stored_pending_key(purpose)? {
            return Ok(key);
        }
        let key = generate_key().map_err(|error| Failure::system("cannot make a private key", error))?;
        let steps = replace_file(&self.pending_path(purpose), key.expose().as_bytes().to_vec(), PRIVATE_FILE);
        perform_all(&*self.disk, &steps)?;
        Ok(key)
    }

    /// Whether the answer to an attempt for this purpose is outstanding.
    pub fn is_pending(&self, purpose: Purpose<'_>) -> bool {
        self.pending_path(purpose).is_file()
    }

    /// Forgets all pending keys.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget_pending(&self) -> Result<(), DiskError> {
        perform_all(&*self.disk, &[Step::RemoveTree(self.dir.join(PENDING))])
    }

    /// Forgets the pending key of one purpose.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget_pending_key(&self, purpose: Purpose<'_>) -> Result<(), DiskError> {
        perform_all(&*self.disk, &[Step::Remove(self.pending_path(purpose))])
    }

    /// The installation in force has authenticated: removes everything before it and what attempts cut short left behind.
    ///
    /// # Errors
    /// When the disk refuses; the installation in force is not touched.
    pub fn confirm(&self) -> Result<(), DiskError> {
        let Some(current) = self.current_generation()? else { return Ok(()) };
        let generations = self.dir.join(GENERATIONS);
        let steps: Vec<Step> = self
            .generation_numbers()?
            .into_iter()
            .map(|number| generations.join(generation_name(number)))
            .filter(|path| *path != current)
            .map(Step::RemoveTree)
            .collect();
        perform_all(&*self.disk, &steps)
    }

    /// For which installation the hooks after a renewal have done their work, as [`Installation::digest`] tells it.
    pub fn hooks_done(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(HOOKS_DONE)).ok()
    }

    /// Remembers that they have.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remember_hooks_done(&self, digest: &str) -> Result<(), DiskError> {
        let steps = replace_file(&self.dir.join(HOOKS_DONE), digest.as_bytes().to_vec(), PUBLIC_FILE);
        perform_all(&*self.disk, &steps)
    }

    fn stored_pending_key(&self, purpose: Purpose<'_>) -> Result<Option<Secret>, Failure> {
        let path = self.pending_path(purpose);
        match fs::read_to_string(&path) {
            Ok(pem) => Ok(Some(Secret::new(pem))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DiskError::new("read", &path, source).into()),
        }
    }

    fn pending_path(&self, purpose: Purpose<'_>) -> PathBuf {
        let name = match purpose {
            Purpose::Issue => "issue.pem".to_owned(),
            Purpose::Renewal(serial) => format!("renew-{serial}.pem"),
        };
        self.dir.join(PENDING).join(name)
    }

    fn current_generation(&self) -> Result<Option<PathBuf>, DiskError> {
        let link = self.dir.join(CURRENT);
        match fs::read_link(&link) {
            Ok(target) => Ok(Some(self.dir.join(target))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DiskError::new("read", &link, source)),
        }
    }

    /// All steps of an installation; the rename of `current` is the instant at which it takes effect.
    fn install_steps(&self, new: &Installation) -> Result<Vec<Step>, Failure> {
        let generations = self.dir.join(GENERATIONS);
        let existing = self.generation_numbers()?;
        let number = existing.last().map_or(1, |last| last + 1);
        let name = generation_name(number);
        let generation = generations.join(&name);
        let write = |file: &str, text: &str, mode| Step::Write {
            path: generation.join(file),
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            mode,
        };
        let mut steps = vec![
            Step::MakeDir(generation.clone()),
            write(CERTIFICATE, new.identity.certificate_pem(), PUBLIC_FILE),
            write(PRIVATE_KEY, new.identity.key_pem().expose(), PRIVATE_FILE),
            write(CA_CERTIFICATE, &new.ca_pem, PUBLIC_FILE),
            Step::SyncDir(generation.clone()),
        ];
        steps.extend(self.missing_links()?);
        steps.extend([
            Step::Remove(self.dir.join(CURRENT_NEW)),
            Step::Link { target: Path::new(GENERATIONS).join(name), path: self.dir.join(CURRENT_NEW) },
            Step::SyncDir(self.dir.clone()),
            Step::Rename { from: self.dir.join(CURRENT_NEW), to: self.dir.join(CURRENT) },
            Step::SyncDir(self.dir.clone()),
        ]);
        // The first on disk is the last that authenticated, unless it is in force still.
        let replaced = self.current_generation()?;
        let obsolete = existing.into_iter().skip(1).map(|number| generations.join(generation_name(number)));
        steps.extend(obsolete.filter(|path| Some(path) != replaced.as_ref()).map(Step::RemoveTree));
        Ok(steps)
    }

    /// The fixed links are made before the first installation takes effect, so that all three names begin to lead somewhere
    /// in the same instant.
    fn missing_links(&self) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        for name in [CERTIFICATE, PRIVATE_KEY, CA_CERTIFICATE] {
            let path = self.dir.join(name);
            let target = Path::new(CURRENT).join(name);
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => steps.push(Step::Link { target, path }),
                Err(source) => return Err(DiskError::new("read", &path, source).into()),
                Ok(_) if fs::read_link(&path).is_ok_and(|found| found == target) => {}
                Ok(_) => {
                    return Err(Failure::Usage(format!(
                        "{} was not made by this program: move it away or choose another --cert-dir",
                        path.display()
                    )));
                }
            }
        }
        Ok(steps)
    }

    /// The numbers of the generations on disk, whole or cut short, ascending.
    fn generation_numbers(&self) -> Result<Vec<u32>, DiskError> {
        let path = self.dir.join(GENERATIONS);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| DiskError::new("read", &path, source))?,
        };
        let mut numbers: Vec<u32> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

fn generation_name(number: u32) -> String {
    format!("{number:08}")
}

fn unusable(generation: &Path, fault: CertificateFault) -> Failure {
    Failure::Certificate { what: format!("the installed certificate in {}", generation.display()), fault }
}

#[cfg(test)]
mod tests;

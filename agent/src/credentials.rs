//! The device's identity on disk, `credentials.json`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::durable::{
    DiskError, PRIVATE_FILE, SharedDisk, Step, SystemDisk, parent_of, perform, perform_all, replace_file,
};
use crate::failure::Failure;
use crate::secret::{ApiKey, Secret, serialize_api_key, serialize_exposed, serialize_exposed_option, serialize_key};
use crate::server_url::ServerUrl;
use crate::trust::CaFingerprint;

/// Where the device stands with the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DeviceStatus {
    /// The registration was begun here; the server's answer is not known.
    Unregistered,
    /// Waits for an administrator.
    Pending,
    /// May authenticate.
    Approved,
    /// Was turned down.
    Rejected,
    /// Is shut out for a while.
    Suspended,
    /// Is shut out for good.
    Decommissioned,
    /// A status of a newer server; the device may not authenticate as far as we know.
    Other(String),
}

impl From<String> for DeviceStatus {
    fn from(text: String) -> Self {
        match text.as_str() {
            "Unregistered" => Self::Unregistered,
            "Pending" => Self::Pending,
            "Approved" => Self::Approved,
            "Rejected" => Self::Rejected,
            "Suspended" => Self::Suspended,
            "Decommissioned" => Self::Decommissioned,
            _ => Self::Other(text),
        }
    }
}

impl DeviceStatus {
    /// The word that the server uses.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unregistered => "Unregistered",
            Self::Pending => "Pending",
            Self::Approved => "Approved",
            Self::Rejected => "Rejected",
            Self::Suspended => "Suspended",
            Self::Decommissioned => "Decommissioned",
            Self::Other(text) => text,
        }
    }
}

impl From<DeviceStatus> for String {
    fn from(status: DeviceStatus) -> Self {
        status.as_str().to_owned()
    }
}

/// Where the installed certificate is and until when it lasts. The certificate itself is the truth; this is for people and
/// other programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRecord {
    /// Lower-case hex.
    pub serial_number: String,
    /// End of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// `client-cert.pem`.
    pub certificate_path: PathBuf,
    /// `client-key.pem`.
    pub private_key_path: PathBuf,
    /// `ca-cert.pem`.
    pub ca_certificate_path: PathBuf,
}

/// An API key that is stored and was not used yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextApiKey {
    /// The key.
    #[serde(serialize_with = "serialize_key")]
    pub api_key: ApiKey,
    /// Its end.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When it was obtained, by the server's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub obtained_at: OffsetDateTime,
}

/// What `credentials.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Given by the server; absent while the registration's answer is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Uuid>,
    /// The device's tenant.
    pub tenant_id: Uuid,
    /// The device's label.
    pub device_name: String,
    /// The server.
    pub cloud_url: ServerUrl,
    /// The last known status.
    pub status: DeviceStatus,
    /// Proves that this device registered; drawn here before anything is sent.
    #[serde(serialize_with = "serialize_exposed")]
    pub claim_secret: Secret,
    /// The token of a registration whose answer is not known, so that a repeat can be told from another registration.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_exposed_option")]
    pub registration_token: Option<Secret>,
    /// The device's API key, once claimed.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_api_key")]
    pub api_key: Option<ApiKey>,
    /// The API key's end.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub api_key_expires_at: Option<OffsetDateTime>,
    /// When the API key was obtained, by the server's clock; with its end, how long it lives.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub api_key_obtained_at: Option<OffsetDateTime>,
    /// The successor of the API key that this device asked for, until it has authenticated. The key before lives until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_api_key: Option<NextApiKey>,
    /// The pinned CA; absent where the system's roots are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_fingerprint: Option<CaFingerprint>,
    /// The installed certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateRecord>,
}

/// The credentials file, held against other processes of this program until it is dropped.
#[derive(Debug)]
pub struct CredentialsFile {
    path: PathBuf,
    disk: SharedDisk,
    _lock: File,
}

impl CredentialsFile {
    /// Waits for other processes that use the file, each of which is done within its network timeouts.
    ///
    /// # Errors
    /// When the directory cannot be made or the lock file not be opened.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        Self::open_on(SystemDisk::shared(), path)
    }

    /// As [`Self::open`], on another disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: SharedDisk, path: &Path) -> Result<Self, DiskError> {
        let parent = parent_of(path);
        if !parent.is_dir() {
            perform(&*disk, &Step::MakeDir(parent))?;
        }
        let lock_path = with_suffix(path, ".lock");
        let lock = open_lock(&lock_path, path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| DiskError::new("lock", &lock_path, source))?;
        Ok(Self { path: path.to_owned(), disk, _lock: lock })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; nothing where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is damaged. It is never altered by that.
    pub fn load(&self) -> Result<Option<Credentials>, Failure> {
        load(&self.path)
    }

    /// Replaces the file's content, durably and in one instant. What is there already is not written again.
    ///
    /// # Errors
    /// When the disk refuses; the old content then stands.
    pub fn save(&self, credentials: &Credentials) -> Result<(), Failure> {
        self.save_at(&self.path, credentials)
    }

    /// Where a registration that is to replace an identity in force is written down until it has succeeded.
    pub fn attempt_path(&self) -> PathBuf {
        with_suffix(&self.path, ".registering")
    }

    /// Reads the registration that [`Self::save_attempt`] wrote down; nothing where there is none.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_attempt(&self) -> Result<Option<Credentials>, Failure> {
        load(&self.attempt_path())
    }

    /// Writes a registration down beside the identity in force.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save_attempt(&self, credentials: &Credentials) -> Result<(), Failure> {
        self.save_at(&self.attempt_path(), credentials)
    }

    /// Removes the registration that [`Self::save_attempt`] wrote down, if there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget_attempt(&self) -> Result<(), Failure> {
        let path = self.attempt_path();
        if !path.exists() {
            return Ok(());
        }
        Ok(perform_all(&*self.disk, &[Step::Remove(path), Step::SyncDir(parent_of(&self.path))])?)
    }

    /// Keeps a copy of an identity that another one is about to replace; tells where. The name carries the device's id, so
    /// that there is one copy of each identity and none overwrites another's.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep_former(&self, device_id: Uuid, former: &Credentials) -> Result<PathBuf, Failure> {
        let path = self.path.with_file_name(format!("credentials-{device_id}.json"));
        self.save_at(&path, former)?;
        Ok(path)
    }

    fn save_at(&self, path: &Path, credentials: &Credentials) -> Result<(), Failure> {
        let bytes = to_json(credentials)?;
        if fs::read(path).is_ok_and(|stored| Zeroizing::new(stored) == bytes) {
            return Ok(());
        }
        Ok(perform_all(&*self.disk, &replace_file(path, bytes.to_vec(), PRIVATE_FILE))?)
    }

    /// Writes the same content once more, before the server is asked for a secret that it shows once: where that fails,
    /// so would the storing of the secret.
    ///
    /// # Errors
    /// When the disk refuses; the content still stands.
    pub fn rehearse(&self, credentials: &Credentials) -> Result<(), Failure> {
        let bytes = to_json(credentials)?;
        Ok(perform_all(&*self.disk, &replace_file(&self.path, bytes.to_vec(), PRIVATE_FILE))?)
    }

    /// The disk that the file is on.
    pub fn disk(&self) -> &SharedDisk {
        &self.disk
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn load(path: &Path) -> Result<Option<Credentials>, Failure> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        warn!(path = %path.display(), "other users can read the credentials; run 'chmod 600' on the file");
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DiskError::new("read", path, source).into()),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Failure::CredentialsDamaged {
        path: path.to_owned(),
        // serde_json's own words may quote the value, which may be a secret.
        reason: format!("line {}, column {}: {:?} error", error.line(), error.column(), error.classify()),
    })
}

fn to_json(credentials: &Credentials) -> Result<Zeroizing<Vec<u8>>, Failure> {
    serde_json::to_vec_pretty(credentials)
        .map(Zeroizing::new)
        .map_err(|error| Failure::system("cannot write the credentials as JSON", error))
}

/// Where nothing can be written, the lock file of a former run will do, or the credentials themselves, which nobody replaces
/// then.
fn open_lock(lock_path: &Path, credentials: &Path) -> io::Result<File> {
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE_FILE).open(lock_path);
    match open {
        Err(error) if cannot_be_written(&error) => {
            File::open(lock_path).or_else(|_| File::open(credentials)).map_err(|_| error)
        }
        other => other,
    }
}

fn cannot_be_written(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::draw_claim_secret;

    fn credentials() -> Credentials {
        Credentials {
            device_id: Some(Uuid::from_u128(1)),
            tenant_id: Uuid::from_u128(2),
            device_name: "warehouse-01".to_owned(),
            cloud_url: "https://localhost:8443".parse().unwrap(),
            status: DeviceStatus::Pending,
            claim_secret: draw_claim_secret().unwrap(),
            registration_token: None,
            api_key: ApiKey::parse(&format!("sb_device_a1b2c3d4_{}", "A".repeat(43))),
            api_key_expires_at: Some(time::macros::datetime!(2026-02-03 04:05:06 UTC)),
            api_key_obtained_at: None,
            next_api_key: Some(NextApiKey {
                api_key: ApiKey::parse(&format!("sb_device_nextnext_{}", "A".repeat(43))).unwrap(),
                expires_at: time::macros::datetime!(2026-05-03 04:05:06 UTC),
                obtained_at: time::macros::datetime!(2026-02-02 04:05:06 UTC),
            }),
            ca_fingerprint: Some("AB".repeat(32).parse().unwrap()),
            certificate: None,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_only_the_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home/.signalbeam/credentials.json");
        let file = CredentialsFile::open(&path).unwrap();
        assert!(file.load().unwrap().is_none());
        let saved = credentials();
        file.save(&saved).unwrap();
        let loaded = file.load().unwrap().unwrap();
        assert_eq!(serde_json::to_value(&loaded).unwrap(), serde_json::to_value(&saved).unwrap());
        assert_eq!(loaded.claim_secret, saved.claim_secret);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_file_has_the_documented_names() {
        let value = serde_json::to_value(credentials()).unwrap();
        let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        for name in
            ["deviceId", "tenantId", "deviceName", "cloudUrl", "status", "claimSecret", "apiKey", "apiKeyExpiresAt"]
        {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!(value["apiKeyExpiresAt"], "2026-02-03T04:05:06Z");
    }

    #[test]
    fn a_file_cut_anywhere_is_reported_left_alone_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let file = CredentialsFile::open(&dir.path().join("credentials.json")).unwrap();
        let whole = serde_json::to_vec_pretty(&credentials()).unwrap();
        for length in 0..whole.len() {
            fs::write(file.path(), &whole[..length]).unwrap();
            let Err(failure @ Failure::CredentialsDamaged { .. }) = file.load() else { panic!("cut at {length}") };
            assert!(!failure.to_string().contains("AAAA"), "{failure}");
            assert_eq!(fs::read(file.path()).unwrap().len(), length);
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let credentials = credentials();
        let printed = format!("{credentials:?}");
        assert!(!printed.contains("AAAA") && !printed.contains(credentials.claim_secret.expose()), "{printed}");
    }
}

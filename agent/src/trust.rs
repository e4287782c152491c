//! Which server the agent believes: a pinned CA or the system's roots.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::anchors::to_pem;
use crate::api::{CA_PATH, PEM_TYPE};
use crate::certificate::{fingerprint, read_chain};
use crate::durable::{Disk, DiskError, PUBLIC_FILE, perform_all, replace_file};
use crate::server_url::ServerUrl;
use crate::transport::{CallError, Client};

/// Why there is no trust to start from.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file given as `--ca-cert` holds no CA certificate.
    #[error("{} holds no usable PEM certificate", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
    },
    /// What the server presents as its CA is not the one asked for.
    #[error("the CA that {server} shows has another fingerprint than {expected}: {found}")]
    OtherFingerprint {
        /// Who was asked.
        server: ServerUrl,
        /// The fingerprint that was given.
        expected: CaFingerprint,
        /// The fingerprint, or a description, of what came.
        found: String,
    },
    /// The copy of the CA certificate that a former registration left is missing or altered.
    #[error("the stored CA certificate {} is missing or altered", path.display())]
    CopyDamaged {
        /// The copy.
        path: PathBuf,
    },
    /// The system offers no root certificates.
    #[error("this system has no root certificates")]
    NoSystemRoots,
}

impl TrustError {
    /// What to do next.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => "Give --ca-cert a PEM file with the server's CA certificate.",
            Self::OtherFingerprint { .. } => {
                "Compare --ca-fingerprint with what the administrator gave. If it is right, something stands between this device and the server, such as a captive portal."
            }
            Self::CopyDamaged { .. } => "Put the server's CA certificate back at that path.",
            Self::NoSystemRoots => {
                "Install the system's CA certificates, or register with --ca-cert or --ca-fingerprint."
            }
        }
    }
}

/// A CA certificate's SHA-256 over its DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaFingerprint(String);

impl CaFingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(fingerprint(certificate))
    }

    /// Where the copy of this CA's certificate stands, beside the credentials file. The name carries the fingerprint, so that
    /// a registration at another server never overwrites the trust of the one before.
    pub fn copy_path(&self, credentials: &Path) -> PathBuf {
        let short = self.0["SHA256:".len()..][..16].to_lowercase();
        credentials.with_file_name(format!("server-ca-{short}.pem"))
    }
}

impl fmt::Display for CaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CaFingerprint {
    type Err = String;

    /// `SHA256:` and 64 hex digits, upper or lower case, with or without colons between the bytes.
    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_uppercase();
        let digits: String =
            upper.strip_prefix("SHA256:").unwrap_or(&upper).chars().filter(|character| *character != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("not a SHA-256 fingerprint (SHA256: and 64 hex digits)".to_owned());
        }
        Ok(Self(format!("SHA256:{digits}")))
    }
}

impl Serialize for CaFingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CaFingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The certificates that a server's chain must end in.
#[derive(Clone, Debug)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// The DER certificates.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// The roots of a CA file that the user gave, with the fingerprint and PEM to remember it by.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate that can be a root.
    pub fn from_file(path: &Path) -> Result<PinnedCa, TrustError> {
        fs::read_to_string(path)
            .ok()
            .and_then(PinnedCa::from_pem)
            .ok_or_else(|| TrustError::Unusable { path: path.to_owned() })
    }

    /// The roots of this machine.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_system() -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() { Err(TrustError::NoSystemRoots) } else { Ok(Self(found)) }
    }
}

/// A CA that was chosen at registration.
#[derive(Debug)]
pub struct PinnedCa {
    pem: String,
    fingerprint: CaFingerprint,
    roots: Roots,
}

impl PinnedCa {
    /// Fetches the CA certificate from a server that nobody vouches for yet and takes it only if it has the fingerprint.
    /// Nothing secret is sent.
    ///
    /// # Errors
    /// When the server is not reached, or shows something else.
    pub fn fetch(server: &ServerUrl, expected: &CaFingerprint) -> Result<Self, FetchError> {
        let pem = Client::unverified(server).fetch_text(CA_PATH, PEM_TYPE)?;
        let other = |found| TrustError::OtherFingerprint { server: server.clone(), expected: expected.clone(), found };
        let chain = read_chain(pem.as_bytes()).map_err(|fault| other(fault.to_string()))?;
        Self::from_unverified(&chain, expected)
            .ok_or_else(|| other(CaFingerprint::of(&chain[0]).to_string()))
            .map_err(FetchError::from)
    }

    /// The copy that an earlier registration stored.
    ///
    /// # Errors
    /// When it is missing or is not the certificate that was stored.
    pub fn stored(credentials: &Path, expected: &CaFingerprint) -> Result<Self, TrustError> {
        let path = expected.copy_path(credentials);
        fs::read_to_string(&path)
            .ok()
            .and_then(Self::from_pem)
            .filter(|found| found.fingerprint == *expected)
            .ok_or(TrustError::CopyDamaged { path })
    }

    /// Stores the copy beside the credentials file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn store(&self, disk: &dyn Disk, credentials: &Path) -> Result<(), DiskError> {
        let path = self.fingerprint.copy_path(credentials);
        perform_all(disk, &replace_file(&path, self.pem.clone().into_bytes(), PUBLIC_FILE))
    }

    /// The same pinned CA with these roots; nothing where the first is not the pinned one, or one cannot be a root.
    pub fn with_roots(&self, roots: &[CertificateDer<'_>]) -> Option<Self> {
        let pem: String = roots.iter().map(to_pem).collect();
        Self::from_pem(pem).filter(|found| found.fingerprint == self.fingerprint)
    }

    /// The fingerprint to remember it by.
    pub fn fingerprint(&self) -> &CaFingerprint {
        &self.fingerprint
    }

    /// The roots to verify the server with.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// All certificates of a text become roots; the fingerprint is the first one's.
    fn from_pem(pem: String) -> Option<Self> {
        let roots = read_chain(pem.as_bytes()).ok()?;
        let mut anchors = RootCertStore::empty();
        roots.iter().try_for_each(|der| anchors.add(der.clone())).ok()?;
        Some(Self { pem, fingerprint: CaFingerprint::of(&roots[0]), roots: Roots(roots) })
    }

    /// Of a text that nobody vouches for, only the certificate with the fingerprint becomes a root.
    fn from_unverified(chain: &[CertificateDer<'_>], expected: &CaFingerprint) -> Option<Self> {
        chain.iter().find(|der| CaFingerprint::of(der) == *expected).and_then(|der| Self::from_pem(to_pem(der)))
    }
}

/// Why a CA could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server was not reached, or gave no certificate.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The server gave another certificate.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::SystemDisk;

    #[test]
    fn a_fingerprint_is_read_in_every_common_form() {
        let plain = "AB".repeat(32);
        let colons = vec!["ab"; 32].join(":");
        for text in [format!("SHA256:{plain}"), format!("sha256:{}", plain.to_lowercase()), colons, plain.clone()] {
            assert_eq!(text.parse::<CaFingerprint>().unwrap().to_string(), format!("SHA256:{plain}"), "{text}");
        }
        for wrong in ["", "SHA256:", "SHA256:AB", &"G".repeat(64)] {
            assert!(wrong.parse::<CaFingerprint>().is_err(), "{wrong}");
        }
    }

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_stored_copy_that_was_exchanged_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials.json");
        let bundle = PinnedCa::from_pem(pem() + &pem()).unwrap();
        bundle.store(&SystemDisk, &credentials).unwrap();
        let stored = PinnedCa::stored(&credentials, bundle.fingerprint()).unwrap();
        assert_eq!(stored.roots().certificates(), bundle.roots().certificates(), "all that --ca-cert gave");
        fs::write(bundle.fingerprint().copy_path(&credentials), pem()).unwrap();
        assert!(matches!(PinnedCa::stored(&credentials, bundle.fingerprint()), Err(TrustError::CopyDamaged { .. })));
    }

    #[test]
    fn of_what_a_stranger_shows_only_the_pinned_certificate_is_taken() {
        let chain = read_chain((pem() + &pem()).as_bytes()).unwrap();
        let pinned = PinnedCa::from_unverified(&chain, &CaFingerprint::of(&chain[1])).unwrap();
        assert_eq!(pinned.roots().certificates(), &chain[1..]);
        assert_eq!(read_chain(pinned.pem.as_bytes()).unwrap(), &chain[1..], "nor is another one stored");
        assert!(PinnedCa::from_unverified(&chain[..1], &CaFingerprint::of(&chain[1])).is_none());
    }
}

//! The server under test and whom to believe.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::server_url::ServerUrl;
use crate::trust::{CaFingerprint, FetchError, PinnedCa, Roots};

/// A server and the way in which it is trusted.
#[derive(Debug)]
pub struct Target {
    server: ServerUrl,
    ca_cert: Option<PathBuf>,
    ca_fingerprint: Option<CaFingerprint>,
}

impl Target {
    /// Trust by a CA file, by a CA's fingerprint, or by the system's roots.
    pub fn new(server: ServerUrl, ca_cert: Option<PathBuf>, ca_fingerprint: Option<CaFingerprint>) -> Self {
        Self { server, ca_cert, ca_fingerprint }
    }

    /// Where the server is.
    pub fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// The CA file, if one was given.
    pub fn ca_cert(&self) -> Option<&PathBuf> {
        self.ca_cert.as_ref()
    }

    /// The CA's fingerprint, if one was given.
    pub fn ca_fingerprint(&self) -> Option<&CaFingerprint> {
        self.ca_fingerprint.as_ref()
    }

    /// The roots that the server's chain must end in. A fingerprint fetches the CA.
    ///
    /// # Errors
    /// When the CA cannot be had or is another one.
    pub fn roots(&self) -> Result<Roots, Failure> {
        match (&self.ca_cert, &self.ca_fingerprint) {
            (Some(path), _) => Ok(Roots::from_file(path)?.roots().clone()),
            (None, Some(fingerprint)) => match PinnedCa::fetch(&self.server, fingerprint) {
                Ok(pinned) => Ok(pinned.roots().clone()),
                Err(FetchError::Call(error)) => Err(error.into()),
                Err(FetchError::Trust(error)) => Err(error.into()),
            },
            (None, None) => Ok(Roots::of_system()?),
        }
    }

    /// What curl needs to trust the same.
    pub fn curl_trust(&self) -> String {
        self.ca_cert.as_ref().map_or_else(String::new, |path| format!("--cacert {}", path.display()))
    }
}

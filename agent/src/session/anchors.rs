//! Whom the device believes beside the CA that it began with.

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tracing::info;

use super::Session;
use crate::anchors::{merge, to_pem};
use crate::api::{CA_PATH, PEM_TYPE};
use crate::cert_store::Installation;
use crate::certificate::read_chain;
use crate::failure::Failure;
use crate::trust::CaFingerprint;

impl Session {
    /// Asks the server, which the connection verifies, for the CAs that it vouches for, and believes them from now on.
    /// `ca-cert.pem` carries them too. True where the installation changed by that.
    ///
    /// # Errors
    /// When the server cannot be asked, shows no certificates, or the disk refuses.
    pub fn refresh_anchors(&mut self, now: OffsetDateTime) -> Result<bool, Failure> {
        let pem = self.client(None).fetch_text(CA_PATH, PEM_TYPE)?;
        self.believe(&pem, now)?;
        let Some(installed) = self.installed()? else { return Ok(false) };
        let known = certificates(&installed.ca_pem)?;
        let merged = merge(&known, &certificates(&pem)?, self.time(now));
        if merged == known {
            return Ok(false);
        }
        let ca_pem = merged.iter().map(to_pem).collect();
        self.certs.install(&Installation { ca_pem, ..installed })?;
        info!("ca-cert.pem has new CA certificates");
        Ok(true)
    }

    /// Adds CAs to the pinned one; where the system's roots are trusted there is nothing to add to.
    pub(super) fn believe(&mut self, pem: &str, now: OffsetDateTime) -> Result<(), Failure> {
        let Some(pinned) = &self.pinned else { return Ok(()) };
        let known = pinned.roots().certificates();
        let merged = merge(known, &certificates(pem)?, self.time(now));
        if merged == known {
            return Ok(());
        }
        // What cannot be a root is the server's mistake, and changes nothing.
        let Some(extended) = pinned.with_roots(&merged) else { return Ok(()) };
        extended.store(&**self.file.disk(), self.file.path())?;
        for der in merged.iter().filter(|der| !known.contains(der)) {
            info!(fingerprint = %CaFingerprint::of(der), "the server vouches for a further CA, which is trusted from now on");
        }
        self.roots = extended.roots().clone();
        self.pinned = Some(extended);
        Ok(())
    }

    /// A new installation whose CA file keeps what the one in force believed.
    pub(super) fn with_known_anchors(&self, new: Installation, now: OffsetDateTime) -> Result<Installation, Failure> {
        let Ok(Some(installed)) = self.installed() else { return Ok(new) };
        let offered = certificates(&new.ca_pem)?;
        let merged = merge(&offered, &certificates(&installed.ca_pem)?, self.time(now));
        let ca_pem = if merged == offered { new.ca_pem } else { merged.iter().map(to_pem).collect() };
        Ok(Installation { ca_pem, ..new })
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    read_chain(pem.as_bytes())
        .map_err(|fault| Failure::Certificate { what: "the CA certificates of the server".to_owned(), fault })
}

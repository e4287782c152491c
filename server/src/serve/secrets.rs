//! The server's own secrets: made at the first start, before the first event, and never again in silence.

use signalbeam_authn::AdminTokens;
use signalbeam_authn::admin::OidcTokens;
use signalbeam_authn::secrets::{KeyOctets, SecretKeeper};
use signalbeam_domain::Position;

use super::{ADMIN_KEY_FILE, MAC_KEY_FILE};
use crate::data_dir::{DataDir, DataDirError};

/// What the server signs and authenticates with.
pub(super) struct Secrets {
    admin: KeyOctets,
    mac: KeyOctets,
}

impl Secrets {
    /// Sees before anything is made that what exists can be used.
    ///
    /// # Errors
    /// [`DataDirError`]: whatever is wrong with a file.
    pub(super) fn check(data_dir: &DataDir) -> Result<(), DataDirError> {
        for name in [ADMIN_KEY_FILE, MAC_KEY_FILE] {
            if data_dir.join(name).exists() {
                data_dir.secret(name)?;
            }
        }
        Ok(())
    }

    /// Makes them before the first event: a log with events but without secrets is one that has lost them.
    ///
    /// # Errors
    /// [`DataDirError`]
    pub(super) fn make_for_new_log(data_dir: &DataDir, head: Position) -> Result<(), DataDirError> {
        if head == Position(0) { Self::obtain(data_dir, head).map(drop) } else { Ok(()) }
    }

    /// Judges and signs what admins show.
    pub(super) fn admin_tokens(&self, oidc: Option<OidcTokens>) -> AdminTokens {
        let built_in = AdminTokens::new(&self.admin);
        match oidc {
            Some(oidc) => built_in.with_oidc(oidc),
            None => built_in,
        }
    }

    /// Hashes and compares what devices show, on every processor.
    pub(super) fn keeper(&self, bcrypt_cost: u32) -> SecretKeeper {
        let slots = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        SecretKeeper::new(&self.mac, &[], bcrypt_cost, slots)
    }

    /// Reads them, and makes what is missing, with a word where a log of events shows that it was there.
    ///
    /// # Errors
    /// [`DataDirError`]
    pub(super) fn obtain(data_dir: &DataDir, head: Position) -> Result<Self, DataDirError> {
        let is_lost = |name| head > Position(0) && !data_dir.join(name).exists();
        if is_lost(ADMIN_KEY_FILE) {
            let path = data_dir.join(ADMIN_KEY_FILE);
            tracing::warn!(path = %path.display(), "missing, and made anew: admin tokens made before are refused");
        }
        if is_lost(MAC_KEY_FILE) {
            let path = data_dir.join(MAC_KEY_FILE);
            tracing::error!(
                path = %path.display(),
                "missing, and made anew: API keys and tokens made before are judged by bcrypt, slowly and within limits, until \
                 they are replaced; stop the server and put the old file back if you have it"
            );
        }
        Ok(Self { admin: data_dir.secret(ADMIN_KEY_FILE)?, mac: data_dir.secret(MAC_KEY_FILE)? })
    }
}

//! What opens a key store: a passphrase or a PIN.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use super::KeyStoreError;
use super::files::{self, Access};

/// A passphrase or PIN. Prints as `[redacted]`, cannot be serialised, and is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyStoreSecret(Zeroizing<String>);

impl KeyStoreSecret {
    /// Takes a text as it is.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Reads the first line of a file that only its owner may read, without the line's end.
    ///
    /// # Errors
    /// [`KeyStoreError`] where the file is absent, empty or open to others; the message names the file, never its
    /// contents.
    pub fn read(path: &Path) -> Result<Self, KeyStoreError> {
        let malformed = |problem| KeyStoreError::Malformed { location: path.display().to_string(), problem };
        let text = files::read(path, Access::Private)?.ok_or_else(|| malformed("this file does not exist"))?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(malformed("its first line is empty, where the passphrase or PIN belongs"));
        }
        Ok(Self::new(line.to_owned()))
    }

    /// The text. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyStoreSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyStoreSecret([redacted])")
    }
}

//! One key store for each of an installation's authorities: the first one, those that followed it, intermediates.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{CaKeyStore, FileKeyStore, KeyStoreError, KeyStoreSecret, MemoryKeyStore};
use crate::blocking::BlockingPool;

/// The most characters of a slot's name: with a label in front it still fits what tokens and vaults take.
const MAX_SLOT: usize = 32;

/// Which of an installation's authority keys is meant: `main`, or 1 to 32 characters of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySlot(String);

/// The text names no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key slot's name has 1 to 32 characters of a-z, 0-9 and `-`, the first one a letter")]
pub struct InvalidKeySlot;

impl KeySlot {
    /// The first authority's.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    /// Takes the text as it stands.
    ///
    /// # Errors
    /// [`InvalidKeySlot`] where it is anything else: a slot's name becomes part of a path.
    pub fn parse(text: &str) -> Result<Self, InvalidKeySlot> {
        let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let begins_well = text.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
        if begins_well && text.len() <= MAX_SLOT && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKeySlot)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the first authority's, whose places have no suffix.
    pub fn is_main(&self) -> bool {
        self.0 == "main"
    }
}

impl KeySlot {
    /// The name of a slot's things in a token or vault: the first authority's is `name` itself.
    pub(super) fn within(&self, name: &str) -> String {
        if self.is_main() { name.to_owned() } else { format!("{name}-{self}") }
    }
}

impl fmt::Display for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where all of an installation's authority keys live, each in a slot of its own.
pub trait CaKeyStores: fmt::Debug + Send + Sync {
    /// The store of one slot. Nothing is touched yet: whether something is there, [`CaKeyStore::load`] tells.
    ///
    /// # Errors
    /// [`KeyStoreError`] where the place cannot be named or prepared.
    fn open(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError>;
}

/// Keys in files: the main slot's in the folder itself, every other's in a folder of its name beneath.
#[derive(Debug, Clone)]
pub struct FileKeyStores {
    folder: PathBuf,
    passphrase: Option<KeyStoreSecret>,
    pool: BlockingPool,
}

impl FileKeyStores {
    /// Makes one on a folder, which need not exist yet. Computes and touches files in `pool` only.
    pub fn new(folder: impl Into<PathBuf>, pool: BlockingPool) -> Self {
        Self { folder: folder.into(), passphrase: None, pool }
    }

    /// The same with keys that are encrypted under a passphrase, see [`FileKeyStore::with_passphrase`].
    #[must_use]
    pub fn encrypted(self, passphrase: KeyStoreSecret) -> Self {
        Self { passphrase: Some(passphrase), ..self }
    }

    /// Where a slot's files are.
    pub fn folder(&self, slot: &KeySlot) -> PathBuf {
        if slot.is_main() { self.folder.clone() } else { self.folder.join(slot.as_str()) }
    }
}

impl FileKeyStores {
    /// The store of one slot, with what only files can do.
    pub fn file(&self, slot: &KeySlot) -> FileKeyStore {
        FileKeyStore::with_passphrase(self.folder(slot), self.passphrase.clone(), self.pool.clone())
    }
}

impl CaKeyStores for FileKeyStores {
    fn open(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError> {
        Ok(Arc::new(self.file(slot)))
    }
}

/// Keys that are forgotten with the last clone.
#[derive(Debug, Clone)]
pub struct MemoryKeyStores {
    slots: Arc<Mutex<HashMap<KeySlot, MemoryKeyStore>>>,
    pool: BlockingPool,
}

impl MemoryKeyStores {
    /// Makes empty ones that compute in `pool`.
    pub fn new(pool: BlockingPool) -> Self {
        Self { slots: Arc::default(), pool }
    }
}

impl CaKeyStores for MemoryKeyStores {
    fn open(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let store = slots.entry(slot.clone()).or_insert_with(|| MemoryKeyStore::new(self.pool.clone()));
        Ok(Arc::new(store.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_a_plain_name() {
        for good in ["main", "issuing-1", "r2", &"a".repeat(32)] {
            assert_eq!(KeySlot::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "1a", "-a", "../x", "a/b", "A", "a b", "a.b", "é", &"a".repeat(33)] {
            assert_eq!(KeySlot::parse(bad), Err(InvalidKeySlot), "{bad}");
        }
    }

    #[test]
    fn each_slot_but_the_main_one_has_a_folder_of_its_own() {
        let stores = FileKeyStores::new("/data/ca", BlockingPool::new(1));
        assert_eq!(stores.folder(&KeySlot::main()), PathBuf::from("/data/ca"));
        assert_eq!(stores.folder(&KeySlot::parse("root-2").unwrap()), PathBuf::from("/data/ca/root-2"));
    }
}

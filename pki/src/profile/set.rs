//! The profiles that are configured, and the one that always is.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use signalbeam_domain::ProfileName;

use super::Profile;

/// Profiles by name; `device` is always among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSet {
    profiles: BTreeMap<ProfileName, Arc<Profile>>,
}

impl ProfileSet {
    /// Takes the profiles; the built-in `device` is added unless one of them has its name.
    pub fn new(profiles: impl IntoIterator<Item = Profile>) -> Self {
        let built_in = std::iter::once(Profile::default());
        let named = built_in.chain(profiles).map(|profile| (profile.name().clone(), Arc::new(profile)));
        Self { profiles: named.collect() }
    }

    /// The profile of a name; `None` where none is configured.
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }

    /// The profiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.profiles.values()
    }
}

impl Default for ProfileSet {
    /// `device` alone.
    fn default() -> Self {
        Self::new([])
    }
}

/// The profiles in force. Whoever issues takes one profile and keeps it to the end: what is put in force meanwhile is for
/// the next.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    current: Arc<RwLock<Arc<ProfileSet>>>,
}

impl Profiles {
    /// Puts these in force from the start.
    pub fn new(set: ProfileSet) -> Self {
        Self { current: Arc::new(RwLock::new(Arc::new(set))) }
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<ProfileSet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force.
    pub fn replace(&self, set: ProfileSet) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

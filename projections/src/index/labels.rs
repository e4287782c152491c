//! Names that a hundred thousand certificates share, kept once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// More names of profiles than anybody configures; what comes beyond them is kept as no name.
const MAX_LABELS: usize = 4_096;

/// A profile's name for as long as the process lives: operators choose them, so they are few.
pub(super) fn profile_label(name: &str) -> &'static str {
    static LABELS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut labels = LABELS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(label) = labels.get(name) {
        return label;
    }
    if labels.len() >= MAX_LABELS {
        return "";
    }
    let label: &'static str = Box::leak(name.into());
    labels.insert(label);
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let first = profile_label("sensor");
        let same = String::from("sensor");
        assert!(std::ptr::eq(first, profile_label(&same)));
        assert_eq!((first, profile_label("")), ("sensor", ""));
    }
}

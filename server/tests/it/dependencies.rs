//! Dependencies between the crates point one way.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may depend on, of our own crates and of what would betray its purpose.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("event-store", &["domain"]),
    ("pki", &["domain"]),
    ("projections", &["event-store", "domain"]),
    ("authn", &["projections", "event-store", "pki", "domain"]),
    ("command-api", &["authn", "projections", "event-store", "pki", "domain"]),
    ("query-api", &["authn", "projections", "domain"]),
    ("server", &["command-api", "query-api", "authn", "projections", "event-store", "pki", "domain"]),
    ("agent", &["domain"]),
    ("fuzz", &["server", "projections", "authn", "pki", "domain"]),
];

/// Each crate's direct dependencies outside of tests, by name.
fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let crates = metadata.workspace_packages().into_iter().map(|package| {
        let dependencies = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        (package.name.to_string(), dependencies.map(|dependency| dependency.name.clone()).collect())
    });
    crates.collect()
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let crates = direct_dependencies();
    assert_eq!(crates.len(), ALLOWED.len(), "a crate without a rule: {:?}", crates.keys());
    for (name, allowed) in ALLOWED {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| format!("signalbeam-{name}")).collect();
        let ours = crates[&format!("signalbeam-{name}")].iter().filter(|name| name.starts_with("signalbeam-"));
        let forbidden: Vec<_> = ours.filter(|dependency| !allowed.contains(*dependency)).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

#[test]
fn the_domain_knows_no_io() {
    let allowed = ["serde", "uuid", "time", "thiserror"].map(str::to_owned).into();
    let crates = direct_dependencies();
    let others: Vec<_> = crates["signalbeam-domain"].difference(&allowed).collect();
    assert!(others.is_empty(), "domain must not depend on {others:?}");
}

#[test]
fn the_agent_stays_small_and_blocking() {
    let crates = direct_dependencies();
    for forbidden in ["sqlx", "axum", "tokio", "hyper"] {
        assert!(!crates["signalbeam-agent"].contains(forbidden), "the agent must not depend on {forbidden}");
    }
}

#[test]
fn queries_cannot_reach_what_appends() {
    let crates = direct_dependencies();
    for forbidden in ["signalbeam-event-store", "signalbeam-pki", "signalbeam-command-api", "sqlx"] {
        assert!(!crates["signalbeam-query-api"].contains(forbidden), "query-api must not depend on {forbidden}");
    }
}

//! Rebuilding gives the same rows as living did, whatever has happened.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use signalbeam_domain::Position;
use signalbeam_projections::{DIRECTORY, RebuildError, Tables, rebuild};
use tokio::runtime::Runtime;

use crate::fleet::{Fleet, Step, steps};
use crate::rows::{Projected, query};
use crate::tampered::TamperedLog;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn rebuilding_gives_the_rows_that_living_gave(steps in steps(), pace in 1..20usize) {
        Runtime::new().unwrap().block_on(async {
            let mut fleet = Fleet::new();
            let lived = Projected::of(&fleet).await;
            for (at, step) in steps.into_iter().enumerate() {
                fleet.perform(step).await;
                if at % pace == 0 {
                    lived.catch_up(&fleet).await;
                }
            }
            lived.catch_up(&fleet).await;
            let before = lived.dump().await;
            let from_nothing = Projected::of(&fleet).await;
            assert_eq!(from_nothing.dump().await, before, "in one go");
            let tables = lived.projector.tables();
            let rebuilt = rebuild(DIRECTORY, tables, &*fleet.store, |_| {}).await.unwrap();
            assert_eq!(rebuilt.position, fleet.head().await);
            assert_eq!(rebuilt.events, fleet.log().await.len());
            assert_eq!(lived.dump().await, before, "rebuilt");
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_works_while_the_projector_runs_and_heals_what_was_changed_by_hand() {
    let (mut fleet, _) = Fleet::with_device().await;
    let projected = Projected::of(&fleet).await;
    let path = projected.projector.tables().path().to_owned();
    query(&path, "UPDATE devices SET name = 'changed by hand'".into()).await;
    let beside = Tables::attach(&path).await.unwrap();
    let store = fleet.store.clone();
    let mut told = Position(0);
    let rebuilding = rebuild(DIRECTORY, &beside, &*store, |position| told = position);
    let living = async {
        for _ in 0..40 {
            fleet.perform(Step::IssueCertificate(0)).await;
        }
    };
    let (rebuilt, ()) = tokio::join!(rebuilding, living);
    assert_eq!(rebuilt.unwrap().position, told);
    projected.catch_up(&fleet).await;
    fleet.perform(Step::Suspend(0)).await;
    projected.catch_up(&fleet).await;
    assert!(projected.projector.failure().is_none());
    assert_eq!(projected.dump().await, Projected::of(&fleet).await.dump().await);
    let leftovers: Vec<_> = std::fs::read_dir(projected.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("projections.db.") && name != "projections.db.rebuild.lock")
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[tokio::test]
async fn live_tables_are_never_replaced_by_older_ones() {
    let (fleet, _) = Fleet::with_device().await;
    let projected = Projected::of(&fleet).await;
    let before = projected.dump().await;
    let log = TamperedLog::new(fleet.store.clone(), Position(u64::MAX));
    log.is_late.store(true, Ordering::SeqCst);
    let rebuilt = rebuild(DIRECTORY, projected.projector.tables(), &log, |_| {}).await.unwrap();
    assert_eq!(rebuilt.position, fleet.head().await, "it read on when it saw that it was behind");
    assert_eq!(projected.dump().await, before);
}

#[cfg(unix)]
#[tokio::test]
async fn every_file_with_rows_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (fleet, _) = Fleet::with_device().await;
    let projected = Projected::of(&fleet).await;
    let mut modes = BTreeMap::new();
    let look = |_| {
        for entry in std::fs::read_dir(projected.folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            modes.insert(entry.file_name().into_string().unwrap(), mode);
        }
    };
    rebuild(DIRECTORY, projected.projector.tables(), &*fleet.store, look).await.unwrap();
    for name in ["projections.db", "projections.db.rebuild"] {
        for suffix in ["", "-wal", "-shm"] {
            assert_eq!(modes.get(&format!("{name}{suffix}")), Some(&0o600), "{name}{suffix} of {modes:?}");
        }
    }
}

#[tokio::test]
async fn one_rebuild_at_a_time_and_only_of_what_there_is() {
    let (fleet, _) = Fleet::with_device().await;
    let projected = Projected::of(&fleet).await;
    let tables = projected.projector.tables();
    let unknown = rebuild("directories", tables, &*fleet.store, |_| {}).await;
    assert!(matches!(unknown, Err(RebuildError::Unknown { name }) if name == "directories"));
    let lock = std::fs::File::create(projected.folder.path().join("projections.db.rebuild.lock")).unwrap();
    lock.lock().unwrap();
    let second = rebuild(DIRECTORY, tables, &*fleet.store, |_| {}).await;
    assert!(matches!(second, Err(RebuildError::Running)), "{second:?}");
    drop(lock);
    rebuild(DIRECTORY, tables, &*fleet.store, |_| {}).await.unwrap();
}

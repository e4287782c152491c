//! Backups that are restored, also interrupted, and those that are refused.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use signalbeam_domain::device::{DecisionReason, DeviceEvent, DeviceReinstated};
use signalbeam_domain::{Actor, CorrelationId, DeviceId, StreamId};
use signalbeam_event_store::execute::new_events;
use signalbeam_event_store::{
    AuditDurability, Batch, CommandMetadata, EventReader, EventStore, ExpectedVersion, SqliteAuditLog,
    SqliteEventStore, StreamWrite, SystemClock,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::backup::create;
use crate::data_dir::access::AccessError;
use crate::serve::{AUDIT_FILE, MAC_KEY_FILE};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn quiet() -> Progress {
    Progress::new(|_| {})
}

const AUTHORITY_KEYS: [&str; 2] = ["ca/ca-key.pem", "ca/issuing-1/ca-key.pem"];
const CERTIFICATES: [&str; 2] = ["ca/ca-cert.pem", "ca/issuing-1/ca-cert.pem"];

/// A data directory with so many events and the files that a server makes.
async fn installation(parent: &TempDir, name: &str, events: usize) -> PathBuf {
    let path = parent.path().join(name);
    make_private_dir(&path.join("ca/issuing-1")).unwrap();
    for key in AUTHORITY_KEYS.into_iter().chain(KEYS).chain(CERTIFICATES) {
        write_private(&path.join(key), format!("{key} of {name}").as_bytes()).unwrap();
    }
    SqliteAuditLog::open(path.join(AUDIT_FILE), AuditDurability::Strict).await.unwrap().close().await;
    append(&path, events).await;
    path
}

async fn append(data_dir: &Path, events: usize) {
    let store = SqliteEventStore::open(data_dir.join(EVENTS_FILE), Arc::new(SystemClock)).await.unwrap();
    for _ in 0..events {
        let event = DeviceEvent::from(DeviceReinstated(DecisionReason { reason: None }));
        let write = StreamWrite {
            stream: StreamId::device(DeviceId::from_uuid(Uuid::now_v7())),
            expected: ExpectedVersion::Any,
            events: new_events(None, vec![event]),
        };
        let metadata = CommandMetadata {
            actor: Actor::system("tests"),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            idempotency: None,
        };
        store.append(Batch { metadata, writes: vec![write] }).await.unwrap();
    }
    store.close().await;
}

async fn back_up(data_dir: &Path, output: &Path, with_secrets: bool) -> Result<Manifest, BackupError> {
    create::create(create::Request { data_dir, output, with_secrets }, NOW, &mut quiet()).await
}

async fn restore_into(backup: &Path, data_dir: &Path, replace: bool) -> Result<Restored, RestoreError> {
    restore(Request { backup, data_dir, replace }, NOW, &mut quiet()).await
}

async fn head(data_dir: &Path) -> u64 {
    let log = SqliteEventReader::open_at_rest(data_dir.join(EVENTS_FILE)).await.unwrap();
    let head = log.head().await.unwrap();
    log.close().await;
    head.0
}

/// Every file below a folder with its mode and content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            found.insert(entry.path(), (mode, fs::read(entry.path()).unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back_private_and_marked() {
    let parent = tempfile::tempdir().unwrap();
    let old = installation(&parent, "old", 5).await;
    let (backup, new) = (parent.path().join("backup"), parent.path().join("new"));
    let manifest = back_up(&old, &backup, true).await.unwrap();
    assert_eq!(manifest.event_log.as_ref().unwrap().position, Position(5));
    assert!(contents(&backup).values().all(|(mode, _)| *mode == 0o600));
    assert_eq!(verify(&backup, &mut quiet()).await.unwrap(), manifest);

    let restored = restore_into(&backup, &new, false).await.unwrap();
    assert_eq!((restored.moved_to, restored.missing_keys.len()), (None, 0));
    assert_eq!((restored.rollback.found_position, restored.rollback.witnessed), (Position(5), None));
    assert_eq!(Rollback::read(&new).unwrap(), Some(restored.rollback));
    assert_eq!(head(&new).await, 5);
    for key in KEYS {
        assert_eq!(fs::read(new.join(key)).unwrap(), fs::read(old.join(key)).unwrap());
    }
    for (name, (mode, _)) in contents(&new) {
        let expected = if CERTIFICATES.iter().any(|certificate| name == new.join(certificate)) { 0o644 } else { 0o600 };
        assert_eq!(mode, expected, "{}", name.display());
    }
    assert_eq!(fs::metadata(new.join("ca")).unwrap().permissions().mode() & 0o777, 0o700);
    DataDir::open(&new).expect("a server may start on it");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten_by_a_backup() {
    let parent = tempfile::tempdir().unwrap();
    let old = installation(&parent, "old", 1).await;
    let taken = parent.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(back_up(&old, &taken, true).await, Err(BackupError::Exists { .. })));
    assert!(matches!(back_up(&old, &old.join("b"), true).await, Err(BackupError::InsideDataDirectory { .. })));
    assert!(matches!(
        back_up(&taken, &parent.path().join("b"), true).await,
        Err(BackupError::Access(AccessError::NoDataDirectory { .. }))
    ));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2, "no draft is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_what_its_manifest_says_is_refused_before_anything_is_touched() {
    let parent = tempfile::tempdir().unwrap();
    let old = installation(&parent, "old", 3).await;
    let backup = parent.path().join("backup");
    back_up(&old, &backup, true).await.unwrap();
    let manifest = fs::read_to_string(backup.join(MANIFEST_FILE)).unwrap();
    let spoil: [&dyn Fn(); 5] = [
        &|| fs::write(backup.join(MAC_KEY_FILE), "x").unwrap(),
        &|| fs::remove_file(backup.join(EVENTS_FILE)).unwrap(),
        &|| fs::write(backup.join(MANIFEST_FILE), manifest.replace("\"position\": 3", "\"position\": 2")).unwrap(),
        &|| fs::write(backup.join(MANIFEST_FILE), manifest.replace("\"audit.db\"", "\"../audit.db\"")).unwrap(),
        &|| fs::write(backup.join(MANIFEST_FILE), manifest.replace("\"format\": 1", "\"format\": 9")).unwrap(),
    ];
    for spoil in spoil {
        let good = contents(&backup);
        spoil();
        assert_ne!(contents(&backup), good);
        let refused = restore_into(&backup, &parent.path().join("new"), false).await;
        assert!(matches!(refused, Err(RestoreError::Backup(_))), "{refused:?}");
        assert!(!parent.path().join("new").exists());
        for (path, (_, content)) in good {
            fs::write(path, content).unwrap();
        }
    }
    restore_into(&backup, &parent.path().join("new"), false).await.expect("it is good again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_something_in_it_is_replaced_only_when_told_and_only_by_its_own_backup() {
    let parent = tempfile::tempdir().unwrap();
    let (ours, theirs) = (installation(&parent, "ours", 2).await, installation(&parent, "theirs", 2).await);
    let backup = parent.path().join("backup");
    back_up(&ours, &backup, true).await.unwrap();
    append(&ours, 4).await;
    assert!(matches!(restore_into(&backup, &ours, false).await, Err(RestoreError::NotEmpty { .. })));
    assert!(matches!(restore_into(&backup, &theirs, true).await, Err(RestoreError::OtherInstallation { .. })));
    assert_eq!((head(&ours).await, head(&theirs).await), (6, 2), "both are as they were");

    let running = DataDir::open(&ours).unwrap();
    let refused = restore_into(&backup, &ours, true).await;
    assert!(matches!(refused, Err(RestoreError::DataDir(DataDirError::InUse { .. }))), "{refused:?}");
    drop(running);
    let restored = restore_into(&backup, &ours, true).await.unwrap();
    assert_eq!(head(&ours).await, 2);
    assert_eq!(head(&restored.moved_to.unwrap()).await, 6, "nothing is deleted");
    assert_eq!(restored.rollback.witnessed.unwrap().position, Position(6));
    restore_into(&backup, &ours, true).await.expect("again, beside what was moved aside before");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_secrets_the_keys_of_the_replaced_directory_stay_or_are_named_as_missing() {
    let parent = tempfile::tempdir().unwrap();
    let ours = installation(&parent, "ours", 2).await;
    let backup = parent.path().join("backup");
    let manifest = back_up(&ours, &backup, false).await.unwrap();
    assert!(!manifest.has_secrets);
    let paths: Vec<_> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, [&[EVENTS_FILE, AUDIT_FILE][..], &CERTIFICATES].concat());
    let elsewhere = restore_into(&backup, &parent.path().join("new"), false).await.unwrap();
    assert_eq!(elsewhere.missing_keys, [AUTHORITY_KEYS, KEYS].concat());
    let in_place = restore_into(&backup, &ours, true).await.unwrap();
    assert!(in_place.missing_keys.is_empty());
    for key in AUTHORITY_KEYS {
        assert_eq!(fs::read_to_string(ours.join(key)).unwrap(), format!("{key} of ours"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_installation_whose_authorities_keys_are_elsewhere_none_is_missing() {
    let parent = tempfile::tempdir().unwrap();
    let ours = installation(&parent, "ours", 2).await;
    for key in AUTHORITY_KEYS {
        fs::remove_file(ours.join(key)).unwrap();
    }
    let (backup, without) = (parent.path().join("backup"), parent.path().join("without"));
    back_up(&ours, &backup, true).await.unwrap();
    back_up(&ours, &without, false).await.unwrap();
    let restored = restore_into(&backup, &parent.path().join("new"), false).await.unwrap();
    assert!(restored.missing_keys.is_empty(), "{:?}", restored.missing_keys);
    let in_place = restore_into(&without, &ours, true).await.unwrap();
    assert!(in_place.missing_keys.is_empty(), "{:?}", in_place.missing_keys);
    assert!(CERTIFICATES.iter().all(|certificate| ours.join(certificate).exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_lets_no_server_start_and_goes_on_when_repeated() {
    let parent = tempfile::tempdir().unwrap();
    let ours = installation(&parent, "ours", 2).await;
    let backup = parent.path().join("backup");
    let manifest = back_up(&ours, &backup, true).await.unwrap();
    append(&ours, 3).await;
    // As it stands when the process is killed between two of the files that it moves aside.
    let request = Request { backup: &backup, data_dir: &ours, replace: true };
    let plan = begin(request, &ours, &manifest, NOW).await.unwrap();
    plan.write(&ours).unwrap();
    let replaced = ours.join(plan.replaced.as_ref().unwrap());
    make_private_dir(&replaced).unwrap();
    fs::rename(ours.join(EVENTS_FILE), replaced.join(EVENTS_FILE)).unwrap();

    let (theirs, foreign) = (installation(&parent, "theirs", 1).await, parent.path().join("foreign"));
    back_up(&theirs, &foreign, true).await.unwrap();
    let before = contents(&ours);
    let refused = restore_into(&foreign, &ours, true).await.unwrap_err();
    assert!(matches!(&refused, RestoreError::OtherRestore { backup: first, .. } if *first == backup), "{refused:?}");
    let unlocked = |(path, _): &(PathBuf, _)| !path.ends_with(LOCK_FILE);
    let without_lock = |found: BTreeMap<_, _>| found.into_iter().filter(unlocked).collect::<BTreeMap<_, _>>();
    assert_eq!(without_lock(contents(&ours)), without_lock(before), "nothing is mixed");
    let refused = DataDir::open(&ours).unwrap_err();
    assert!(matches!(refused, DataDirError::HalfRestored { .. }) && refused.to_string().contains("again"));
    let restored = restore_into(&backup, &ours, false).await.unwrap();
    assert_eq!(restored.moved_to.as_deref(), Some(replaced.canonicalize().unwrap().as_path()));
    assert_eq!((head(&ours).await, head(&replaced).await), (2, 5));
    assert_eq!(restored.rollback.witnessed.unwrap().position, Position(5), "known from before the interruption");
    assert!(replaced.join(MAC_KEY_FILE).exists() && !ours.join(RESTORE_FILE).exists());
    DataDir::open(&ours).unwrap();
}

//! What the certificate directory looks like after a crash at every point.

use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::durable::perform;

fn installation(serial: u8) -> Installation {
    let key = generate_key().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.serial_number = Some(vec![0x40, serial].into());
    let pem = params.self_signed(&KeyPair::from_pem(key.expose()).unwrap()).unwrap().pem();
    Installation { identity: KeyedCertificate::new(pem.clone(), key).unwrap(), ca_pem: pem }
}

/// The serial number that the three public names lead to, having checked that they belong together.
fn serial_in_force(store: &CertStore) -> Option<String> {
    let names = [CERTIFICATE, PRIVATE_KEY, CA_CERTIFICATE].map(|name| fs::read_to_string(store.dir().join(name)).ok());
    match names {
        [None, None, None] => None,
        [Some(certificate), Some(key), Some(ca)] => {
            assert_eq!(certificate, ca, "the CA file of another generation");
            let pair = KeyedCertificate::new(certificate, Secret::new(key)).expect("a matching pair");
            Some(pair.info().serial_number.clone())
        }
        mixed => panic!("some files are there and some are not: {:?}", mixed.map(|file| file.is_some())),
    }
}

/// A step as a power cut leaves it: a file cut short, anything else not begun.
fn perform_torn(step: &Step) {
    if let Step::Write { path, bytes, mode } = step {
        let half = Zeroizing::new(bytes[..bytes.len() / 2].to_vec());
        perform(&SystemDisk, &Step::Write { path: path.clone(), bytes: half, mode: *mode }).unwrap();
    }
}

fn crash_matrix(before: Option<u8>) {
    let steps_count = {
        let dir = tempfile::tempdir().unwrap();
        let store = CertStore::new(dir.path().join("certs"));
        before.inspect(|serial| drop(store.install(&installation(*serial)).unwrap()));
        store.install_steps(&installation(9)).unwrap().len()
    };
    let mut seen_old = 0;
    for done in 0..=steps_count {
        let dir = tempfile::tempdir().unwrap();
        let store = CertStore::new(dir.path().join("certs"));
        before.inspect(|serial| drop(store.install(&installation(*serial)).unwrap()));
        let old = before.map(|serial| format!("40{serial:02x}"));
        let steps = store.install_steps(&installation(9)).unwrap();
        perform_all(&SystemDisk, &steps[..done]).unwrap();
        steps.get(done).inspect(|step| perform_torn(step));

        let found = serial_in_force(&store);
        let through_store = store.installed().unwrap().map(|found| found.identity.info().serial_number.clone());
        assert_eq!(found, through_store, "after {done} steps");
        assert!(found == old || found.as_deref() == Some("4009"), "after {done} steps: {found:?}");
        seen_old += usize::from(found == old);

        store.install(&installation(10)).expect("the next installation succeeds whatever was left behind");
        assert_eq!(serial_in_force(&store).as_deref(), Some("400a"), "after {done} steps");
    }
    assert!(seen_old > 0 && seen_old <= steps_count, "the matrix crossed the switch");
}

#[test]
fn a_crash_during_the_first_installation_leaves_nothing_or_all() {
    crash_matrix(None);
}

#[test]
fn a_crash_during_a_replacement_leaves_the_old_set_or_the_new() {
    crash_matrix(Some(1));
}

#[test]
fn everything_is_synced_before_the_switch_and_the_switch_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = CertStore::new(dir.path().join("certs"));
    let steps: Vec<String> = store.install_steps(&installation(1)).unwrap().iter().map(ToString::to_string).collect();
    let position = |wanted: &str| steps.iter().position(|step| step.starts_with(wanted)).unwrap();
    let switch = position(&format!("replace {}", store.dir().join(CURRENT).display()));
    let generation_synced = position(&format!("sync directory {}", store.dir().join("generations/00000001").display()));
    let links_made = position(&format!("make link {}", store.dir().join(CA_CERTIFICATE).display()));
    assert!(generation_synced < switch && links_made < switch, "{steps:#?}");
    assert_eq!(steps[switch + 1], format!("sync directory {}", store.dir().display()));
}

#[test]
fn the_key_is_private_and_what_authenticated_last_is_kept_until_the_new_one_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = CertStore::new(dir.path().join("certs"));
    for serial in 1..=4 {
        let record = store.install(&installation(serial)).unwrap();
        assert_eq!(record.serial_number, format!("40{serial:02x}"));
        let mode = fs::metadata(&record.private_key_path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(store.generation_numbers().unwrap(), [1, 3, 4]);
    store.confirm().unwrap();
    assert_eq!(store.generation_numbers().unwrap(), [4]);
    assert_eq!(serial_in_force(&store).as_deref(), Some("4004"));
    store.install(&installation(5)).unwrap();
    assert_eq!(store.generation_numbers().unwrap(), [4, 5]);
}

#[test]
fn a_file_of_another_program_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = CertStore::new(dir.path().to_owned());
    fs::write(dir.path().join(PRIVATE_KEY), "theirs").unwrap();
    assert!(matches!(store.install(&installation(1)), Err(Failure::Usage(_))));
    assert_eq!(fs::read_to_string(dir.path().join(PRIVATE_KEY)).unwrap(), "theirs");
}

#[test]
fn a_pending_key_is_the_same_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = CertStore::new(dir.path().join("certs"));
    assert!(!store.is_pending(Purpose::Renewal("4001")));
    let first = store.pending_key(Purpose::Renewal("4001")).unwrap();
    assert!(store.is_pending(Purpose::Renewal("4001")));
    assert_eq!(store.pending_key(Purpose::Renewal("4001")).unwrap(), first);
    assert_ne!(store.pending_key(Purpose::Renewal("4002")).unwrap(), first);
    assert_ne!(store.pending_key(Purpose::Issue).unwrap(), first);
    let mode = fs::metadata(store.pending_path(Purpose::Issue)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.forget_pending_key(Purpose::Renewal("4001")).unwrap();
    assert!(!store.is_pending(Purpose::Renewal("4001")) && store.is_pending(Purpose::Issue));
    store.forget_pending().unwrap();
    assert!(!store.is_pending(Purpose::Issue));
}

#[test]
fn a_mixed_installation_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let store = CertStore::new(dir.path().join("certs"));
    store.install(&installation(1)).unwrap();
    let other = generate_key().unwrap();
    fs::write(store.dir().join(PRIVATE_KEY), other.expose()).unwrap();
    let Err(Failure::Certificate { fault, .. }) = store.installed() else { panic!("a mixed pair was accepted") };
    assert!(matches!(fault, CertificateFault::KeyMismatch));
}

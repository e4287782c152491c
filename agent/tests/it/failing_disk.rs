//! Every write, sync and rename of every flow fails in turn: nothing is lost, and the next attempt gets there.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signalbeam_agent::cert_store::CertStore;
use signalbeam_agent::clock::Clock;
use signalbeam_agent::credentials::CredentialsFile;
use signalbeam_agent::durable::{Disk, SharedDisk, Step, SystemDisk};
use tempfile::TempDir;

use crate::authority::{Authority, Life};
use crate::device::TOKEN;
use crate::examples::TENANT_ID;
use crate::fake_server::FakeServer;
use crate::model::{Fate, Model};
use crate::simulation::{Time, execute};

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// One step is refused; the next succeeds.
    Once,
    /// From one step on nothing can be written, as on a disk that is full or was mounted read-only.
    Forever,
    /// One file is cut short, as by a power cut, and nothing follows it.
    Torn,
}

/// Fails at the step with this number, counted from 0.
#[derive(Debug)]
struct FailingDisk {
    fault: Fault,
    at: usize,
    steps: AtomicUsize,
}

impl FailingDisk {
    fn new(fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(Self { fault, at, steps: AtomicUsize::new(0) })
    }

    fn has_failed(&self) -> bool {
        self.steps.load(Ordering::SeqCst) > self.at
    }
}

impl Disk for FailingDisk {
    fn try_step(&self, step: &Step) -> io::Result<()> {
        let number = self.steps.fetch_add(1, Ordering::SeqCst);
        if number < self.at || (number > self.at && self.fault == Fault::Once) {
            return SystemDisk.try_step(step);
        }
        if let (Step::Write { path, bytes, .. }, Fault::Torn) = (step, self.fault) {
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
        Err(io::ErrorKind::StorageFull.into())
    }
}

/// A device and its server, before the flow that a test is about.
struct Bench {
    server: FakeServer,
    model: Model,
    time: Time,
    home: TempDir,
}

impl Bench {
    fn new() -> Self {
        let authority = Arc::new(Authority::new());
        let server = FakeServer::start(authority.server_certificate(Life::days(-1, 400)));
        let time = Time::lasting(Duration::from_hours(24 * 365));
        let clock = time.clone();
        let model = Model::new(authority.clone(), Arc::new(move || clock.now()));
        model.serve(&server, |_| Fate::Answered);
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("ca.pem"), authority.pem()).unwrap();
        Self { server, model, time, home }
    }

    fn run(&self, home: &Path, disk: SharedDisk, arguments: &[&str]) -> bool {
        let exit = execute(home, disk, &self.time, &self.time, arguments);
        exit.is_ok_and(|exit| exit.code() == 0)
    }

    fn register(&self, home: &Path, disk: SharedDisk) -> bool {
        let arguments = ["register", "--tenant-id", TENANT_ID, "--token", TOKEN, "--device-name", "cupboard"];
        let ca = home.join("ca.pem");
        let trust = ["--cloud-url", self.server.url(), "--ca-cert", ca.to_str().unwrap()];
        self.run(home, disk, &[&arguments[..], &trust].concat())
    }

    /// Registered, with an API key and a certificate, each of them used.
    fn prepare(&self) {
        let home = self.home.path();
        assert!(self.register(home, SystemDisk::shared()));
        for command in [&["status"][..], &["request-certificate"], &["run", "--once"]] {
            assert!(self.run(home, SystemDisk::shared(), command), "{command:?}");
        }
    }

    /// Performs a flow again and again from the same start, each time with another step failing, until none is left to
    /// fail; after each failure checks what is there and lets the flow go on on a sound disk. Tells how many steps failed.
    fn fail_each_step(&self, fault: Fault, flow: impl Fn(&Self, &Path, SharedDisk) -> bool) -> usize {
        let before = self.model.state.lock().unwrap().clone();
        for at in 0.. {
            assert!(at < 100, "a flow without end");
            self.model.restore(&before);
            let home = tempfile::tempdir().unwrap();
            copy(self.home.path(), home.path());
            let disk = FailingDisk::new(fault, at);
            flow(self, home.path(), disk.clone());
            if !disk.has_failed() {
                return at;
            }
            assert_sound(home.path(), &format!("{fault:?} at step {at}"));
            let mut attempts = 0;
            while !flow(self, home.path(), SystemDisk::shared()) {
                attempts += 1;
                assert!(attempts < 3, "{fault:?} at step {at}: the flow does not get there");
            }
            self.assert_working(home.path(), &format!("{fault:?} at step {at}"));
        }
        unreachable!("the loop ends by itself")
    }

    fn assert_working(&self, home: &Path, when: &str) {
        let credentials = credentials(home);
        assert_eq!(self.model.state.lock().unwrap().registrations, 1, "{when}: one device");
        let Some(key) = credentials["apiKey"].as_str() else { return };
        assert!(self.model.accepts_key(key), "{when}: {credentials}");
        let Some(serial) = credentials["certificate"]["serialNumber"].as_str() else { return };
        assert!(self.model.accepts_certificate(serial), "{when}: {credentials}");
        let installed = CertStore::new(home.join("certs")).installed().unwrap().unwrap();
        assert_eq!(installed.identity.info().serial_number, serial, "{when}");
    }
}

/// Whatever failed: the credentials can be read, and key, certificate and CA belong together.
fn assert_sound(home: &Path, when: &str) {
    let store = CertStore::new(home.join("certs"));
    assert!(store.installed().is_ok(), "{when}: {:?}", store.installed().err());
    let file = CredentialsFile::open(&home.join("credentials.json")).unwrap();
    assert!(file.load().is_ok(), "{when}: {:?}", file.load().err());
}

fn credentials(home: &Path) -> Value {
    serde_json::from_slice(&fs::read(home.join("credentials.json")).unwrap()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
    // The records are absolute.
    if to.join("credentials.json").exists() {
        let text = fs::read_to_string(to.join("credentials.json")).unwrap();
        fs::write(to.join("credentials.json"), text.replace(from.to_str().unwrap(), to.to_str().unwrap())).unwrap();
    }
}

const FAULTS: [Fault; 3] = [Fault::Once, Fault::Forever, Fault::Torn];

#[test]
fn a_registration_survives_a_disk_that_fails_anywhere() {
    for fault in FAULTS {
        let bench = Bench::new();
        let failed = bench.fail_each_step(fault, |bench, home, disk| {
            // Where only the last sync failed, the device is registered, and says so.
            bench.register(home, disk)
                || CredentialsFile::open(&home.join("credentials.json"))
                    .unwrap()
                    .load()
                    .is_ok_and(|found| found.is_some_and(|found| found.device_id.is_some()))
        });
        assert!(failed >= 15, "{failed} steps: the CA copy and the credentials, twice");
    }
}

#[test]
fn a_claim_survives_a_disk_that_fails_anywhere() {
    for fault in FAULTS {
        let bench = Bench::new();
        assert!(bench.register(bench.home.path(), SystemDisk::shared()));
        let failed = bench.fail_each_step(fault, |bench, home, disk| {
            bench.run(home, disk, &["status"]) && credentials(home)["apiKey"].is_string()
        });
        assert!(failed >= 15, "{failed} steps: the status, the rehearsal and the key");
    }
}

#[test]
fn an_installation_survives_a_disk_that_fails_anywhere() {
    for fault in FAULTS {
        let bench = Bench::new();
        assert!(bench.register(bench.home.path(), SystemDisk::shared()));
        assert!(bench.run(bench.home.path(), SystemDisk::shared(), &["status"]));
        let failed = bench.fail_each_step(fault, |bench, home, disk| bench.run(home, disk, &["request-certificate"]));
        assert!(failed >= 20, "{failed} steps: the pending key, the generation, the links, the switch, the record");
    }
}

#[test]
fn a_renewal_survives_a_disk_that_fails_anywhere() {
    // A disk that stays full has a test of its own below.
    for fault in [Fault::Once, Fault::Torn] {
        let bench = Bench::new();
        bench.prepare();
        let first = credentials(bench.home.path())["certificate"]["serialNumber"].clone();
        bench.model.state.lock().unwrap().window_days = 60;
        bench.model.state.lock().unwrap().authorities.insert(0, Arc::new(Authority::new()));
        let failed = bench.fail_each_step(fault, |bench, home, disk| {
            // A heartbeat may succeed where the renewal could not.
            bench.run(home, disk, &["run", "--once"]) && credentials(home)["certificate"]["serialNumber"] != first
        });
        assert!(failed >= 20, "{failed} steps: also the new anchor, and the removal of what was replaced");
    }
}

#[test]
fn a_rotation_survives_a_disk_that_fails_anywhere() {
    for fault in FAULTS {
        let bench = Bench::new();
        bench.prepare();
        let path = bench.home.path().join("credentials.json");
        let mut aged = credentials(bench.home.path());
        // Two thirds of its life are over, and the half of the last in which every device rotates.
        aged["apiKeyObtainedAt"] = json!("2020-01-01T00:00:00Z");
        aged["apiKeyExpiresAt"] = json!(
            (bench.time.now() + time::Duration::days(10))
                .format(&time::format_description::well_known::Rfc3339)
                .unwrap()
        );
        let first = aged["apiKey"].clone();
        fs::write(&path, serde_json::to_vec_pretty(&aged).unwrap()).unwrap();
        let failed = bench.fail_each_step(fault, |bench, home, disk| {
            bench.run(home, disk, &["run", "--once"]) && credentials(home)["apiKey"] != first
        });
        assert!(failed >= 15, "{failed} steps: the rehearsal, the successor, and the end of the key before");
    }
}

#[test]
fn a_device_whose_disk_is_full_or_read_only_stays_alive() {
    let bench = Bench::new();
    bench.prepare();
    let before = bench.model.state.lock().unwrap().heartbeats.len();
    bench.model.state.lock().unwrap().window_days = 60;
    let unwritable = FailingDisk::new(Fault::Forever, 0);
    bench.run(bench.home.path(), unwritable.clone(), &["run", "--once"]);
    assert!(unwritable.has_failed(), "it wanted to renew");
    assert!(bench.model.state.lock().unwrap().heartbeats.len() > before, "and was heard nevertheless");
    bench.assert_working(bench.home.path(), "on a full disk");
}

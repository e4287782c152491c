//! The real program, killed at random moments of everything it does: what it left is whole, and it gets there in the end.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use signalbeam_agent::cert_store::CertStore;
use signalbeam_agent::credentials::CredentialsFile;
use time::OffsetDateTime;

use crate::authority::Authority;
use crate::device::{Device, Ended};
use crate::model::{Fate, Model};

/// How often the program is killed.
const KILLS: u32 = 60;
/// The longest it is left alone; a whole renewal takes less.
const LONGEST_LIFE_MICROS: u64 = 120_000;

fn random_moment() -> Duration {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).unwrap();
    Duration::from_micros(u64::from(u32::from_be_bytes(bytes)) % LONGEST_LIFE_MICROS)
}

/// Kills a program after this long, unless it has ended before.
fn kill_after(mut child: Child, moment: Duration) {
    let id = child.id().to_string();
    let (sender, ended) = channel();
    let waiter = std::thread::spawn(move || {
        child.wait().unwrap();
        // Nobody listens where the kill came first.
        let _ = sender.send(());
    });
    if ended.recv_timeout(moment).is_err() {
        // It may have ended in this very moment.
        let _ = Command::new("kill").args(["-s", "KILL", &id]).output().unwrap();
    }
    waiter.join().unwrap();
}

fn assert_sound(home: &Path, cert_dir: &Path, when: &str) {
    let store = CertStore::new(cert_dir.to_owned());
    assert!(store.installed().is_ok(), "{when}: {:?}", store.installed().err());
    let file = CredentialsFile::open(home).unwrap();
    assert!(file.load().is_ok(), "{when}: {:?}", file.load().err());
}

#[test]
fn a_program_that_is_killed_at_any_moment_leaves_what_is_whole_and_gets_there() {
    let device = Device::new();
    let model = Model::new(Arc::new(Authority::new()), Arc::new(OffsetDateTime::now_utc));
    // Every start finds the certificate in its window.
    model.state.lock().unwrap().window_days = 60;
    model.serve(&device.server, |_| Fate::Answered);

    let mut is_registered = false;
    for kill in 0..KILLS {
        let command = match kill % 4 {
            _ if !is_registered => device.register_command(),
            0 => device.command(&["status"]),
            1 => device.command(&["request-certificate"]),
            _ => device.command(&["run", "--once"]),
        };
        kill_after({ command }.spawn().unwrap(), random_moment());
        assert_sound(&device.credentials_path(), &device.cert_dir(), &format!("after kill {kill}"));
        is_registered = device.credentials_path().exists() && device.credentials()["deviceId"].is_string();
        if is_registered && device.credentials()["apiKey"].is_string() {
            device.age_api_key();
        }
    }

    if !is_registered {
        Ended::from({ device.register_command() }.output().unwrap()).expect(0);
    }
    device.run(&["status"]).expect(0);
    device.run(&["request-certificate"]).expect(0);
    device.run(&["run", "--once"]).expect(0);
    let credentials = device.credentials();
    assert_eq!(model.state.lock().unwrap().registrations, 1, "one device all the time");
    assert!(model.accepts_key(credentials["apiKey"].as_str().unwrap()), "{credentials}");
    assert!(model.accepts_certificate(&device.installed_serial().unwrap()), "{credentials}");
}

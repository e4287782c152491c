//! Four months of an agent's life in seconds: renewals, rotations, outages, lost answers, administrators, another CA, and
//! a clock that falls back to 1970.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use signalbeam_agent::certificate::read_chain;
use signalbeam_agent::clock::{Clock, Pace};
use signalbeam_agent::durable::SystemDisk;
use time::OffsetDateTime;

use crate::authority::{Authority, Life};
use crate::device::TOKEN;
use crate::examples::TENANT_ID;
use crate::fake_server::FakeServer;
use crate::model::{Fate, Model};
use crate::simulation::{Time, execute};

const DAYS: u64 = 120;

/// What happens on which day, as a plan that the passing of time carries out.
struct World<'a> {
    time: &'a Time,
    model: &'a Model,
    server: &'a FakeServer,
    new_authority: Arc<Authority>,
    clock_is_broken: AtomicBool,
    next: AtomicUsize,
}

impl World<'_> {
    fn catch_up(&self) {
        let events: [(u64, &dyn Fn()); 8] = [
            (40, &|| self.model.state.lock().unwrap().authorities.push(self.new_authority.clone())),
            (50, &|| self.clock_is_broken.store(true, Ordering::SeqCst)),
            (53, &|| self.clock_is_broken.store(false, Ordering::SeqCst)),
            (60, &|| self.server.present(self.new_authority.server_certificate(Life::days(-1, 400)))),
            (70, &|| self.model.state.lock().unwrap().shown_from = 1),
            (90, &|| self.model.issue_by_administrator()),
            (100, &|| self.model.rotate_by_administrator()),
            (u64::MAX, &|| {}),
        ];
        while self.time.day() >= events[self.next.load(Ordering::SeqCst)].0 {
            events[self.next.fetch_add(1, Ordering::SeqCst)].1();
        }
    }
}

impl Clock for World<'_> {
    fn now(&self) -> OffsetDateTime {
        let broken = self.clock_is_broken.load(Ordering::SeqCst);
        if broken { OffsetDateTime::UNIX_EPOCH + self.time.elapsed() } else { self.time.now() }
    }
}

impl Pace for World<'_> {
    fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    fn wait(&self, pause: Duration) -> bool {
        let is_over = self.time.wait(pause);
        self.catch_up();
        is_over
    }
}

fn register(home: &Path, server: &FakeServer, authority: &Authority, world: &World<'_>) {
    let ca = home.join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let arguments = ["register", "--tenant-id", TENANT_ID, "--token", TOKEN, "--device-name", "cupboard"];
    let trust = ["--cloud-url", server.url(), "--ca-cert", ca.to_str().unwrap()];
    for arguments in [&[&arguments[..], &trust].concat()[..], &["status"], &["request-certificate"]] {
        execute(home, SystemDisk::shared(), world, world, arguments).unwrap();
    }
}

#[test]
fn an_agent_in_a_cupboard_is_never_locked_out_in_four_months() {
    let authority = Arc::new(Authority::new());
    let server = FakeServer::start(authority.server_certificate(Life::days(-1, 400)));
    let time = Time::lasting(Duration::from_hours(24 * DAYS));
    let clock = time.clone();
    let model = Model::new(authority.clone(), Arc::new(move || clock.now()));
    let home = tempfile::tempdir().unwrap();
    let world = World {
        time: &time,
        model: &model,
        server: &server,
        new_authority: Arc::new(Authority::new()),
        clock_is_broken: AtomicBool::new(false),
        next: AtomicUsize::new(0),
    };
    model.serve(&server, |_| Fate::Answered);
    register(home.path(), &server, &authority, &world);

    // Three days of outage, and at all other times each eleventh answer is lost.
    let (days, count) = (time.clone(), AtomicUsize::new(0));
    model.serve(&server, move |_| match count.fetch_add(1, Ordering::SeqCst) {
        _ if (20..23).contains(&days.day()) => Fate::LostBefore,
        number if number % 11 == 0 => Fate::LostAfter,
        _ => Fate::Answered,
    });
    fs::write(home.path().join("agent.toml"), "[heartbeat]\ninterval_seconds = 43200\n").unwrap();
    let hooked = home.path().join("hooked");
    let hook = format!("echo $SIGNALBEAM_SERIAL >> {}", hooked.display());
    execute(home.path(), SystemDisk::shared(), &world, &world, &["run", "--exec", &hook]).unwrap();

    assert_life(&model, home.path(), &time);
    let credentials: Value = serde_json::from_slice(&fs::read(home.path().join("credentials.json")).unwrap()).unwrap();
    assert!(model.accepts_key(credentials["apiKey"].as_str().unwrap()), "{credentials}");
    assert!(model.accepts_certificate(credentials["certificate"]["serialNumber"].as_str().unwrap()));
    let last_hooked = fs::read_to_string(&hooked).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(last_hooked, credentials["certificate"]["serialNumber"]);
}

fn assert_life(model: &Model, home: &Path, time: &Time) {
    let state = model.state.lock().unwrap().clone();
    let longest = state.heartbeats.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    // Up to one interval lies between the last heartbeat and the outage, and up to one between two attempts that fail.
    assert!(longest < time::Duration::hours(24 * 3 + 2 * 12), "a gap of {longest} beyond the outage");
    let gaps = state.heartbeats.windows(2).filter(|pair| pair[1] - pair[0] > time::Duration::DAY).count();
    assert_eq!(gaps, 1, "only the outage kept it silent for a day");
    let last = *state.heartbeats.last().unwrap();
    assert!(time.now() - last < time::Duration::DAY, "alive until the end");
    let (certificates, keys) = model.counts();
    assert!((6..14).contains(&certificates), "{certificates} certificates of 30 days in {DAYS} days");
    assert!((6..20).contains(&keys), "{keys} API keys of 30 days in {DAYS} days");
    let anchors = read_chain(&fs::read(home.join("certs/ca-cert.pem")).unwrap()).unwrap();
    assert_eq!(anchors.len(), 2, "ca-cert.pem carries the old CA and the new");
    let generations = fs::read_dir(home.join("certs/generations")).unwrap().count();
    assert_eq!(generations, 1, "what was replaced is gone once its successor has authenticated");
}

//! What the projections cost: filling the tables, loading the index from them, catching up from the log, looking up.
//!
//! `cargo bench -p signalbeam-projections` takes 100,000 devices, each with a key and a certificate; `DEVICES=...` another
//! number. Loading runs in a process of its own, so that its memory can be seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::cast_precision_loss)]

#[path = "index/synthetic.rs"]
mod synthetic;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signalbeam_event_store::EventReader;
use signalbeam_projections::{CredentialIndex, DIRECTORY, Projector, ReadModel, Tables, rebuild};
use synthetic::{EVENTS_PER_DEVICE, SyntheticLog};

const LONG: Duration = Duration::from_hours(1);

#[tokio::main]
async fn main() {
    let devices = std::env::var("DEVICES").map_or(100_000, |number| number.parse().unwrap());
    let log = Arc::new(SyntheticLog { devices });
    if let Ok(path) = std::env::var("LOAD_FROM") {
        load(log, Path::new(&path)).await;
        return;
    }
    println!("{devices} devices, {} events", devices * EVENTS_PER_DEVICE);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections.db");
    fill(log.clone(), &path).await;
    reopen(&log, &path).await;
    let loading = Command::new(std::env::current_exe().unwrap())
        .env("LOAD_FROM", &path)
        .env("DEVICES", devices.to_string())
        .status();
    assert!(loading.unwrap().success());
    catch_up(&log);
    metrics(&log, &path).await;
}

/// Since when something is measured: by the clock, and by what the process had used of the processors.
struct Measure(Instant, f64);

impl Measure {
    fn start() -> Self {
        Self(Instant::now(), on_cpu_seconds())
    }

    /// Prints how long it took, how many a second that makes, and the time on processors, which other work on the machine
    /// changes less.
    fn report(&self, what: &str, number: usize) {
        let (took, on_cpu) = (self.0.elapsed().as_secs_f64(), on_cpu_seconds() - self.1);
        println!("{what}: {took:.3} s ({:.0} a second), {on_cpu:.2} s of CPU", number as f64 / took);
    }
}

/// How long all threads of this process have run, as Linux says, in ticks of 10 ms.
fn on_cpu_seconds() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = status.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = fields[11..13].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

async fn fill(log: Arc<SyntheticLog>, path: &Path) {
    let events = log.devices * EVENTS_PER_DEVICE;
    let started = Measure::start();
    for device in 0..log.devices {
        black_box(synthetic::of_device(device));
    }
    started.report("making the events (part of what follows)", events);
    let tables = Tables::open(path, &*log).await.unwrap();
    let head = log.head().await.unwrap();
    let started = Measure::start();
    let projector = Projector::start(log, tables);
    projector.wait_for(head, LONG).await.unwrap();
    started.report("filling the tables, events", events);
    println!("projections.db: {} MiB", std::fs::metadata(path).unwrap().len() >> 20);
}

async fn reopen(log: &SyntheticLog, path: &Path) {
    let started = Measure::start();
    let tables = Tables::open(path, log).await.unwrap();
    started.report("opening and checking projections.db", 1);
    tables.close().await;
}

/// In KiB, as Linux says.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn load(log: Arc<SyntheticLog>, path: &Path) {
    let tables = Tables::attach(path).await.unwrap();
    let devices = log.devices;
    let before = resident_kib();
    let started = Measure::start();
    let index = CredentialIndex::start(log, Some(tables.clone()));
    index.wait_until_ready(LONG).await.unwrap();
    started.report("loading the index from the tables, devices", devices);
    tables.close().await;
    println!("memory a device, SQLite's cache included: {} octets", (resident_kib() - before) * 1024 / devices);
    assert_eq!(index.sizes(), (devices, devices, devices));
    look_up(&index, devices);
}

/// How long this thread has run, however busy the machine is, as Linux says.
fn on_cpu_nanoseconds() -> usize {
    let status = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    status.split(' ').next().unwrap().parse().unwrap()
}

fn look_up(index: &CredentialIndex, devices: usize) {
    const LOOKUPS: usize = 2_000_000;
    // Spread over all devices, so that caches do not flatter.
    let some: Vec<_> = (0..LOOKUPS).map(|at| at.wrapping_mul(7_919) % devices).collect();
    let fingerprints: Vec<_> = some.iter().map(|device| synthetic::fingerprint(*device)).collect();
    let ids: Vec<_> = some.iter().map(|device| synthetic::device_id(*device)).collect();
    let prefixes: Vec<_> = some.iter().map(|device| synthetic::prefix(*device)).collect();
    let time = |what: &str, look: &dyn Fn(usize) -> bool| {
        let started = on_cpu_nanoseconds();
        let found = (0..LOOKUPS).filter(|at| black_box(look(*at))).count();
        let nanoseconds = (on_cpu_nanoseconds() - started) / LOOKUPS;
        println!("{what}: {nanoseconds} ns of CPU");
        assert_eq!(found, LOOKUPS);
    };
    time("certificate by fingerprint", &|at| index.certificate(&fingerprints[at]).is_some());
    time("device", &|at| index.device(ids[at]).is_some());
    time("API key by prefix", &|at| index.api_keys(prefixes[at], |keys| !keys.is_empty()));
    time("active certificate of a device", &|at| index.active_certificate(ids[at]).is_some());
    time("age", &|_| index.age() < Duration::MAX);
}

fn catch_up(log: &SyntheticLog) {
    let events: Vec<_> = (0..log.devices.min(30_000)).flat_map(synthetic::of_device).collect();
    let index = CredentialIndex::from_events(&[]).unwrap();
    let started = Measure::start();
    for page in events.chunks(512) {
        index.apply(page).unwrap();
    }
    started.report("catching up from the log, events", events.len());
}

async fn metrics(log: &SyntheticLog, path: &Path) {
    let tables = Tables::attach(path).await.unwrap();
    let read_model = ReadModel::new(tables.clone());
    let started = Measure::start();
    read_model.devices_by_status().await.unwrap();
    read_model.active_certificates_by_tenant(synthetic::now(), 100).await.unwrap();
    read_model.certificates_expiring(synthetic::now(), &[1, 3, 7, 14, 30, 60, 90]).await.unwrap();
    started.report("all counts for the metrics", 1);
    let started = Measure::start();
    rebuild(DIRECTORY, &tables, log, |_| {}).await.unwrap();
    started.report("rebuilding beside the live tables, events", log.devices * EVENTS_PER_DEVICE);
}

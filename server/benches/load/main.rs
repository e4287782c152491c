//! The load figure: starts the real server and measures requests per second and the 99th percentile, kept alive and with
//! fresh handshakes, all in one run and as ratios to a route without authentication.
//!
//! `cargo bench -p signalbeam-server --bench load -- [SECONDS]` (60 by default for the long phases, 10 for the others).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod client;
mod flood;
mod phases;
mod world;

use std::time::Duration;

use phases::{Figure, handshakes, kept_alive};
use world::{Durability, World};

const CONNECTIONS: usize = 256;

fn main() {
    let argument = std::env::args().skip(1).find_map(|argument| argument.parse::<u64>().ok());
    let long = Duration::from_secs(argument.unwrap_or(60));
    let short = long.min(Duration::from_secs(10));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut report = Report::default();
        for durability in [Durability::Relaxed, Durability::Strict] {
            run(durability, long, short, &mut report).await;
        }
    });
}

async fn run(durability: Durability, long: Duration, short: Duration, report: &mut Report) {
    let world = World::start(durability).await;
    println!("\naudit.durability = \"{durability}\", {CONNECTIONS} connections, {} devices", world.devices.len());
    let anonymous = kept_alive(&world, CONNECTIONS, short, |_| world.anonymous_request()).await;
    report.line("GET /api/certificates/ca, no credential", &anonymous);
    report.base.get_or_insert(anonymous.per_second);

    let rows = world.audit_rows().await;
    let by_certificate = kept_alive(&world, CONNECTIONS, long, |device| world.heartbeat_by_certificate(device)).await;
    report.line("heartbeat by certificate", &by_certificate);
    world.expect_audit_rows(rows + by_certificate.answered).await;

    let rows = world.audit_rows().await;
    let by_key = kept_alive(&world, CONNECTIONS, short, |device| world.heartbeat_by_key(device)).await;
    report.line("heartbeat by API key", &by_key);
    world.expect_audit_rows(rows + by_key.answered).await;

    let full = handshakes(&world, 16, short, false).await;
    report.line("new mTLS connection and heartbeat, full handshake", &full);
    let resumed = handshakes(&world, 16, short, true).await;
    report.line("new mTLS connection and heartbeat, resumed", &resumed);
    under_a_flood(&world, short, report).await;
    println!("server's resident memory at the end: {} MiB", world.resident_mebibytes());
    world.stop();
}

/// What good devices notice of strangers who try keys, and what that leaves behind.
async fn under_a_flood(world: &World, duration: Duration, report: &Report) {
    let (quiet, _) = flood::paced(world, duration, None).await;
    report.line("16 devices, a heartbeat each 20 ms, quiet", &quiet);
    for (what, pause) in [
        ("the same, 64 strangers try a key each 20 ms", Duration::from_millis(20)),
        ("the same, 64 strangers as fast as they are answered", Duration::ZERO),
    ] {
        let (memory, octets) = (world.resident_mebibytes(), world.audit_octets());
        let (flooded, refusals) = flood::paced(world, duration, Some(pause)).await;
        report.line(what, &flooded);
        let [unauthorized, limited, other] = [&refusals.unauthorized, &refusals.limited, &refusals.other]
            .map(|counter| counter.load(std::sync::atomic::Ordering::Relaxed));
        println!(
            "    p99 {:.1} times the quiet one; strangers got 401 {unauthorized}, 429 {limited}, other {other}; memory {} -> {} MiB, \
             authentication log {} -> {} KiB",
            flooded.p99_ms / quiet.p99_ms,
            memory,
            world.resident_mebibytes(),
            octets / 1_024,
            world.audit_octets() / 1_024,
        );
    }
}

/// Prints one line a phase, with the ratio to the first.
#[derive(Default)]
struct Report {
    base: Option<f64>,
}

impl Report {
    fn line(&self, what: &str, figure: &Figure) {
        let ratio = figure.per_second / self.base.unwrap_or(figure.per_second);
        println!(
            "{what:<52} {:>9.0}/s  ratio {ratio:.2}  p50 {:>7.2} ms  p99 {:>7.2} ms  errors {}",
            figure.per_second, figure.p50_ms, figure.p99_ms, figure.errors
        );
    }
}

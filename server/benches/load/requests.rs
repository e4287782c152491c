//! Requests a second under both durabilities of the authentication log, as ratios to a route without authentication.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::flood;
use crate::paced::heartbeats;
use crate::phases::{handshakes, kept_alive};
use crate::report::Report;
use crate::world::{Durability, World};

const CONNECTIONS: usize = 256;

/// All phases, those that matter most for `long`.
pub(crate) async fn measure(long: Duration, short: Duration) {
    let mut report = Report::default();
    for durability in [Durability::Relaxed, Durability::Strict] {
        run(durability, long, short, &mut report).await;
    }
}

async fn run(durability: Durability, long: Duration, short: Duration, report: &mut Report) {
    let world = World::start(&[("SIGNALBEAM__AUDIT__DURABILITY", &durability.to_string())]).await;
    let devices = world.devices.len();
    println!("\naudit.durability = \"{durability}\", {CONNECTIONS} connections, {devices} devices");
    let anonymous = kept_alive(CONNECTIONS, short, |_| world.anonymous_request()).await;
    report.line("GET /api/certificates/ca, no credential", &anonymous);

    let rows = world.audit_rows().await;
    let by_certificate = |number| world.heartbeat_by_certificate(number % devices);
    let by_certificate = kept_alive(CONNECTIONS, long, by_certificate).await;
    report.line("heartbeat by certificate", &by_certificate);
    world.expect_audit_rows(rows + by_certificate.answered).await;

    let rows = world.audit_rows().await;
    let by_key = kept_alive(CONNECTIONS, short, |number| world.heartbeat_by_key(number % devices)).await;
    report.line("heartbeat by API key", &by_key);
    world.expect_audit_rows(rows + by_key.answered).await;

    let full = handshakes(&world, 16, short, false).await;
    report.line("new mTLS connection and heartbeat, full handshake", &full);
    let resumed = handshakes(&world, 16, short, true).await;
    report.line("new mTLS connection and heartbeat, resumed", &resumed);
    under_a_flood(&world, short, report).await;
    println!("server's resident memory at the end: {} MiB", world.server.resident_mebibytes());
    world.server.stop();
}

/// What good devices notice of strangers who try keys, and what that leaves behind.
async fn under_a_flood(world: &World, duration: Duration, report: &mut Report) {
    let quiet = heartbeats(world, duration).await;
    report.line("16 devices, a heartbeat each 20 ms, quiet", &quiet);
    for (what, pause) in [
        ("the same, 64 strangers try a key each 20 ms", Duration::from_millis(20)),
        ("the same, 64 strangers as fast as they are answered", Duration::ZERO),
    ] {
        let (memory, octets) = (world.server.resident_mebibytes(), world.audit_octets());
        let (flooded, refusals) = flood::beside_heartbeats(world, duration, pause).await;
        report.line(what, &flooded);
        let [unauthorized, limited, other] =
            [&refusals.unauthorized, &refusals.limited, &refusals.other].map(|counter| counter.load(Ordering::Relaxed));
        println!(
            "    p99 {:.1} times the quiet one; strangers got 401 {unauthorized}, 429 {limited}, other {other}; memory {} -> {} MiB, \
             authentication log {} -> {} KiB",
            flooded.p99_ms / quiet.p99_ms,
            memory,
            world.server.resident_mebibytes(),
            octets / 1_024,
            world.audit_octets() / 1_024,
        );
    }
}

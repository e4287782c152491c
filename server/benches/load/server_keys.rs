//! Heartbeats while the server makes RSA keys for devices, as fast as it makes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::client::Wire;
use crate::paced::heartbeats;
use crate::phases::Figure;
use crate::report::Report;
use crate::server::Approved;
use crate::world::World;

/// How many ask for keys: more than are made at a time, on any machine that this runs on, and not so many that any is told
/// to come back later.
const ASKING: usize = 12;
const LARGE: &str = "large";

pub(crate) async fn measure(duration: Duration) {
    let world = World::start(&[
        ("SIGNALBEAM__RATE_LIMIT__ENABLED", "false"),
        ("SIGNALBEAM__PROFILES__LARGE__SERVER_KEY_TYPE", "rsa-4096"),
    ])
    .await;
    println!("\n16 devices, a heartbeat each 20 ms, beside {ASKING} clients for whom the server makes keys");
    let devices = world.server.approved(ASKING).await;
    for (profile, kind) in [("device", "RSA-2048"), (LARGE, "RSA-4096")] {
        let mut report = Report::default();
        let quiet = heartbeats(&world, duration).await;
        report.line("heartbeats alone", &quiet);
        let (beside, keys) = beside_keys(&world, &devices, profile, duration).await;
        report.line(&format!("heartbeats while {kind} keys are made"), &beside);
        let ratio = beside.p99_ms / quiet.p99_ms;
        println!("    {keys} keys made meanwhile; p99 relative to that alone (target <= 1.5): {ratio:.2}");
    }
    world.server.stop();
}

/// Heartbeats while keys are being made from the first to the last of them; and how many keys were finished meanwhile.
async fn beside_keys(world: &World, devices: &[Approved], profile: &str, duration: Duration) -> (Figure, u64) {
    let (is_over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut asking = JoinSet::new();
    for device in devices {
        let path = format!("/api/certificates/{}/issue", device.id);
        let request = world.server.by_admin("POST", &path, &json!({"profile": profile}));
        let (target, is_over, made) = (world.server.https(), Arc::clone(&is_over), Arc::clone(&made));
        asking.spawn(async move {
            let mut wire = Wire::connect(&target).await.unwrap();
            while !is_over.load(Ordering::Relaxed) {
                let answer = wire.exchange(&request).await.unwrap();
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(answer.body()));
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let figure = heartbeats(world, duration).await;
    is_over.store(true, Ordering::Relaxed);
    let made = made.load(Ordering::Relaxed);
    asking.join_all().await;
    (figure, made)
}

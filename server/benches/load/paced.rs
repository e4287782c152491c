//! Heartbeats at a steady pace, as devices send them.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::Wire;
use crate::phases::{Figure, microseconds_since};
use crate::world::World;

const DEVICES: usize = 16;
/// Each device sends one heartbeat in this time.
const PACE: Duration = Duration::from_millis(20);

/// Each device sends a heartbeat by its certificate in each [`PACE`], and the next one not before that was answered.
pub(crate) async fn heartbeats(world: &World, duration: Duration) -> Figure {
    let started = Instant::now();
    let mut devices = JoinSet::new();
    for device in 0..DEVICES {
        let load = world.heartbeat_by_certificate(device);
        devices.spawn(async move {
            let mut wire = Wire::connect(&load.target).await.unwrap();
            let mut ticks = interval(PACE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut samples, mut errors) = (Vec::new(), 0);
            while started.elapsed() < duration {
                ticks.tick().await;
                let sent = Instant::now();
                errors += u64::from(wire.exchange(&load.request).await.unwrap().status != 200);
                samples.push(microseconds_since(sent));
            }
            (samples, errors)
        });
    }
    let (samples, errors): (Vec<_>, Vec<u64>) = devices.join_all().await.into_iter().unzip();
    Figure::new(samples.concat(), errors.iter().sum(), started.elapsed())
}

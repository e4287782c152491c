//! A flood of wrong keys: what good devices notice of it, and what it leaves behind.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::Wire;
use crate::phases::Figure;
use crate::world::World;

const DEVICES: usize = 16;
const STRANGERS: u8 = 64;
/// Each device sends one heartbeat in this time.
const PACE: Duration = Duration::from_millis(20);

/// What strangers got.
#[derive(Default)]
pub(crate) struct Refusals {
    pub(crate) unauthorized: AtomicU64,
    pub(crate) limited: AtomicU64,
    pub(crate) other: AtomicU64,
}

/// Heartbeats at a steady pace, as devices send them, while nothing else happens or strangers try keys: each stranger from
/// an address of its own, as fast as it is answered, or once in `pause`.
pub(crate) async fn paced(world: &World, duration: Duration, flood: Option<Duration>) -> (Figure, Arc<Refusals>) {
    let started = Instant::now();
    let refusals = Arc::new(Refusals::default());
    let mut strangers = JoinSet::new();
    for number in (0..STRANGERS).filter(|_| flood.is_some()) {
        let (request, tls, address) = (world.guess(number), world.nobody(), world.address);
        let refusals = Arc::clone(&refusals);
        let pause = flood.unwrap_or_default();
        strangers.spawn(async move {
            let from = IpAddr::from(Ipv4Addr::new(127, 0, 1, number));
            let mut wire = Wire::connect_from(from, address, tls).await.unwrap();
            while started.elapsed() < duration {
                let counter = match wire.exchange(&request).await.unwrap().status {
                    401 => &refusals.unauthorized,
                    429 => &refusals.limited,
                    _ => &refusals.other,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }
    let mut devices = JoinSet::new();
    for device in 0..DEVICES {
        let load = world.heartbeat_by_certificate(device);
        let address = world.address;
        devices.spawn(async move {
            let mut wire = Wire::connect(address, load.tls).await.unwrap();
            let mut ticks = interval(PACE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut samples, mut errors) = (Vec::new(), 0);
            while started.elapsed() < duration {
                ticks.tick().await;
                let sent = Instant::now();
                errors += u64::from(wire.exchange(&load.request).await.unwrap().status != 200);
                samples.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            (samples, errors)
        });
    }
    let (samples, errors): (Vec<_>, Vec<u64>) = devices.join_all().await.into_iter().unzip();
    let figure = Figure::new(samples.concat(), errors.iter().sum(), started.elapsed());
    strangers.join_all().await;
    (figure, refusals)
}

//! A flood of wrong keys: what good devices notice of it, and what it leaves behind.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::Wire;
use crate::paced::heartbeats;
use crate::phases::Figure;
use crate::world::World;

const STRANGERS: u8 = 64;

/// What strangers got.
#[derive(Default)]
pub(crate) struct Refusals {
    pub(crate) unauthorized: AtomicU64,
    pub(crate) limited: AtomicU64,
    pub(crate) other: AtomicU64,
}

/// Heartbeats at a steady pace while strangers try keys: each from an address of its own, once in `pause`, or as fast as it
/// is answered.
pub(crate) async fn beside_heartbeats(world: &World, duration: Duration, pause: Duration) -> (Figure, Arc<Refusals>) {
    let started = Instant::now();
    let refusals = Arc::new(Refusals::default());
    let mut strangers = JoinSet::new();
    for number in 0..STRANGERS {
        let (request, target) = (world.guess(number), world.server.https());
        let refusals = Arc::clone(&refusals);
        strangers.spawn(async move {
            let from = IpAddr::from(Ipv4Addr::new(127, 0, 1, number));
            let mut wire = Wire::connect_from(from, &target).await.unwrap();
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
    let figure = heartbeats(world, duration).await;
    strangers.join_all().await;
    (figure, refusals)
}

//! The measured phases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::{Target, Wire, config};
use crate::world::World;

/// What a phase came to.
pub(crate) struct Figure {
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Figure {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn new(mut microseconds: Vec<u32>, errors: u64, took: Duration) -> Self {
        microseconds.sort_unstable();
        let at = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the samples")]
            let index = (microseconds.len() as f64 * share) as usize;
            microseconds.get(index.min(microseconds.len().saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1_000.0)
        };
        Self {
            answered: microseconds.len() as u64,
            errors,
            per_second: microseconds.len() as f64 / took.as_secs_f64(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
        }
    }
}

pub(crate) fn microseconds_since(started: Instant) -> u32 {
    u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// What a connection sends, and where.
pub(crate) struct Load {
    pub(crate) request: Vec<u8>,
    pub(crate) target: Target,
}

/// Sends the same request over and over on each of many connections that stay open.
pub(crate) async fn kept_alive(connections: usize, duration: Duration, load: impl Fn(usize) -> Load) -> Figure {
    let mut wires = Vec::with_capacity(connections);
    for number in 0..connections {
        let load = load(number);
        let mut wire = Wire::connect(&load.target).await.unwrap();
        assert_eq!(wire.exchange(&load.request).await.unwrap().status, 200, "the first request of a connection");
        wires.push((wire, load.request));
    }
    let errors = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut wire, request) in wires {
        let errors = Arc::clone(&errors);
        tasks.spawn(async move {
            let mut samples = Vec::new();
            while started.elapsed() < duration {
                let sent = Instant::now();
                let answer = wire.exchange(&request).await.unwrap();
                samples.push(microseconds_since(sent));
                if answer.status != 200 {
                    errors.fetch_add(1, Ordering::Relaxed);
                }
            }
            samples
        });
    }
    let samples = tasks.join_all().await.concat();
    let mut figure = Figure::new(samples, errors.load(Ordering::Relaxed), started.elapsed());
    // The request that proved each connection was recorded by the server too.
    figure.answered += connections as u64;
    figure
}

/// Sends each request once, spread over so many connections that stay open; each must be answered with this status.
pub(crate) async fn each_once(connections: usize, target: &Target, requests: &[Vec<u8>], status: u16) -> Figure {
    let mut clients = Vec::with_capacity(connections);
    for first in 0..connections {
        let own: Vec<_> = requests.iter().skip(first).step_by(connections).cloned().collect();
        clients.push((Wire::connect(target).await.unwrap(), own));
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut wire, requests) in clients {
        tasks.spawn(async move {
            let mut samples = Vec::with_capacity(requests.len());
            for request in &requests {
                let sent = Instant::now();
                let answer = wire.exchange(request).await.unwrap();
                samples.push(microseconds_since(sent));
                assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(answer.body()));
            }
            samples
        });
    }
    let samples = tasks.join_all().await.concat();
    Figure::new(samples, 0, started.elapsed())
}

/// Opens a connection with a certificate, sends one heartbeat, closes it; and again.
pub(crate) async fn handshakes(world: &World, clients: usize, duration: Duration, resumes: bool) -> Figure {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let device = number % world.devices.len();
        let tls = config(&world.server.root, Some(&world.devices[device].identity), resumes);
        let target = Target { tls: Some(tls), ..world.server.https() };
        let request = world.heartbeat_by_certificate(device).request;
        tasks.spawn(async move {
            let (mut samples, mut errors) = (Vec::new(), 0);
            let mut is_first = true;
            while started.elapsed() < duration {
                let opened = Instant::now();
                let mut wire = Wire::connect(&target).await.unwrap();
                let answer = wire.exchange(&request).await.unwrap();
                errors += u64::from(answer.status != 200 || wire.is_resumed() != (resumes && !is_first));
                samples.push(microseconds_since(opened));
                is_first = false;
            }
            (samples, errors)
        });
    }
    let (samples, errors): (Vec<_>, Vec<u64>) = tasks.join_all().await.into_iter().unzip();
    Figure::new(samples.concat(), errors.iter().sum(), started.elapsed())
}

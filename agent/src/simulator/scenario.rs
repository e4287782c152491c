//! What a fleet does once it is enrolled.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::simulator::cli::Scenario;
use crate::simulator::device::Device;
use crate::simulator::plan::Length;
use crate::simulator::progress::Progress;
use crate::simulator::schedule;
use crate::simulator::world::World;

mod flapping;
mod renewal_storm;
mod revocations;
mod steady;

/// Plays the plan's scenario to its end.
pub fn play(world: &World<'_>, devices: &[Mutex<Device>]) {
    match world.plan.scenario {
        Scenario::Steady => each_at_its_interval(world, devices, "steady", |_, device| steady::step(world, device)),
        Scenario::RenewalStorm => renewal_storm::play(world, devices),
        Scenario::Flapping => {
            each_at_its_interval(world, devices, "flapping", |_, device| flapping::step(world, device));
            flapping::check_nobody_is_lost(world, devices);
        }
        Scenario::Revocations => revocations::play(world, devices),
    }
}

/// Each device does a step at the plan's interval, spread over it, until the scenario's end.
fn each_at_its_interval(
    world: &World<'_>,
    devices: &[Mutex<Device>],
    name: &'static str,
    step: impl Fn(usize, &mut Device) -> Result<(), Failure> + Sync,
) {
    until(world, devices, name, step, |_, _| false);
}

/// As [`each_at_its_interval`], and beyond the end for as long as `must_go_on` says so of a device.
fn until(
    world: &World<'_>,
    devices: &[Mutex<Device>],
    name: &'static str,
    step: impl Fn(usize, &mut Device) -> Result<(), Failure> + Sync,
    must_go_on: impl Fn(usize, &Device) -> bool + Sync,
) {
    let plan = world.plan;
    let begun = Instant::now();
    let steps = match plan.length {
        Length::Iterations(iterations) => Some(u64::from(iterations) * devices.len() as u64),
        Length::Duration(_) => None,
    };
    let progress = Progress::new(name, steps);
    let share = |number: usize| plan.interval.mul_f64(fraction(number, devices.len()));
    schedule::run(devices, plan.concurrency, world.stop, share, |number, device| {
        note(world, device, |device| step(number, device));
        device.done += 1;
        progress.step();
        let goes_on = match plan.length {
            Length::Iterations(iterations) => device.done < iterations,
            Length::Duration(duration) => begun.elapsed() < duration,
        };
        (goes_on || must_go_on(number, device)).then(|| device.dice.about(plan.interval))
    });
    progress.finish();
}

/// Every device does one step, all at once as far as there are threads.
fn all_at_once(
    world: &World<'_>,
    devices: &[Mutex<Device>],
    name: &'static str,
    step: impl Fn(usize, &mut Device) -> Result<(), Failure> + Sync,
) {
    let progress = Progress::new(name, Some(devices.len() as u64));
    schedule::run(
        devices,
        world.plan.concurrency,
        world.stop,
        |_| Duration::ZERO,
        |number, device| {
            note(world, device, |device| step(number, device));
            progress.step();
            None
        },
    );
    progress.finish();
}

/// A step that fails for good did not hold, unless the run was stopped in the middle of it.
fn note(world: &World<'_>, device: &mut Device, step: impl FnOnce(&mut Device) -> Result<(), Failure>) {
    if let Err(failure) = step(device)
        && !world.stop.is_set()
    {
        world.recorder.violation(format!("{}: {failure}", device.name));
    }
}

// A fleet has far fewer than 2^52 devices.
#[allow(clippy::cast_precision_loss)]
fn fraction(number: usize, of: usize) -> f64 {
    number as f64 / of.max(1) as f64
}

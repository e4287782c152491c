//! All certificates renewed at once: the old ones must be refused from that moment, the new ones accepted.

use std::sync::Mutex;
use std::time::Instant;

use super::all_at_once;
use crate::simulator::device::{Device, Former};
use crate::simulator::plan::Length;
use crate::simulator::world::World;

/// Storm after storm until the end.
pub(super) fn play(world: &World<'_>, devices: &[Mutex<Device>]) {
    let begun = Instant::now();
    let mut storms = 0;
    while !world.stop.is_set() && is_due(world.plan.length, storms, begun) {
        storm(world, devices);
        storms += 1;
    }
}

fn is_due(length: Length, storms: u32, begun: Instant) -> bool {
    match length {
        Length::Iterations(iterations) => storms < iterations,
        Length::Duration(duration) => begun.elapsed() < duration,
    }
}

fn storm(world: &World<'_>, devices: &[Mutex<Device>]) {
    let formers: Vec<Mutex<Option<Former>>> = devices.iter().map(|_| Mutex::default()).collect();
    let at = |number: usize| formers[number].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    all_at_once(world, devices, "renewing", |number, device| {
        *at(number) = Some(device.renew(world, None)?);
        Ok(())
    });
    all_at_once(world, devices, "old and new", |number, device| {
        if let Some(former) = at(number).take() {
            device.check_refused(world, former);
        }
        let answer = device.beat_persistently(world)?;
        let known = answer.certificate.map(|certificate| certificate.serial_number);
        if known.as_deref() != Some(device.serial_number()) {
            let serial_number = device.serial_number();
            world.recorder.violation(format!(
                "{}: authenticated by {serial_number}, but the server spoke of {known:?}",
                device.name
            ));
        }
        Ok(())
    });
}

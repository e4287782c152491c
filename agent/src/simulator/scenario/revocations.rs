//! Certificates revoked while heartbeats are sent. What counts is the instant at which the administrator has the answer: every
//! request that is sent after it must be refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{steady, until};
use crate::failure::Failure;
use crate::simulator::device::{Device, REVOKED};
use crate::simulator::dice::Dice;
use crate::simulator::plan::Length;
use crate::simulator::record::Kind;
use crate::simulator::world::World;

/// The part of the scenario's time in which certificates are revoked; the rest is for the devices to notice.
const REVOKING_PART: f64 = 0.8;

/// What the administrator and a device know of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing has happened.
    Untouched,
    /// The revocation of this certificate is on its way: either outcome is right.
    Begun(String),
    /// It was answered: this certificate must be refused.
    Answered(String),
    /// The device has noticed.
    Noticed,
}

struct Marks(Vec<Mutex<Mark>>);

impl Marks {
    fn at(&self, number: usize) -> MutexGuard<'_, Mark> {
        self.0[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Heartbeats of all devices, and an administrator beside them.
pub(super) fn play(world: &World<'_>, devices: &[Mutex<Device>]) {
    let serials: Vec<String> = devices
        .iter()
        .map(|device| device.lock().unwrap_or_else(PoisonError::into_inner).serial_number().to_owned())
        .collect();
    let marks = Marks(serials.iter().map(|_| Mutex::new(Mark::Untouched)).collect());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            revoke_some(world, &serials, &marks);
            is_done.store(true, Ordering::SeqCst);
        });
        let must_go_on = |number: usize, _: &Device| {
            !is_done.load(Ordering::SeqCst) || matches!(*marks.at(number), Mark::Begun(_) | Mark::Answered(_))
        };
        until(world, devices, "revocations", |number, device| step(world, device, number, &marks), must_go_on);
    });
}

fn revoke_some(world: &World<'_>, serials: &[String], marks: &Marks) {
    let mut dice = Dice::new(world.seed, usize::MAX);
    let mut left: Vec<usize> = (0..serials.len()).collect();
    let victims = world.plan.victims().min(left.len());
    let pause = time_to_revoke(world).div_f64(crate::simulator::histogram::as_f64(victims as u64 + 1));
    for _ in 0..victims {
        if world.stop.wait(dice.about(pause)) {
            return;
        }
        let victim = left.swap_remove(dice.below(left.len()));
        let serial_number = &serials[victim];
        *marks.at(victim) = Mark::Begun(serial_number.clone());
        match world.persistently(&mut dice, Kind::Revoke, || world.admin.revoke(serial_number)) {
            Ok(()) => {
                world.recorder.count(|tally| tally.revoked += 1);
                let mut mark = marks.at(victim);
                // The device may have been refused before the administrator had the answer.
                if *mark != Mark::Noticed {
                    *mark = Mark::Answered(serial_number.clone());
                }
            }
            Err(error) if world.stop.is_set() => tracing::debug!(reason = %error, "stopped while revoking"),
            Err(error) => world.recorder.violation(format!("certificate {serial_number} was not revoked: {error}")),
        }
    }
}

fn time_to_revoke(world: &World<'_>) -> Duration {
    let whole = match world.plan.length {
        Length::Iterations(iterations) => world.plan.interval * iterations,
        Length::Duration(duration) => duration,
    };
    whole.mul_f64(REVOKING_PART)
}

/// A heartbeat; a device whose certificate was revoked uses its API key and asks anew.
fn step(world: &World<'_>, device: &mut Device, number: usize, marks: &Marks) -> Result<(), Failure> {
    let before = marks.at(number).clone();
    let kind = device.next_beat();
    if matches!(before, Mark::Untouched | Mark::Noticed) {
        // A revocation may begin while this heartbeat is under way.
        let outcome = device.beat(world);
        let is_refused = matches!(&outcome, Err(error) if error.code() == REVOKED);
        if is_refused && matches!(*marks.at(number), Mark::Begun(_) | Mark::Answered(_)) {
            world.recorder.was_due(kind, REVOKED);
            return go_on_without(world, device, number, marks);
        }
        return steady::judge(world, device, outcome);
    }
    let serial_number = device.serial_number().to_owned();
    let outcome = device.beat(world).map(drop);
    if matches!(before, Mark::Answered(_)) {
        device.judge_refusal(world, &outcome, &serial_number, "the connection in use");
    }
    match outcome {
        Err(error) if error.code() == REVOKED => {
            world.recorder.was_due(kind, REVOKED);
            go_on_without(world, device, number, marks)
        }
        Err(error) if !crate::commands::run::may_pass(&error) => Err(error.into()),
        // Accepted after the answer is a violation already; before it, the next heartbeat tells.
        _ => Ok(()),
    }
}

fn go_on_without(world: &World<'_>, device: &mut Device, number: usize, marks: &Marks) -> Result<(), Failure> {
    *marks.at(number) = Mark::Noticed;
    let former = device.take_former();
    device.check_refused(world, former);
    device.beat_by_api_key(world)?;
    world.recorder.count(|tally| tally.fell_back += 1);
    device.reissue(world, false)?;
    device.beat_persistently(world)?;
    world.recorder.count(|tally| tally.replaced += 1);
    Ok(())
}

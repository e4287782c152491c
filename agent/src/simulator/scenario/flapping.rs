//! Bad networks and power cuts: whatever is lost, repeating must be enough.

use std::sync::Mutex;

use super::all_at_once;
use crate::failure::Failure;
use crate::simulator::device::Device;
use crate::simulator::hang_up::Moment;
use crate::simulator::world::World;

#[derive(Clone, Copy)]
enum Mishap {
    ConnectionCut,
    Restart,
    LostHeartbeat(Moment),
    LostRenewal(Moment),
    LostCertificateRequest,
}

const MISHAPS: [Mishap; 7] = [
    Mishap::ConnectionCut,
    Mishap::Restart,
    Mishap::LostHeartbeat(Moment::RequestSent),
    Mishap::LostHeartbeat(Moment::AnswerBegins),
    Mishap::LostRenewal(Moment::RequestSent),
    Mishap::LostRenewal(Moment::AnswerBegins),
    Mishap::LostCertificateRequest,
];

/// One mishap, then a heartbeat that must be accepted.
pub(super) fn step(world: &World<'_>, device: &mut Device) -> Result<(), Failure> {
    match device.dice.choose(&MISHAPS).unwrap_or(Mishap::ConnectionCut) {
        Mishap::ConnectionCut => device.cut(world),
        Mishap::Restart => device.restart(world)?,
        Mishap::LostHeartbeat(moment) => device.beat_and_hang_up(world, moment),
        Mishap::LostRenewal(moment) => {
            let former = device.renew(world, Some(moment))?;
            device.beat_persistently(world)?;
            device.check_refused(world, former);
        }
        Mishap::LostCertificateRequest => {
            let former = device.take_former();
            device.reissue(world, true)?;
            device.check_refused(world, former);
        }
    }
    device.beat_persistently(world)?;
    Ok(())
}

/// In the end every device restarts once more and is let in.
pub(super) fn check_nobody_is_lost(world: &World<'_>, devices: &[Mutex<Device>]) {
    all_at_once(world, devices, "nobody lost", |_, device| {
        device.restart(world)?;
        device.beat_persistently(world)?;
        Ok(())
    });
}

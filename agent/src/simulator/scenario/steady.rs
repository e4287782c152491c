//! Heartbeats by certificate, and a renewal where the server asks for one.

use crate::api::HeartbeatReceived;
use crate::commands::run::may_pass;
use crate::failure::Failure;
use crate::simulator::device::Device;
use crate::simulator::world::World;
use crate::transport::CallError;

/// One heartbeat; a certificate that the server wants renewed is renewed.
pub(super) fn step(world: &World<'_>, device: &mut Device) -> Result<(), Failure> {
    let outcome = device.beat(world);
    let wants_renewal = matches!(
        &outcome,
        Ok(HeartbeatReceived { certificate: Some(certificate), .. }) if certificate.renewal_required
    );
    judge(world, device, outcome)?;
    if wants_renewal {
        device.renew(world, None)?;
    }
    Ok(())
}

/// What a heartbeat by a certificate in force came to. One that was refused is replaced, so that the device goes on.
pub(super) fn judge(
    world: &World<'_>,
    device: &mut Device,
    outcome: Result<HeartbeatReceived, CallError>,
) -> Result<(), Failure> {
    world.count_in_force(&outcome);
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.refuses_certificate() => {
            device.beat_by_api_key(world)?;
            device.reissue(world, false)?;
            Err(error.into())
        }
        // What may pass is in the record, and the next heartbeat tells.
        Err(error) if may_pass(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

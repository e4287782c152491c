//! Claim secrets: whoever registered a device may follow its registration and fetch its first API key.

use signalbeam_domain::device::{Device, KnownDevice};
use signalbeam_domain::{ClaimSecret, DeviceId, StreamId, Version};
use signalbeam_event_store::audit::AuthenticationMethod;
use signalbeam_event_store::load;

use crate::authenticator::{Authenticator, unavailable};
use crate::code::ErrorCode;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;
use crate::recorder::FailedAttempt;
use crate::secrets::claim_secret_matches;

/// A device whose claim secret was presented, as its stream says it is right now.
#[derive(Debug)]
pub struct ClaimedDevice {
    /// The device.
    pub device: KnownDevice,
    /// The version of its stream that this was read at.
    pub version: Version,
}

impl Authenticator {
    /// Reads the device strongly and compares the secret in constant time. An unknown device and a wrong secret are one
    /// and the same to the caller.
    ///
    /// # Errors
    /// 401 `INVALID_CLAIM_SECRET`, 403 `ADDRESS_NOT_ALLOWED` and 429 `RATE_LIMITED`, recorded; 503 `STORE_UNAVAILABLE` or
    /// `LOG_ROLLED_BACK`.
    pub async fn claimant(
        &self,
        context: &RequestContext,
        device_id: DeviceId,
        presented: &str,
    ) -> Result<ClaimedDevice, Problem> {
        self.log_lock().require_released()?;
        let loaded = load::<Device>(&*self.store, &StreamId::device(device_id)).await;
        let (device, version) = loaded.map_err(|error| unavailable(&error))?;
        let known = device.known().cloned();
        let problem = if let (Ok(secret), Some(device)) = (ClaimSecret::parse(presented), &known)
            && device.registered.claim_secret_sha256().is_some_and(|kept| claim_secret_matches(&secret, kept))
        {
            match self.admit_known(context, device) {
                Ok(()) => return Ok(ClaimedDevice { device: device.clone(), version }),
                Err(problem) => problem,
            }
        } else {
            Problem::new(ErrorCode::InvalidClaimSecret, "the claim secret is not this device's")
        };
        let failure = FailedAttempt {
            method: AuthenticationMethod::ClaimSecret,
            code: problem.code(),
            device_id: known.as_ref().map(|device| device.registered.device_id),
            tenant_id: known.as_ref().map(|device| device.registered.tenant_id),
            prefix: None,
        };
        self.recorder.record_failure(context, failure).await;
        Err(self.limits.failed(context.client_address, None, problem))
    }
}

//! Devices: registered by themselves, decided on by admins.

pub(crate) mod bulk;
pub(crate) mod decide;
mod decision;
pub(crate) mod heartbeat;
pub(crate) mod register;
pub(crate) mod rename;

use serde::{Deserialize, Serialize};
use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::device::{DecisionReason, DeviceError};
use signalbeam_domain::{DeviceId, DeviceStatus, Reason};
use utoipa::ToSchema;

pub(crate) fn refused(error: &DeviceError) -> Problem {
    let detail = error.to_string();
    match error {
        DeviceError::Unknown => Problem::not_found("device"),
        DeviceError::AlreadyRegistered => Problem::new(ErrorCode::InvalidState, detail),
        DeviceError::InvalidState { status, .. } => {
            Problem::new(ErrorCode::InvalidState, detail).with("deviceStatus", status.as_str())
        }
    }
}

/// A decision that may have a reason.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Decide {
    /// Why.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
}

impl Decide {
    fn reason(&self) -> DecisionReason {
        DecisionReason { reason: self.reason.clone() }
    }
}

/// Where the device stands after the decision.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decided {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// Where it stands.
    #[schema(value_type = String, example = "Approved")]
    status: DeviceStatus,
}

//! What stands between a good credential and being let in: from where its holder comes, and how often its tenant asks.

use signalbeam_domain::device::KnownDevice;
use signalbeam_domain::{DeviceId, TenantId};

use crate::authenticator::Authenticator;
use crate::code::ErrorCode;
use crate::device::advice;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;
use crate::limits::Limits;

impl Authenticator {
    /// The limits of this node.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets a request in whose credential is genuine: of a device, or of one that registers and has no id yet.
    ///
    /// # Errors
    /// 403 `ADDRESS_NOT_ALLOWED` where the device or its tenant is bound to other networks; 429 `RATE_LIMITED` where the
    /// tenant asks too often.
    pub fn admit(
        &self,
        context: &RequestContext,
        tenant_id: TenantId,
        device_id: Option<DeviceId>,
    ) -> Result<(), Problem> {
        if !self.permits_address(context, tenant_id, device_id) {
            return Err(address_not_allowed());
        }
        self.limits.tenant_request(tenant_id)
    }

    /// As [`Self::admit`], for a device that was read from its stream: its networks are those that the stream tells, since
    /// this node's index may be behind, or not yet complete.
    pub(crate) fn admit_known(&self, context: &RequestContext, device: &KnownDevice) -> Result<(), Problem> {
        if !device.allowed_networks.permit(context.client_address) {
            return Err(address_not_allowed());
        }
        self.admit(context, device.registered.tenant_id, None)
    }

    /// Whether the request comes from where the device and its tenant may come from.
    pub(crate) fn permits_address(
        &self,
        context: &RequestContext,
        tenant_id: TenantId,
        device_id: Option<DeviceId>,
    ) -> bool {
        let address = context.client_address;
        self.limits.tenant_permits_address(tenant_id, address)
            && device_id.is_none_or(|device_id| self.index.permits_address(device_id, address))
    }
}

fn address_not_allowed() -> Problem {
    Problem::new(ErrorCode::AddressNotAllowed, advice(ErrorCode::AddressNotAllowed))
}

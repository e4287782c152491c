//! What stands between a good credential and being let in: from where its holder comes, and how often its tenant asks.

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
            return Err(Problem::new(ErrorCode::AddressNotAllowed, advice(ErrorCode::AddressNotAllowed)));
        }
        self.limits.tenant_request(tenant_id)
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

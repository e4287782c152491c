//! How many devices and registration tokens a tenant may have.
//!
//! On one node the numbers are exact: whoever adds one counts and appends while no one else of the tenant does. Nodes do
//! not wait for each other: together they may exceed a bound by what is added on both sides at the same moment. So may
//! requests whose clients go away in the middle.

use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::TenantId;
use tokio::sync::MutexGuard;

use crate::command::store_unavailable;
use crate::state::CommandApi;

/// Room for one more, as long as it is held; nothing is held for a tenant without a bound.
#[must_use]
pub(crate) struct Slot<'a>(#[expect(dead_code, reason = "held until it is dropped")] Option<MutexGuard<'a, ()>>);

impl CommandApi {
    /// Room for one more device.
    ///
    /// # Errors
    /// 403 `QUOTA_EXCEEDED`
    pub(crate) async fn device_slot(&self, tenant_id: TenantId) -> Result<Slot<'_>, Problem> {
        let limits = self.authenticator.limits();
        let Some(max) = limits.tenants().of(tenant_id).max_devices else { return Ok(Slot(None)) };
        let gate = limits.tenant_gate(tenant_id).lock().await;
        let current = self.index.devices_in_service(tenant_id);
        require_room("devices", u64::from(max), u64::try_from(current).unwrap_or(u64::MAX))?;
        Ok(Slot(Some(gate)))
    }

    /// Room for one more registration token with which a device can register.
    ///
    /// # Errors
    /// 403 `QUOTA_EXCEEDED`; 503 where the tables cannot be asked.
    pub(crate) async fn token_slot(&self, tenant_id: TenantId) -> Result<Slot<'_>, Problem> {
        let limits = self.authenticator.limits();
        let Some(max) = limits.tenants().of(tenant_id).max_active_tokens else { return Ok(Slot(None)) };
        let gate = limits.tenant_gate(tenant_id).lock().await;
        let current = self.tables().await?.active_registration_tokens(tenant_id, self.now()).await;
        require_room(
            "active registration tokens",
            u64::from(max),
            current.map_err(|error| store_unavailable(&error))?,
        )?;
        Ok(Slot(Some(gate)))
    }
}

fn require_room(what: &str, limit: u64, current: u64) -> Result<(), Problem> {
    if current < limit {
        return Ok(());
    }
    let detail = format!("the tenant has {current} of {limit} {what}");
    Err(Problem::new(ErrorCode::QuotaExceeded, detail).with("limit", limit).with("current", current))
}

//! What a tenant may have and do, as the operator configured it.

use std::collections::HashMap;
use std::net::IpAddr;

use signalbeam_domain::{Network, TenantId};

/// The bounds of one tenant. `None` stands for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantBounds {
    /// The most devices that are pending, approved or suspended.
    pub max_devices: Option<u32>,
    /// The most registration tokens that are neither used nor expired nor revoked.
    pub max_active_tokens: Option<u32>,
    /// The most requests a second of its devices and of admins that are confined to it.
    pub requests_per_second: Option<u32>,
    /// From where its devices register and authenticate; an empty list stands for everywhere.
    pub allowed_networks: Vec<Network>,
}

/// The bounds of all tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantPolicy {
    /// Of every tenant without its own.
    pub default: TenantBounds,
    /// Of single tenants.
    pub overrides: HashMap<TenantId, TenantBounds>,
}

impl TenantPolicy {
    /// The bounds of a tenant.
    pub fn of(&self, tenant_id: TenantId) -> &TenantBounds {
        self.overrides.get(&tenant_id).unwrap_or(&self.default)
    }
}

impl TenantBounds {
    /// Whether the tenant's list of networks permits an address.
    pub fn permit_address(&self, address: IpAddr) -> bool {
        Network::list_permits(&self.allowed_networks, address)
    }
}

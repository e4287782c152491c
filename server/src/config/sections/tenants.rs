//! `[tenants.default]` and `[tenants."<uuid>"]`: what tenants may have and do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signalbeam_domain::{Network, TenantId};

/// `[tenants]`: the bounds of every tenant, and those of single tenants, which need only name what differs. Takes effect
/// on SIGHUP. A tenant's key is its UUID; in the environment underscores may stand for its hyphens:
/// `SIGNALBEAM__TENANTS__018F3C5E_7B1A_7CC2_9D3E_0123456789AB__MAX_DEVICES`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tenants {
    /// The bounds of every tenant that has no own.
    pub default: TenantBounds,
    /// What is different for single tenants.
    #[serde(flatten)]
    pub overrides: BTreeMap<TenantId, TenantOverride>,
}

/// `[tenants.default]`: the bounds of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TenantBounds {
    /// The most devices that are pending, approved or suspended; 0 for any number.
    /// `SIGNALBEAM__TENANTS__DEFAULT__MAX_DEVICES`, default `0`.
    pub max_devices: u32,
    /// The most registration tokens that are neither used nor expired nor revoked; 0 for any number.
    /// `SIGNALBEAM__TENANTS__DEFAULT__MAX_ACTIVE_TOKENS`, default `0`.
    pub max_active_tokens: u32,
    /// The most requests a second of the tenant's devices and of admins who are confined to it, 0 to 1,000,000; 0 for any
    /// number. `SIGNALBEAM__TENANTS__DEFAULT__REQUESTS_PER_SECOND`, default `0`.
    pub requests_per_second: u32,
    /// Networks (CIDR) from which devices register and authenticate, at most 256; none for everywhere.
    /// `SIGNALBEAM__TENANTS__DEFAULT__ALLOWED_NETWORKS` (comma-separated), default none.
    pub allowed_networks: Vec<Network>,
}

/// `[tenants."<uuid>"]`: the bounds of one tenant; what is left out is as in `[tenants.default]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TenantOverride {
    /// As in `[tenants.default]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_devices: Option<u32>,
    /// As in `[tenants.default]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_active_tokens: Option<u32>,
    /// As in `[tenants.default]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// As in `[tenants.default]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_networks: Option<Vec<Network>>,
}

impl Tenants {
    /// The key that is configured as this one is: a tenant's own as that of every tenant, with its UUID in its one form.
    /// `None` where the key is no tenant's.
    pub(in crate::config) fn canonical(key: &str) -> Option<(String, String)> {
        let (tenant, rest) = key.strip_prefix("tenants.")?.split_once('.')?;
        let tenant = Self::canonical_name(tenant)?;
        Some((format!("tenants.{tenant}.{rest}"), format!("tenants.default.{rest}")))
    }

    /// A tenant's UUID in its one form, whatever its letters' case; `None` where it is none.
    pub(in crate::config) fn canonical_name(name: &str) -> Option<String> {
        let name = name.replace('_', "-").to_ascii_lowercase();
        TenantId::parse(&name).ok().map(|tenant| tenant.to_string())
    }
}

impl TenantOverride {
    /// The bounds of the tenant: its own, and the default where it has none.
    pub fn over(&self, default: &TenantBounds) -> TenantBounds {
        TenantBounds {
            max_devices: self.max_devices.unwrap_or(default.max_devices),
            max_active_tokens: self.max_active_tokens.unwrap_or(default.max_active_tokens),
            requests_per_second: self.requests_per_second.unwrap_or(default.requests_per_second),
            allowed_networks: self.allowed_networks.as_ref().unwrap_or(&default.allowed_networks).clone(),
        }
    }
}

//! What a command on many certificates comes to: counted, and told in a bounded number of rows.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use signalbeam_domain::{DeviceId, Position, SerialNumber, TenantId};
use utoipa::ToSchema;

use super::RevokedCertificates;
use crate::certificates::filter::Target;

/// How many certificates are told one by one.
const TOLD: usize = 100;
/// How many pairs of tenant and profile are told.
const TOLD_GROUPS: usize = 500;

/// How many certificates of a tenant and a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevokedOfProfile {
    /// The tenant.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// The profile; absent for certificates that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// How many.
    count: u64,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevokedCertificate {
    /// 40 lower-case hex digits.
    #[schema(value_type = String)]
    serial_number: SerialNumber,
    /// Its device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// The device's tenant.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
}

/// What was found or revoked so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    count: u64,
    groups: BTreeMap<(TenantId, Option<String>), u64>,
    first: Vec<RevokedCertificate>,
    position: Position,
}

impl Tally {
    pub(super) fn add(&mut self, targets: Vec<Target>) {
        for Target { device_id, tenant_id, serial_number, profile } in targets {
            self.count += 1;
            if self.first.len() < TOLD {
                self.first.push(RevokedCertificate { serial_number, device_id, tenant_id });
            }
            *self.groups.entry((tenant_id, profile)).or_default() += 1;
        }
    }

    /// Notes how far the log reached with what was added.
    pub(super) fn reach(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn answer(self, dry_run: bool, complete_to: Option<Position>) -> RevokedCertificates {
        let groups = self.groups.into_iter();
        let mut groups: Vec<_> =
            groups.map(|((tenant_id, profile), count)| RevokedOfProfile { tenant_id, profile, count }).collect();
        groups.sort_by_key(|group| Reverse(group.count));
        groups.truncate(TOLD_GROUPS);
        RevokedCertificates {
            dry_run,
            complete: complete_to.is_some(),
            complete_to,
            count: self.count,
            by_tenant_and_profile: groups,
            certificates: self.first,
        }
    }
}

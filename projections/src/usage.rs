//! The projection `usage`: counts what credentials do, from the authentication log, a moment after they did it.
//!
//! Nothing decides by it: it may be behind, and begins anew where the authentication log was put back to an earlier state.

mod write;

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use signalbeam_domain::{DeviceId, TenantId, Timestamp};
use signalbeam_event_store::AuditLog;
use signalbeam_event_store::audit::{AuditError, AuthenticationMethod, UsageSummary};

use crate::columns::ReadError;
use crate::tables::Tables;
use write::{Written, row_reached};

/// The name of this projection.
const USAGE: &str = "usage";

/// The most rows that are counted at once: the log is read for about a tenth of a second then.
const PAGE_ROWS: usize = 65_536;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a round of counting ended.
#[derive(Debug, thiserror::Error)]
enum CountError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Counts from where the tables stand, without end; once everything is counted, the log is looked at every `round`. It
/// remembers nothing beside the tables, so it can be broken off and begun again at any time.
pub async fn keep_counting(audit: &dyn AuditLog, tables: &Tables, round: Duration) {
    let mut pause = round;
    loop {
        match count_all(audit, tables).await {
            Ok(()) => pause = round,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, ?pause, "usage cannot be counted");
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Counts everything that has been recorded by now.
async fn count_all(audit: &dyn AuditLog, tables: &Tables) -> Result<(), CountError> {
    loop {
        let from = row_reached(tables).await?;
        let summary = audit.usage_after(from, PAGE_ROWS).await?;
        if summary.head < from {
            tracing::warn!(counted = from, last = summary.head, "the authentication log is older than its counts");
            write::start_over(tables).await?;
            continue;
        }
        if summary.last_row == from {
            return Ok(());
        }
        let is_all = summary.last_row >= summary.head;
        // Overtaken by another runner: it counted these rows.
        if write::apply(tables, from, &Changes::of(summary)).await? == Written::Applied && is_all {
            return Ok(());
        }
    }
}

/// When a device was last seen.
#[derive(Debug, Clone, Copy, Serialize)]
struct Sight {
    device: DeviceId,
    tenant: TenantId,
    at: Timestamp,
    from: std::net::IpAddr,
    method: &'static str,
}

/// What a device's credential did.
#[derive(Debug, Clone, Default, Serialize)]
struct Use {
    tenant: Option<TenantId>,
    at: Option<Timestamp>,
    successes: u64,
    failures: u64,
}

/// What a tenant's devices did on one day by one method.
#[derive(Debug, Default)]
struct TenantDay {
    by_device: HashMap<DeviceId, (u64, u64)>,
    successes: u64,
    failures: u64,
}

/// What a summary changes in the tables.
#[derive(Debug, Default)]
struct Changes {
    last_row: i64,
    sights: HashMap<DeviceId, Sight>,
    uses: HashMap<(DeviceId, AuthenticationMethod, String), Use>,
    days: HashMap<(Option<TenantId>, String, AuthenticationMethod), TenantDay>,
}

impl Changes {
    fn of(summary: UsageSummary) -> Self {
        let mut changes = Self { last_row: summary.last_row, ..Self::default() };
        for count in summary.counts {
            let day = changes.days.entry((count.tenant_id, count.day, count.method)).or_default();
            day.successes += count.successes;
            day.failures += count.failures;
            let Some(device) = count.device_id else { continue };
            let (successes, failures) = day.by_device.entry(device).or_default();
            *successes += count.successes;
            *failures += count.failures;
            if let (Some((at, from)), Some(tenant)) = (count.last_success, count.tenant_id) {
                let sight = Sight { device, tenant, at, from, method: count.method.as_str() };
                let newest = changes.sights.entry(device).or_insert(sight);
                *newest = if newest.at < at { sight } else { *newest };
            }
            let Some(credential) = count.credential else { continue };
            let credential = changes.uses.entry((device, count.method, credential)).or_default();
            credential.tenant = count.tenant_id.or(credential.tenant);
            credential.at = credential.at.max(count.last_success.map(|(at, _)| at));
            credential.successes += count.successes;
            credential.failures += count.failures;
        }
        changes
    }
}

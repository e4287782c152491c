//! The gauges: counted anew from the tables at every round.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use signalbeam_domain::TenantId;
use signalbeam_event_store::EventReader;
use signalbeam_projections::{DIRECTORY, ReadError, ReadModel, StoreError};
use tokio::time::{MissedTickBehavior, interval};

use super::parts::Parts;
use crate::metrics::{
    CREDENTIAL_INDEX, CRL_ENTRIES, CRL_NEXT_UPDATE, CRL_NUMBER, CRL_THIS_UPDATE, LAG_EVENTS, LAG_SECONDS,
};

/// Gauges may be 15 s old; counting itself takes some of that.
const ROUND: Duration = Duration::from_secs(10);
/// The thresholds of `signalbeam_certificates_expiring_count`.
const EXPIRY_THRESHOLDS_DAYS: [u16; 7] = [1, 3, 7, 14, 30, 60, 90];
/// Tenants with a series of their own.
const LARGEST_TENANTS: usize = 100;

/// Why a round was not completed.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Counts, round after round.
pub(super) async fn keep_fresh(parts: Arc<Parts>, handle: PrometheusHandle) {
    let read_model = ReadModel::new(parts.projector.tables().clone());
    let mut tenants = HashSet::new();
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        handle.run_upkeep();
        if let Err(error) = count(&parts, &read_model, &mut tenants).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the gauges could not be counted");
        }
    }
}

/// Of the lists that are served; 0 where an authority that is trusted has none, which is long ago.
fn crls(parts: &Parts) {
    let authorities = parts.authorities.current();
    if let Some(status) = parts.crls.status(authorities.signing().id()) {
        gauge!(CRL_NUMBER).set(as_gauge(status.number));
        gauge!(CRL_ENTRIES).set(as_gauge(status.entries));
    }
    let statuses = authorities.trusted().iter().map(|one| parts.crls.status(one.authority.id()));
    let statuses = statuses.map(|status| {
        status.map_or((0, 0), |status| (status.this_update.unix_seconds(), status.next_update.unix_seconds()))
    });
    let (made, ends): (Vec<_>, Vec<_>) = statuses.unzip();
    let earliest =
        |seconds: Vec<i64>| as_gauge(u64::try_from(seconds.into_iter().min().unwrap_or_default()).unwrap_or_default());
    gauge!(CRL_THIS_UPDATE).set(earliest(made));
    gauge!(CRL_NEXT_UPDATE).set(earliest(ends));
}

async fn count(parts: &Parts, read_model: &ReadModel, tenants: &mut HashSet<TenantId>) -> Result<(), RoundError> {
    crls(parts);
    let lag = parts.projector.lag(&*parts.store, &*parts.clock).await?;
    gauge!(LAG_EVENTS, "projection" => DIRECTORY).set(as_gauge(lag.events));
    gauge!(LAG_SECONDS, "projection" => DIRECTORY).set(lag.seconds);
    let head = parts.store.head().await?;
    let missing = head.0.saturating_sub(parts.index.position().0);
    gauge!(LAG_EVENTS, "projection" => CREDENTIAL_INDEX).set(as_gauge(missing));
    // An index that has stopped is infinitely old, which Prometheus can say.
    let age = parts.index.age();
    let age = if age == Duration::MAX { f64::INFINITY } else { age.as_secs_f64() };
    gauge!(LAG_SECONDS, "projection" => CREDENTIAL_INDEX).set(age);

    let now = parts.clock.now();
    for (status, number) in read_model.devices_by_status().await? {
        gauge!("signalbeam_devices_count", "status" => status.as_str()).set(as_gauge(number));
    }
    for (days, number) in read_model.certificates_expiring(now, &EXPIRY_THRESHOLDS_DAYS).await? {
        gauge!("signalbeam_certificates_expiring_count", "threshold" => format!("{days}d")).set(as_gauge(number));
    }
    let active = read_model.active_certificates_by_tenant(now, LARGEST_TENANTS).await?;
    let name = "signalbeam_certificates_active_count";
    let present: HashSet<TenantId> = active.largest.iter().map(|(tenant, _)| *tenant).collect();
    // A tenant that has fallen out of the largest is counted among the others from now on.
    for gone in tenants.difference(&present) {
        gauge!(name, "tenant_id" => gone.to_string()).set(0.0);
    }
    for (tenant, number) in &active.largest {
        gauge!(name, "tenant_id" => tenant.to_string()).set(as_gauge(*number));
    }
    gauge!(name, "tenant_id" => "other").set(as_gauge(active.other));
    *tenants = present;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_gauge(number: u64) -> f64 {
    number as f64
}

//! What runs beside the listeners until the server ends.

mod monitors;

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use signalbeam_pki::AuthoritySet;
use signalbeam_projections::usage::keep_counting;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::acceptors::Acceptors;
use super::parts::Parts;
use super::{audit_upkeep, gauges, intents, log_guard};
use crate::config::Config;
use crate::server_certificate::ServerCertificate;
use crate::supervise::{Supervised, supervise};

/// How often the server's certificate is looked at. It is renewed with a third of its life left: a month.
const CERTIFICATE_ROUND: Duration = Duration::from_hours(1);
/// How often what the authentication log has gained is counted.
const USAGE_ROUND: Duration = Duration::from_secs(1);
/// How long to wait before the log is searched for open intents again, where that failed.
const INTENTS_PAUSE: Duration = Duration::from_secs(30);

/// Starts all of it.
pub(super) fn start(
    parts: &Arc<Parts>,
    certificate: &Arc<ServerCertificate>,
    acceptors: &Arc<Acceptors>,
    handle: PrometheusHandle,
    config: &Config,
) -> Vec<Supervised> {
    let (for_gauges, for_intents, for_guard) = (Arc::clone(parts), Arc::clone(parts), Arc::clone(parts));
    let for_authorities = Arc::clone(parts);
    let (for_counts, for_days, for_usage) = (Arc::clone(parts), Arc::clone(parts), Arc::clone(parts));
    let (certificate, acceptors) = (Arc::clone(certificate), Arc::clone(acceptors));
    let authorities = parts.authorities.clone();
    let mut running = vec![
        supervise("gauges", move || gauges::keep_fresh(Arc::clone(&for_gauges), handle.clone())),
        supervise("server_certificate", move || {
            keep_tls_fresh(Arc::clone(&certificate), Arc::clone(&acceptors), authorities.changes())
        }),
        supervise("audit_counts", move || audit_upkeep::write_counts(Arc::clone(&for_counts))),
        supervise("audit_days", move || audit_upkeep::seal_days(Arc::clone(&for_days))),
        supervise("usage", move || count_usage(Arc::clone(&for_usage))),
        supervise("log_guard", move || {
            let Parts { guard, store, clock, .. } = &*for_guard;
            log_guard::keep(Arc::clone(guard), Arc::clone(store), Arc::clone(clock))
        }),
        supervise("authorities", move || follow_authorities(Arc::clone(&for_authorities))),
        supervise("open_intents", move || abandon_open_intents(Arc::clone(&for_intents))),
    ];
    running.extend(monitors::start(parts, config));
    running
}

/// What another node does to the authorities holds here too.
async fn follow_authorities(parts: Arc<Parts>) {
    let Parts { keeper_of_authorities, store, authorities, .. } = &*parts;
    keeper_of_authorities.follow(&**store, parts.head_at_start, authorities).await;
}

async fn count_usage(parts: Arc<Parts>) {
    keep_counting(&*parts.audit, parts.projector.tables(), USAGE_ROUND).await;
}

/// Renews the server's certificate in time, and follows the authorities.
async fn keep_tls_fresh(
    certificate: Arc<ServerCertificate>,
    acceptors: Arc<Acceptors>,
    mut changes: watch::Receiver<Arc<AuthoritySet>>,
) {
    let mut rounds = interval(CERTIFICATE_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            Ok(()) = changes.changed() => {
                if let Err(error) = acceptors.renew() {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "clients are still told the names of the authorities as they were before");
                }
            }
        }
        match certificate.refresh().await {
            Ok(true) => tracing::info!("new connections get the renewed server certificate"),
            Ok(false) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the server certificate could not be renewed; the present one is served on");
            }
        }
    }
}

/// Ends once all intents of earlier processes are resolved. This process's own are beyond the head at its start.
async fn abandon_open_intents(parts: Arc<Parts>) {
    loop {
        match abandon(&parts).await {
            Ok(0) => return,
            Ok(number) => {
                tracing::warn!(number, "abandoned certificates that an interrupted process had not issued");
                return;
            }
            Err(error) => {
                tracing::warn!(error = &*error, "open certificate intents could not be resolved; trying again");
                sleep(INTENTS_PAUSE).await;
            }
        }
    }
}

async fn abandon(parts: &Parts) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let open = intents::open_until(&*parts.store, parts.head_at_start).await?;
    let now = parts.clock.now();
    Ok(signalbeam_command_api::abandon_open_intents(&*parts.store, open, now).await?)
}

//! What the authentication log needs beside its writer: counts are written, days are sealed, old ones are dropped.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signalbeam_domain::audit_segment::UtcDay;
use signalbeam_event_store::audit::segments::{SegmentError, drop_old_segments, seal_finished_days};
use tokio::time::{MissedTickBehavior, interval};

use super::parts::Parts;
use crate::config::Audit;

/// How often it is looked whether a minute of counts has ended, and whether the disk has room.
const COUNTS_ROUND: Duration = Duration::from_secs(1);
/// How often it is looked whether a day has ended.
const DAYS_ROUND: Duration = Duration::from_mins(1);
/// How long after its end a day is sealed: by then its last rows are written.
const GRACE_SECONDS: i64 = 600;

/// How many failures of an address are recorded one by one in a minute.
pub(super) fn failure_limit(settings: &Audit) -> NonZeroU32 {
    NonZeroU32::new(settings.max_failures_per_address_per_minute).unwrap_or(NonZeroU32::MIN)
}

/// Writes the counts of failed attempts when their minute has ended, and spares the last of the disk.
pub(super) async fn write_counts(parts: Arc<Parts>) {
    let mut rounds = interval(COUNTS_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut is_sparing, mut is_failing) = (false, false);
    loop {
        rounds.tick().await;
        let settings = parts.audit_settings.borrow().clone();
        parts.flood_guard.set_limit(failure_limit(&settings));
        let is_nearly_full = has_less_than(&parts.data_dir, u64::from(settings.disk_reserve_mib) << 20);
        if is_nearly_full && !is_sparing {
            tracing::warn!(
                reserve_mib = settings.disk_reserve_mib,
                "the disk is nearly full: failed attempts are only counted"
            );
        } else if is_sparing && !is_nearly_full {
            tracing::info!("the disk has room again: failed attempts are recorded");
        }
        is_sparing = is_nearly_full;
        parts.flood_guard.set_sparing(is_sparing);
        parts.ocsp_answers.set_sparing(is_sparing);
        let now = parts.clock.now();
        let flushed = match parts.flood_guard.flush(now).await {
            Ok(()) => parts.ocsp_answers.flush(now).await,
            failed => failed,
        };
        if let Err(error) = &flushed
            && !is_failing
        {
            let error = error as &dyn std::error::Error;
            tracing::error!(
                error,
                "counts of failed attempts, or OCSP answers, could not be written; they are kept and written later"
            );
        }
        is_failing = flushed.is_err();
    }
}

/// Whether the file system has fewer octets free for us. One that cannot be asked is taken to have room: its writes tell.
fn has_less_than(folder: &Path, octets: u64) -> bool {
    let Ok(statistics) = rustix::fs::statvfs(folder) else { return false };
    statistics.f_bavail.saturating_mul(statistics.f_frsize) < octets
}

/// Seals each day after its end, also those that ended while the server did not run, and drops what is old. While the event
/// log is not relied on nothing is sealed, for seals may be missing from it, and no evidence goes.
pub(super) async fn seal_days(parts: Arc<Parts>) {
    let mut rounds = interval(DAYS_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = None;
    loop {
        rounds.tick().await;
        if parts.guard.is_engaged() {
            continue;
        }
        let now = parts.clock.now();
        let retention_days = parts.audit_settings.borrow().retention_days;
        let due = Some((UtcDay::of(now.plus_seconds(-GRACE_SECONDS)), retention_days));
        if due == done {
            continue;
        }
        match seal_and_drop(&parts, retention_days).await {
            Ok(()) => done = due,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the authentication log could not be sealed; trying again in a minute");
            }
        }
    }
}

async fn seal_and_drop(parts: &Parts, retention_days: u32) -> Result<(), SegmentError> {
    let now = parts.clock.now();
    for segment in seal_finished_days(&*parts.store, &*parts.audit, now, GRACE_SECONDS).await? {
        tracing::info!(day = %segment.day, rows = segment.count, "sealed a day of the authentication log");
    }
    if retention_days > 0
        && let Some(dropped) = drop_old_segments(&*parts.store, &*parts.audit, now, retention_days).await?
    {
        tracing::info!(through = %dropped.day, "dropped old days of the authentication log");
    }
    if retention_days > 0 {
        parts.audit.drop_answers_before(now.plus_days(-i64::from(retention_days))).await?;
    }
    Ok(())
}

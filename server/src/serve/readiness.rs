//! Whether each part of the server does its work.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signalbeam_authn::authenticator::FRESHNESS_BOUND;
use signalbeam_event_store::audit::AttemptFilter;
use signalbeam_event_store::{AuditLog, EventReader};

use super::parts::Parts;
use crate::ops::{Component, Components, ReadinessProbe};

/// Beyond this the tables are too old for people to work with.
const TABLES_BOUND_SECONDS: f64 = 30.0;

/// For so long a failed write counts, unless something has been written since. It ends because a server that is sent no
/// requests does not write, and could not show that it can again.
const WRITE_FAILURE_COUNTS: Duration = Duration::from_secs(30);

/// Looks at the parts of a running server.
pub(super) struct Probe(pub(super) Arc<Parts>);

fn component(ready: bool, detail: impl Into<String>) -> Component {
    Component { ready, detail: detail.into() }
}

/// Ready with this detail, except where a write failed lately.
fn writable(last_failure: Option<Duration>, detail: impl Into<String>) -> Component {
    match last_failure.filter(|ago| *ago < WRITE_FAILURE_COUNTS) {
        Some(ago) => component(false, format!("a write failed {:.1} s ago", ago.as_secs_f64())),
        None => component(true, detail),
    }
}

#[async_trait]
impl ReadinessProbe for Probe {
    async fn look(&self) -> Components {
        let parts = &self.0;
        Components::from([
            ("eventStore", event_store(parts).await),
            ("logHistory", log_history(parts)),
            ("projections", projections(parts).await),
            ("credentialIndex", credential_index(parts)),
            ("auditLog", audit_log(parts).await),
            ("certificateAuthority", certificate_authority(parts)),
        ])
    }
}

async fn event_store(parts: &Parts) -> Component {
    match parts.store.head().await {
        Ok(head) => writable(parts.store.last_write_failure(), format!("at position {head}")),
        Err(error) => component(false, error.to_string()),
    }
}

fn log_history(parts: &Parts) -> Component {
    match parts.guard.rollback() {
        None => component(true, "as far as it was seen"),
        Some(rollback) => component(
            false,
            format!("{}; acknowledge it with `{}`", rollback.describe(), rollback.command(parts.data_dir.as_path())),
        ),
    }
}

async fn projections(parts: &Parts) -> Component {
    if let Some(failure) = parts.projector.failure() {
        return component(false, format!("stopped: {failure}"));
    }
    match parts.projector.lag(&*parts.store, &*parts.clock).await {
        Ok(lag) => {
            let detail = format!("{} events, {:.1} s behind", lag.events, lag.seconds);
            component(lag.seconds <= TABLES_BOUND_SECONDS, detail)
        }
        Err(error) => component(false, error.to_string()),
    }
}

fn credential_index(parts: &Parts) -> Component {
    if let Some(failure) = parts.index.failure() {
        return component(false, format!("stopped: {failure}"));
    }
    if !parts.index.is_ready() {
        return component(false, "loading");
    }
    let age = parts.index.age();
    let (devices, api_keys, certificates) = parts.index.sizes();
    let detail =
        format!("{:.3} s old; {devices} devices, {api_keys} API keys, {certificates} certificates", age.as_secs_f64());
    component(age <= FRESHNESS_BOUND, detail)
}

async fn audit_log(parts: &Parts) -> Component {
    match parts.audit.query(&AttemptFilter::default(), None, 1).await {
        Ok(_) => writable(parts.audit.last_write_failure(), "in order"),
        Err(error) => component(false, error.to_string()),
    }
}

fn certificate_authority(parts: &Parts) -> Component {
    let authorities = parts.authorities.current();
    let authority = authorities.signing();
    let end = authority.own_validity().not_after;
    let is_valid = parts.clock.now().to_offset_date_time() <= end;
    let mut detail = format!("{}, valid until {}", authority.fingerprint(), end.date());
    if let Some(failure) = parts.key_stores.last_failure() {
        // Devices authenticate without it: it must not take the server away from them.
        let _ = write!(detail, "; it cannot sign: {failure}");
    }
    component(is_valid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_counts_until_it_is_old() {
        assert!(writable(None, "").ready);
        assert!(!writable(Some(Duration::ZERO), "").ready);
        assert!(!writable(Some(WRITE_FAILURE_COUNTS / 2), "").ready);
        assert!(writable(Some(WRITE_FAILURE_COUNTS), "").ready, "a drained server comes back");
    }
}

//! The publisher of revocation lists.

use std::sync::Arc;

use signalbeam_command_api::{CrlPolicy, CrlPublisher};
use signalbeam_pki::PublishedUrl;

use crate::config::Config;
use crate::serve::parts::Parts;
use crate::supervise::{Supervised, supervise};

const SECONDS_PER_HOUR: i64 = 3_600;

/// Starts it.
pub(super) fn start(parts: &Parts, config: &Config) -> Supervised {
    let publisher = Arc::new(CrlPublisher::new(parts.command_api(), policy(config)));
    supervise("crl_publisher", move || {
        let publisher = Arc::clone(&publisher);
        async move { publisher.run().await }
    })
}

fn policy(config: &Config) -> CrlPolicy {
    let hours = |hours: u16| i64::from(hours) * SECONDS_PER_HOUR;
    CrlPolicy {
        validity_seconds: hours(config.pki.crl_validity_hours),
        refresh_seconds: hours(config.pki.crl_refresh_hours),
        min_interval_seconds: config.pki.crl_min_interval_seconds.into(),
        // A start with another text has failed by now.
        delta_url: config.ca.delta_crl_url.as_deref().and_then(|url| PublishedUrl::parse(url).ok()),
    }
}

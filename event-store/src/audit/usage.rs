//! What rows of the audit log say of credentials' use, counted: nothing is written for it on a request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use signalbeam_domain::{DeviceId, TenantId, Timestamp};

use super::{AuthenticationAttempt, AuthenticationMethod};

/// What some rows say of one credential on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCount {
    /// By what means.
    pub method: AuthenticationMethod,
    /// The device, where the credential is a known one.
    pub device_id: Option<DeviceId>,
    /// Its tenant.
    pub tenant_id: Option<TenantId>,
    /// The API key's prefix or the certificate's serial number; none where the device is not known, since a stranger can
    /// show as many as it likes.
    pub credential: Option<String>,
    /// The day in UTC, such as `2026-01-31`.
    pub day: String,
    /// How many attempts succeeded.
    pub successes: u64,
    /// How many failed.
    pub failures: u64,
    /// The last success, and where it came from.
    pub last_success: Option<(Timestamp, IpAddr)>,
}

/// What a span of rows says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageSummary {
    /// The last row that was counted; the row that was asked for where there are none behind it.
    pub last_row: i64,
    /// The last row that there is; 0 in an empty log.
    pub head: i64,
    /// One entry for each method, credential and day.
    pub counts: Vec<UsageCount>,
}

/// By method, device and its tenant, credential, day.
type Key = (&'static str, Option<DeviceId>, Option<TenantId>, Option<String>, String);

/// Counts attempts that are at hand.
pub(crate) fn count<'a>(attempts: impl Iterator<Item = &'a AuthenticationAttempt>) -> Vec<UsageCount> {
    let mut counts: BTreeMap<Key, UsageCount> = BTreeMap::new();
    for attempt in attempts {
        let credential = attempt.api_key_prefix.as_ref().map(ToString::to_string);
        let credential = credential.or_else(|| attempt.certificate_serial_number.map(|serial| serial.to_string()));
        let credential = credential.filter(|_| attempt.device_id.is_some());
        let mut day = attempt.timestamp.to_string();
        day.truncate(10);
        let key = (attempt.method.as_str(), attempt.device_id, attempt.tenant_id, credential.clone(), day.clone());
        let count = counts.entry(key).or_insert_with(|| UsageCount {
            method: attempt.method,
            device_id: attempt.device_id,
            tenant_id: attempt.tenant_id,
            credential,
            day,
            successes: 0,
            failures: 0,
            last_success: None,
        });
        if attempt.success {
            count.successes += 1;
            count.last_success = count.last_success.max(Some((attempt.timestamp, attempt.ip_address)));
        } else {
            count.failures += attempt.attempts;
        }
    }
    counts.into_values().collect()
}

//! `[api_key_expiration_check]`: the monitor of API keys' expiry.

use serde::{Deserialize, Serialize};

/// `[api_key_expiration_check]`: warnings of API keys that are about to expire, and of those that have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiKeyExpirationCheck {
    /// Whether it runs. `SIGNALBEAM__API_KEY_EXPIRATION_CHECK__ENABLED`, default `true`.
    pub enabled: bool,
    /// How many hours lie between two checks, 1 to 8,760; the first is at the start.
    /// `SIGNALBEAM__API_KEY_EXPIRATION_CHECK__CHECK_INTERVAL_HOURS`, default `24`.
    pub check_interval_hours: u16,
    /// How many days before its end a key is warned of, 1 to 730.
    /// `SIGNALBEAM__API_KEY_EXPIRATION_CHECK__WARNING_THRESHOLD_DAYS`, default `7`.
    pub warning_threshold_days: u16,
}

impl Default for ApiKeyExpirationCheck {
    fn default() -> Self {
        Self { enabled: true, check_interval_hours: 24, warning_threshold_days: 7 }
    }
}

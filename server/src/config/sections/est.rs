//! `[est]`: enrolment over secure transport.

use serde::{Deserialize, Serialize};

/// `[est]`: enrolment over secure transport (RFC 7030).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Est {
    /// How many seconds a client is told to wait before it asks again whether its device was approved, 1 to 86,400.
    /// `SIGNALBEAM__EST__RETRY_AFTER_SECONDS`, default `60`.
    pub retry_after_seconds: u32,
}

impl Default for Est {
    fn default() -> Self {
        Self { retry_after_seconds: 60 }
    }
}

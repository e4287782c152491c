//! The audit log: every authentication attempt, in an append-only log of its own beside the events.

mod usage;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use signalbeam_domain::{CorrelationId, DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use uuid::Uuid;

pub(crate) use self::usage::count;
pub use self::usage::{UsageCount, UsageSummary};

/// By what means a caller tried to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthenticationMethod {
    /// A device's client certificate.
    Certificate,
    /// A device's API key.
    ApiKey,
    /// A registration token; only failed attempts are recorded.
    RegistrationToken,
    /// A claim secret; only failed attempts are recorded.
    ClaimSecret,
    /// An admin's JWT; only failed attempts are recorded.
    AdminToken,
}

impl AuthenticationMethod {
    /// Every method.
    pub const ALL: [Self; 5] =
        [Self::Certificate, Self::ApiKey, Self::RegistrationToken, Self::ClaimSecret, Self::AdminToken];

    /// As it is written in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "Certificate",
            Self::ApiKey => "ApiKey",
            Self::RegistrationToken => "RegistrationToken",
            Self::ClaimSecret => "ClaimSecret",
            Self::AdminToken => "AdminToken",
        }
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }
}

/// One attempt to authenticate: a row of `device_authentication_logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationAttempt {
    /// The row's id, a UUID of version 7.
    pub id: Uuid,
    /// The device, where the presented credential is one that we know.
    pub device_id: Option<DeviceId>,
    /// That device's tenant.
    pub tenant_id: Option<TenantId>,
    /// Where the request came from, trusted proxies looked through.
    pub ip_address: IpAddr,
    /// What the client calls itself; bounded, control characters replaced.
    pub user_agent: Option<String>,
    /// When.
    pub timestamp: Timestamp,
    /// Whether it succeeded.
    pub success: bool,
    /// By what means.
    pub method: AuthenticationMethod,
    /// Why it failed, in words.
    pub failure_reason: Option<String>,
    /// Why it failed, as a stable code.
    pub failure_code: Option<String>,
    /// The API key's or the token's public prefix, where one was presented.
    pub api_key_prefix: Option<Prefix>,
    /// The certificate's serial number, where a known one was presented.
    pub certificate_serial_number: Option<SerialNumber>,
    /// The request.
    pub correlation_id: CorrelationId,
}

/// Which attempts a reader wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttemptFilter {
    /// Only this tenant's.
    pub tenant_id: Option<TenantId>,
    /// Only this device's.
    pub device_id: Option<DeviceId>,
    /// From this moment on.
    pub start: Option<Timestamp>,
    /// Before this moment.
    pub end: Option<Timestamp>,
    /// Only successes, or only failures.
    pub success: Option<bool>,
    /// Only by this means.
    pub method: Option<AuthenticationMethod>,
    /// Only with this code.
    pub failure_code: Option<String>,
}

impl AttemptFilter {
    /// Whether the attempt is one that the reader wants.
    pub fn matches(&self, attempt: &AuthenticationAttempt) -> bool {
        (self.tenant_id.is_none() || self.tenant_id == attempt.tenant_id)
            && (self.device_id.is_none() || self.device_id == attempt.device_id)
            && self.start.is_none_or(|start| start <= attempt.timestamp)
            && self.end.is_none_or(|end| attempt.timestamp < end)
            && self.success.is_none_or(|success| success == attempt.success)
            && self.method.is_none_or(|method| method == attempt.method)
            && (self.failure_code.is_none() || self.failure_code == attempt.failure_code)
    }
}

/// Some attempts, newest first, and where the next page continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptPage {
    /// The attempts.
    pub attempts: Vec<AuthenticationAttempt>,
    /// The row to continue behind; `None` at the end.
    pub next: Option<i64>,
}

/// The audit log could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the audit log is unavailable: {context}")]
pub struct AuditError {
    /// What was tried.
    pub context: &'static str,
    /// Why it failed.
    #[source]
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}

impl AuditError {
    /// For `map_err`: what was tried, around why it failed.
    pub fn because<E>(context: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self { context, source: Arc::new(source) }
    }
}

/// When an attempt counts as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditDurability {
    /// When it is on disk.
    #[default]
    Strict,
    /// A success when it is queued: a crash may lose the last 250 ms of them. A failure when it is on disk.
    Relaxed,
}

/// An append-only log of attempts.
#[async_trait]
pub trait AuditLog: Send + Sync + 'static {
    /// Records the attempts of one request. Answered when they count as recorded by the log's [`AuditDurability`].
    ///
    /// # Errors
    /// [`AuditError`] where they may be lost; the caller then denies.
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError>;

    /// At most `limit` attempts, newest first, behind the row `after` of an earlier page.
    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError>;

    /// What the rows behind `row` say of credentials' use, `limit` of them at most, in the order in which they were recorded.
    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError>;
}

//! The audit log: every authentication attempt, in an append-only log of its own beside the events.

pub mod flood;
pub mod ocsp_answers;
pub mod segments;
mod usage;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use signalbeam_domain::envelope::CanonicalEncoder;
use signalbeam_domain::{CorrelationId, DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use uuid::Uuid;

pub use self::flood::subscriber;
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

/// One attempt to authenticate, or a count of failed ones: a row of `device_authentication_logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationAttempt {
    /// The row's id, a UUID of version 7.
    pub id: Uuid,
    /// The device, where the presented credential is one that we know.
    pub device_id: Option<DeviceId>,
    /// That device's tenant.
    pub tenant_id: Option<TenantId>,
    /// Where the request came from, trusted proxies looked through. Of counted ones the address, or the first of its /64;
    /// `0.0.0.0` or `::` where there were too many.
    pub ip_address: IpAddr,
    /// What the client calls itself; bounded, control characters replaced.
    pub user_agent: Option<String>,
    /// When; the first of those that are counted.
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
    /// The request; of counted ones the first.
    pub correlation_id: CorrelationId,
    /// How many attempts the row stands for: more than 1 where failures were counted.
    pub attempts: u64,
}

impl AuthenticationAttempt {
    /// The canonical encoding that a segment's root hash is computed over: a literal that names the encoding, then the
    /// row's number and every field in the order of the columns of `device_authentication_logs`, each as a length of 4
    /// octets (big-endian) and its bytes. Numbers have 8 octets big-endian, the time is microseconds since 1970, UUIDs have
    /// 16 octets, the serial number 20, success is one octet, the address is its text; an absent field is the length
    /// `ffffffff` alone.
    pub fn canonical_encoding(&self, row: i64) -> Vec<u8> {
        let mut encoder = CanonicalEncoder::with_capacity(512);
        encoder.field(b"signalbeam-attempt-1");
        encoder.field(&row.to_be_bytes());
        encoder.field(self.id.as_bytes());
        encoder.optional(self.device_id.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()));
        encoder.optional(self.tenant_id.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()));
        encoder.field(self.ip_address.to_string().as_bytes());
        encoder.optional(self.user_agent.as_ref().map(String::as_bytes));
        encoder.field(&[self.success.into()]);
        encoder.optional(self.failure_reason.as_ref().map(String::as_bytes));
        encoder.optional(self.failure_code.as_ref().map(String::as_bytes));
        encoder.field(&self.timestamp.unix_microseconds().to_be_bytes());
        encoder.optional(self.api_key_prefix.as_ref().map(|prefix| prefix.as_str().as_bytes()));
        encoder.field(self.method.as_str().as_bytes());
        encoder.optional(self.certificate_serial_number.as_ref().map(|serial| serial.as_octets().as_slice()));
        encoder.field(self.correlation_id.as_str().as_bytes());
        encoder.field(&self.attempts.to_be_bytes());
        encoder.into_bytes()
    }
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
    /// Only from this address.
    pub ip_address: Option<IpAddr>,
    /// Only with this prefix.
    pub api_key_prefix: Option<Prefix>,
    /// Only with this certificate.
    pub certificate_serial_number: Option<SerialNumber>,
    /// Only of this request.
    pub correlation_id: Option<CorrelationId>,
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
            && self.ip_address.is_none_or(|address| address == attempt.ip_address)
            && (self.api_key_prefix.is_none() || self.api_key_prefix == attempt.api_key_prefix)
            && (self.certificate_serial_number.is_none()
                || self.certificate_serial_number == attempt.certificate_serial_number)
            && self.correlation_id.as_ref().is_none_or(|id| *id == attempt.correlation_id)
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

/// An attempt as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedAttempt {
    /// Its row's number: from 1 on, rising in the order in which attempts were recorded.
    pub row: i64,
    /// The attempt.
    pub attempt: AuthenticationAttempt,
}

/// Some attempts, oldest first, and how far the log was looked through for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptScan {
    /// The attempts.
    pub attempts: Vec<RecordedAttempt>,
    /// Every row up to this one was looked at; the next scan continues behind it.
    pub reached: i64,
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

/// Reads a log of attempts in the order in which they were recorded.
#[async_trait]
pub trait AuditReader: Send + Sync + 'static {
    /// The number of the row that was recorded last, dropped since or not; 0 where none was.
    async fn head(&self) -> Result<i64, AuditError>;

    /// At most `limit` attempts that the filter wants out of the rows behind `after`, up to `through`, oldest first. May
    /// end earlier where wanted ones are rare: then `reached` is less than `through`, and still more than `after`.
    async fn scan(
        &self,
        filter: &AttemptFilter,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Result<AttemptScan, AuditError>;
}

/// An append-only log of attempts.
#[async_trait]
pub trait AuditLog: AuditReader {
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

/// A log of attempts whose sealed segments can be told apart and, one day, dropped.
#[async_trait]
pub trait AuditArchive: AuditLog {
    /// A moment that no row behind `after` is earlier than, near the earliest of them; `None` where there is no such row.
    async fn earliest_behind(&self, after: i64) -> Result<Option<Timestamp>, AuditError>;

    /// The number of the last row behind `after` that is from before this moment.
    async fn last_row_before(&self, after: i64, moment: Timestamp) -> Result<Option<i64>, AuditError>;

    /// Drops every row up to this one, in steps that keep no writer waiting. What an interrupted call left is dropped by the
    /// next one.
    async fn drop_through(&self, row: i64) -> Result<(), AuditError>;
}

//! From the event log to read models: SQL tables and the in-memory credential index.

pub mod authorities;
mod checkpoint;
mod columns;
mod directory;
pub mod freshness;
pub mod index;
pub mod monitors;
pub mod progress;
pub mod projector;
pub mod read_model;
pub mod rebuild;
pub mod standing;
pub mod tables;
pub mod usage;

pub use checkpoint::{Checkpoint, DIRECTORY};
pub use columns::ReadError;
pub use freshness::Freshness;
pub use index::{ApiKeyEntry, CertificateEntry, CredentialIndex, DeviceEntry, NotReady};
pub use monitors::{ApiKeyExpiryMonitor, ApiKeyRetirementMonitor, Monitor, MonitorError, Surroundings};
pub use progress::{Behind, ProjectionFailure};
pub use projector::{Lag, Projector};
pub use read_model::{
    ActiveCertificates, ApiKeyRow, CertificateFilter, CertificateRow, CertificateState, CertificateStatus,
    CredentialUsage, Cursor, DaySpan, DayUsage, DeviceDetail, DeviceFilter, DeviceRow, DeviceUsage, InvalidCursor,
    LastSeen, Listed, ReadModel, Revocation, RevocationRow, RevokedTokens, TokenFilter, TokenRow, TokenStatus,
};
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use standing::CertificateType;
pub use tables::{OpenError, Tables};

// What query-api needs of the log and of the audit log; it does not depend on the event store, since it never appends.
pub use signalbeam_event_store::audit::{
    AttemptFilter, AttemptPage, AttemptScan, AuditError, AuthenticationMethod, UsageSummary,
};
pub use signalbeam_event_store::{
    AuditLog, AuditReader, AuthenticationAttempt, Clock, EventReader, Filter, LoadError, Page, Recorded,
    RecordedAttempt, StoreError, SystemClock, load,
};

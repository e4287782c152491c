//! The append, read and subscribe port of the event log, its adapters, and the audit log beside it.
//!
//! Position order is commit order: a reader that has seen position p has seen everything before p.

pub mod audit;
pub mod clock;
pub mod execute;
mod ledger;
pub mod memory;
pub mod port;
pub mod sqlite;
mod subscription;
pub mod witness;

pub use audit::flood::FloodGuard;
pub use audit::ocsp_answers::{OcspAnswerLog, OcspAnswerRecorder, OcspAnswerRow};
pub use audit::{
    AttemptFilter, AttemptPage, AttemptScan, AuditArchive, AuditDurability, AuditError, AuditLog, AuditReader,
    AuthenticationAttempt, AuthenticationMethod, RecordedAttempt, UsageCount, UsageSummary,
};
pub use clock::{Clock, SystemClock};
pub use execute::{ExecuteError, execute, new_events};
pub use ledger::{BATCH_MAX, BATCH_MAX_BYTES};
pub use memory::{MemoryAuditLog, MemoryEventStore};
pub use port::{
    AppendError, Appended, Batch, CommandMetadata, EventReader, EventStore, ExpectedVersion, Filter, Idempotency,
    LoadError, NewEvent, Page, Recorded, RecordedCommand, StoreError, StreamWrite, Subscription, SubscriptionItem,
    load,
};
pub use sqlite::{OpenError, SqliteAuditLog, SqliteAuditReader, SqliteEventReader, SqliteEventStore};
pub use witness::LogPoint;

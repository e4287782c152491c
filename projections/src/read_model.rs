//! Typed questions to the tables: all SQL that reads them stands here.
//!
//! Each question takes the tenant that the caller is confined to, where it is confined to one: what belongs to another
//! tenant does not exist for it.

mod admin_tokens;
mod certificate_state;
mod certificates;
mod counts;
mod cursor;
mod devices;
mod endings;
mod listing;
mod tokens;
mod usage;

pub use self::admin_tokens::{RevocationRow, RevokedTokens};
pub use self::certificate_state::CertificateState;
pub use self::certificates::{CertificateFilter, CertificateRow, CertificateStatus};
pub use self::counts::ActiveCertificates;
pub use self::cursor::{Cursor, InvalidCursor};
pub use self::devices::{ApiKeyRow, DeviceDetail, DeviceFilter, DeviceRow};
pub use self::endings::{EndedCertificate, NewEndings};
pub use self::listing::Listed;
pub use self::tokens::{TokenFilter, TokenRow, TokenStatus};
pub use self::usage::{CredentialUsage, DaySpan, DayUsage, DeviceUsage, LastSeen};
use crate::columns::ReadError;
use crate::tables::Tables;

/// Answers questions from the tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadModel {
    tables: Tables,
}

impl ReadModel {
    /// Of these tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// A connection whose questions all see the same state, until it is dropped.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, ReadError> {
        Ok(self.tables.readers().begin().await?)
    }
}

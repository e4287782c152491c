//! Revocations of admin tokens: listed.

use signalbeam_domain::{AdminTokenId, EventId, Timestamp, TokenIssuer};
use sqlx::sqlite::SqliteRow;

use super::ReadModel;
use super::cursor::Cursor;
use super::listing::{Listable, Listed, Listing};
use crate::columns::{Columns, ReadError};

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokedTokens {
    /// One token.
    Single {
        /// The token.
        jti: AdminTokenId,
        /// Who issued it.
        issuer: TokenIssuer,
        /// When it would have expired anyway, where that was known.
        expires_at: Option<Timestamp>,
    },
    /// All that this installation issued before this moment.
    IssuedBefore(Timestamp),
}

/// A revocation of admin tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationRow {
    /// The event that recorded it.
    pub id: EventId,
    /// What was revoked.
    pub revoked: RevokedTokens,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub revoked_at: Timestamp,
    /// Who did it, as `kind:id`.
    pub revoked_by: String,
}

impl ReadModel {
    /// A page of revocations of admin tokens, the newest first. They belong to no tenant: only callers who see every
    /// tenant may ask.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn admin_token_revocations(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listed<RevocationRow>, ReadError> {
        let listing = Listing::new("SELECT * FROM admin_token_revocations WHERE true");
        listing.page(self.tables.readers(), ("revoked_at", "id"), after, limit).await
    }
}

impl Listable for RevocationRow {
    fn from_row(row: &SqliteRow) -> Result<Self, ReadError> {
        let revoked = match row.optional_moment("issued_before")? {
            Some(moment) => RevokedTokens::IssuedBefore(moment),
            None => RevokedTokens::Single {
                jti: row.required("jti", AdminTokenId::parse)?,
                issuer: row.required("issuer", TokenIssuer::parse)?,
                expires_at: row.optional_moment("expires_at")?,
            },
        };
        Ok(Self {
            id: row.required("id", EventId::parse)?,
            revoked,
            reason: row.optional_text("reason")?,
            revoked_at: row.moment("revoked_at")?,
            revoked_by: row.text("revoked_by")?,
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.revoked_at, id: *self.id.as_uuid() }
    }
}

//! Registration tokens: listed, and one by its id.

use signalbeam_domain::{DeviceId, Prefix, RegistrationTokenId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::ReadModel;
use super::cursor::Cursor;
use super::listing::{Listable, Listed, Listing};
use crate::columns::{Columns, ReadError};

/// A registration token, without what verifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// The token.
    pub id: RegistrationTokenId,
    /// The tenant that its device will belong to.
    pub tenant_id: TenantId,
    /// Its public prefix, which names its stream.
    pub prefix: Prefix,
    /// The first moment at which it no longer registers anything.
    pub expires_at: Timestamp,
    /// When a device registered with it.
    pub used_at: Option<Timestamp>,
    /// That device.
    pub used_by_device_id: Option<DeviceId>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// Who issued it, as `kind:id`.
    pub created_by: String,
    /// What it is for.
    pub description: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revocation_reason: Option<String>,
}

/// Where a token stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatus {
    /// A device can register with it.
    Active,
    /// A device has registered with it.
    Used,
    /// Its time is over.
    Expired,
    /// An admin took it back.
    Revoked,
}

/// Which tokens a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// Only these.
    pub status: Option<TokenStatus>,
    /// Only this tenant's.
    pub tenant_id: Option<TenantId>,
}

impl TokenStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Active, Self::Used, Self::Expired, Self::Revoked];

    /// As it is written in answers and queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl TokenRow {
    /// Where it stands at a moment.
    pub fn status(&self, now: Timestamp) -> TokenStatus {
        match (self.used_at, self.revoked_at) {
            (Some(_), _) => TokenStatus::Used,
            (None, Some(_)) => TokenStatus::Revoked,
            (None, None) if now >= self.expires_at => TokenStatus::Expired,
            (None, None) => TokenStatus::Active,
        }
    }
}

impl ReadModel {
    /// A page of registration tokens, the newest first.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn registration_tokens(
        &self,
        confined_to: Option<TenantId>,
        filter: &TokenFilter,
        now: Timestamp,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listed<TokenRow>, ReadError> {
        let mut listing = Listing::new("SELECT * FROM device_registration_tokens WHERE true");
        listing.and_tenants(confined_to, filter.tenant_id);
        match filter.status {
            None => {}
            Some(TokenStatus::Used) => listing.and_that("used_at IS NOT NULL"),
            Some(TokenStatus::Revoked) => listing.and_that("used_at IS NULL AND revoked_at IS NOT NULL"),
            Some(TokenStatus::Expired) => {
                listing.and("used_at IS NULL AND revoked_at IS NULL AND expires_at <= ", now.to_string());
            }
            Some(TokenStatus::Active) => {
                listing.and("used_at IS NULL AND revoked_at IS NULL AND expires_at > ", now.to_string());
            }
        }
        listing.page(self.tables.readers(), ("created_at", "id"), after, limit).await
    }

    /// One registration token.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn registration_token(
        &self,
        confined_to: Option<TenantId>,
        id: RegistrationTokenId,
    ) -> Result<Option<TokenRow>, ReadError> {
        let mut listing = Listing::new("SELECT * FROM device_registration_tokens WHERE true");
        listing.and("id = ", id.to_string());
        listing.and_tenants(confined_to, None);
        listing.one(self.tables.readers()).await
    }
}

impl Listable for TokenRow {
    fn from_row(row: &SqliteRow) -> Result<Self, ReadError> {
        Ok(Self {
            id: row.required("id", RegistrationTokenId::parse)?,
            tenant_id: row.required("tenant_id", TenantId::parse)?,
            prefix: row.required("token_prefix", Prefix::parse)?,
            expires_at: row.moment("expires_at")?,
            used_at: row.optional_moment("used_at")?,
            used_by_device_id: row.optional("used_by_device_id", DeviceId::parse)?,
            created_at: row.moment("created_at")?,
            created_by: row.text("created_by")?,
            description: row.optional_text("description")?,
            revoked_at: row.optional_moment("revoked_at")?,
            revocation_reason: row.optional_text("revocation_reason")?,
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.created_at, id: *self.id.as_uuid() }
    }
}

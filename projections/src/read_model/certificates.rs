//! Certificates: the inventory, a device's, one by its serial number, and what a CRL lists.

use signalbeam_domain::certificate::{RenewalWindow, Standing};
use signalbeam_domain::{AuthorityId, DeviceId, Digest, EventId, Fingerprint, SerialNumber, TenantId, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::ReadModel;
use super::cursor::Cursor;
use super::listing::{Listable, Listed, Listing};
use crate::columns::{Columns, ReadError, digest};
use crate::standing::{CertificateType, renewal_window, standing};

/// A certificate, without its PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// The event that recorded it.
    pub id: EventId,
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Whose it is; `None` for a certificate authority's.
    pub device_id: Option<DeviceId>,
    /// The device's tenant; `None` for a certificate authority's.
    pub tenant_id: Option<TenantId>,
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Its subject.
    pub subject: String,
    /// What it is for.
    pub kind: CertificateType,
    /// The profile that decided its contents.
    pub profile: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The first moment of its validity.
    pub not_before: Timestamp,
    /// The last moment of its validity.
    pub expires_at: Timestamp,
    /// What became of it.
    pub standing: Standing,
    /// When it ended before its time: the first of being superseded and being revoked.
    pub revoked_at: Option<Timestamp>,
    /// Who ended it, as `kind:id`.
    pub revoked_by: Option<String>,
    /// What was said of the revocation.
    pub revocation_reason: Option<String>,
    /// The certificate that took its place, also where it was revoked afterwards.
    pub superseded_by: Option<SerialNumber>,
    /// The certificate that it renewed.
    pub renewal_of: Option<SerialNumber>,
    /// The SHA-256 of its public key; `None` for a certificate authority's.
    pub public_key_sha256: Option<Digest>,
    /// Who signed it.
    pub authority_id: AuthorityId,
    /// When it first authenticated.
    pub first_used_at: Option<Timestamp>,
    /// The last expiry threshold that was told, in days before the end.
    pub noticed_days: Option<u16>,
    /// When its device was asked to renew it, where it was.
    pub renewal_requested: Option<RenewalWindow>,
    /// When it turned up although it had been superseded.
    pub reuse_suspected_at: Option<Timestamp>,
}

/// Where a certificate stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStatus {
    /// It has not ended.
    Active,
    /// Another one took its place.
    Superseded,
    /// It was revoked.
    Revoked,
    /// Its validity is over.
    Expired,
}

/// Which certificates a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFilter {
    /// Only these.
    pub status: Option<CertificateStatus>,
    /// Only those that have not ended and will within so many days.
    pub expiring_within_days: Option<u16>,
    /// Only this tenant's.
    pub tenant_id: Option<TenantId>,
    /// Only of this type.
    pub kind: Option<CertificateType>,
    /// Only of this profile.
    pub profile: Option<String>,
    /// Only those issued from this moment on.
    pub issued_from: Option<Timestamp>,
    /// Only those issued before this moment.
    pub issued_before: Option<Timestamp>,
    /// Only these devices'; empty: every device's.
    pub device_ids: Vec<DeviceId>,
    /// Only those that this authority signed.
    pub authority_id: Option<AuthorityId>,
    /// Only those that were neither superseded nor revoked, whether or not their validity is over.
    pub unrevoked: bool,
}

/// A certificate that a CRL lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Who signed it, and so whose CRL lists it.
    pub authority_id: AuthorityId,
    /// When it ended.
    pub revoked_at: Timestamp,
    /// The last moment of its validity.
    pub expires_at: Timestamp,
    /// Whether it was superseded or revoked.
    pub standing: Standing,
}

const COLUMNS: &str = "SELECT id, serial_number, device_id, tenant_id, fingerprint, subject, type, profile, issued_at, \
    not_before, expires_at, standing, revoked_at, revoked_by, revocation_reason, superseded_by, renewal_of, \
    public_key_sha256, authority_id, first_used_at, noticed_days, renewal_window_start, \
    renewal_window_end, reuse_suspected_at FROM device_certificates WHERE true";

const NEWEST_FIRST: (&str, &str) = ("issued_at", "id");

impl CertificateStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Active, Self::Superseded, Self::Revoked, Self::Expired];

    /// As it is written in answers and queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl CertificateRow {
    /// Where it stands at a moment. What has ended stays ended, whether or not its validity is over too.
    pub fn status(&self, now: Timestamp) -> CertificateStatus {
        match self.standing {
            Standing::Superseded { .. } => CertificateStatus::Superseded,
            Standing::Revoked => CertificateStatus::Revoked,
            Standing::Active if now > self.expires_at => CertificateStatus::Expired,
            Standing::Active => CertificateStatus::Active,
        }
    }
}

impl ReadModel {
    /// A page of certificates, the newest first.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn certificates(
        &self,
        confined_to: Option<TenantId>,
        filter: &CertificateFilter,
        now: Timestamp,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listed<CertificateRow>, ReadError> {
        let mut listing = Listing::new(COLUMNS);
        listing.and_tenants(confined_to, filter.tenant_id);
        filter.narrow(&mut listing, now);
        listing.page(self.tables.readers(), NEWEST_FIRST, after, limit).await
    }

    /// All of a device's certificates, the newest first.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn certificates_of_device(
        &self,
        confined_to: Option<TenantId>,
        id: DeviceId,
    ) -> Result<Vec<CertificateRow>, ReadError> {
        let mut listing = Listing::new(COLUMNS);
        listing.and("device_id = ", id.to_string());
        listing.and_tenants(confined_to, None);
        Ok(listing.page(self.tables.readers(), NEWEST_FIRST, None, usize::MAX).await?.items)
    }

    /// One certificate.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn certificate(
        &self,
        confined_to: Option<TenantId>,
        serial_number: SerialNumber,
    ) -> Result<Option<CertificateRow>, ReadError> {
        let mut listing = Listing::new(COLUMNS);
        listing.and("serial_number = ", serial_number.to_string());
        listing.and_tenants(confined_to, None);
        listing.one(self.tables.readers()).await
    }

    /// Every certificate that ended before its time and expires at or after a moment, the oldest end first.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn revocations(&self, expiring_from: Timestamp) -> Result<Vec<Revocation>, ReadError> {
        let query = "SELECT serial_number, authority_id, revoked_at, expires_at, standing, superseded_by \
                     FROM device_certificates WHERE revoked_at IS NOT NULL AND expires_at >= $1 \
                     ORDER BY revoked_at, serial_number";
        let rows = sqlx::query(query).bind(expiring_from.to_string()).fetch_all(self.tables.readers()).await?;
        rows.iter().map(revocation).collect()
    }
}

impl CertificateFilter {
    fn narrow(&self, listing: &mut Listing, now: Timestamp) {
        match self.status {
            None => {}
            Some(CertificateStatus::Active) => listing.and("revoked_at IS NULL AND expires_at >= ", now.to_string()),
            Some(CertificateStatus::Expired) => listing.and("revoked_at IS NULL AND expires_at < ", now.to_string()),
            Some(status @ (CertificateStatus::Superseded | CertificateStatus::Revoked)) => {
                listing.and("standing = ", status.as_str());
            }
        }
        if let Some(days) = self.expiring_within_days {
            listing.and("revoked_at IS NULL AND expires_at >= ", now.to_string());
            listing.and("expires_at < ", now.plus_days(i64::from(days)).to_string());
        }
        if let Some(kind) = self.kind {
            listing.and("type = ", kind.as_str());
        }
        if let Some(profile) = &self.profile {
            listing.and("profile = ", profile.clone());
        }
        if let Some(from) = self.issued_from {
            listing.and("issued_at >= ", from.to_string());
        }
        if let Some(before) = self.issued_before {
            listing.and("issued_at < ", before.to_string());
        }
        if let Some(authority_id) = self.authority_id {
            listing.and("authority_id = ", authority_id.to_string());
        }
        if self.unrevoked {
            listing.and_that("revoked_at IS NULL");
        }
        listing.and_one_of("device_id", self.device_ids.iter().map(ToString::to_string));
    }
}

/// The device's certificate that has not ended, whether or not its validity is over.
pub(super) async fn active(
    connection: &mut SqliteConnection,
    id: DeviceId,
) -> Result<Option<CertificateRow>, ReadError> {
    let mut listing = Listing::new(COLUMNS);
    listing.and("revoked_at IS NULL AND device_id = ", id.to_string());
    listing.one(connection).await
}

fn revocation(row: &SqliteRow) -> Result<Revocation, ReadError> {
    Ok(Revocation {
        serial_number: row.required("serial_number", SerialNumber::from_hex)?,
        authority_id: row.required("authority_id", AuthorityId::parse)?,
        revoked_at: row.moment("revoked_at")?,
        expires_at: row.moment("expires_at")?,
        standing: standing(row)?,
    })
}

impl Listable for CertificateRow {
    fn from_row(row: &SqliteRow) -> Result<Self, ReadError> {
        Ok(Self {
            id: row.required("id", EventId::parse)?,
            serial_number: row.required("serial_number", SerialNumber::from_hex)?,
            device_id: row.optional("device_id", DeviceId::parse)?,
            tenant_id: row.optional("tenant_id", TenantId::parse)?,
            fingerprint: row.required("fingerprint", Fingerprint::parse)?,
            subject: row.text("subject")?,
            kind: row.required("type", CertificateType::parse)?,
            profile: row.optional_text("profile")?,
            issued_at: row.moment("issued_at")?,
            not_before: row.moment("not_before")?,
            expires_at: row.moment("expires_at")?,
            standing: standing(row)?,
            revoked_at: row.optional_moment("revoked_at")?,
            revoked_by: row.optional_text("revoked_by")?,
            revocation_reason: row.optional_text("revocation_reason")?,
            superseded_by: row.optional("superseded_by", SerialNumber::from_hex)?,
            renewal_of: row.optional("renewal_of", SerialNumber::from_hex)?,
            public_key_sha256: row.optional("public_key_sha256", digest)?,
            authority_id: row.required("authority_id", AuthorityId::parse)?,
            first_used_at: row.optional_moment("first_used_at")?,
            noticed_days: row.optional_integer("noticed_days")?,
            renewal_requested: renewal_window(row)?,
            reuse_suspected_at: row.optional_moment("reuse_suspected_at")?,
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.issued_at, id: *self.id.as_uuid() }
    }
}

//! Devices: listed, and one with what it authenticates by.

use signalbeam_domain::{
    AllowedNetworks, ApiKeyId, DeviceId, DeviceName, DeviceStatus, Digest, Metadata, Prefix, ProfileName, Tags,
    TenantId, Timestamp,
};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::ReadModel;
use super::certificates::{self, CertificateRow};
use super::cursor::Cursor;
use super::listing::{Listable, Listed, Listing};
use crate::columns::{Columns, ReadError, digest};

/// A device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow {
    /// The device.
    pub device_id: DeviceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Its label.
    pub name: DeviceName,
    /// Where it stands.
    pub status: DeviceStatus,
    /// What it told of itself.
    pub metadata: Metadata,
    /// What it is found by.
    pub tags: Tags,
    /// When it registered.
    pub registered_at: Timestamp,
    /// The prefix of the token that it registered with; `None` where it was imported.
    pub token_prefix: Option<Prefix>,
    /// The SHA-256 of its claim secret; `None` where it was imported.
    pub claim_secret_sha256: Option<Digest>,
    /// When it was approved.
    pub approved_at: Option<Timestamp>,
    /// Who approved it, as `kind:id`.
    pub approved_by: Option<String>,
    /// How long an API key that it claims lives.
    pub api_key_validity_days: Option<u16>,
    /// The profile of its certificates.
    pub certificate_profile: ProfileName,
    /// When it was rejected.
    pub rejected_at: Option<Timestamp>,
    /// Why it was rejected.
    pub rejection_reason: Option<String>,
    /// When its status last changed.
    pub status_changed_at: Timestamp,
    /// Who changed it, as `kind:id`.
    pub status_changed_by: String,
    /// What was said of that change.
    pub status_reason: Option<String>,
    /// When it last authenticated, a second or so behind.
    pub last_seen_at: Option<Timestamp>,
    /// From where it may authenticate.
    pub allowed_networks: AllowedNetworks,
}

/// A device's API key, without what verifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// The key.
    pub key_id: ApiKeyId,
    /// Whose it is.
    pub device_id: DeviceId,
    /// The device's tenant.
    pub tenant_id: TenantId,
    /// Its public prefix.
    pub prefix: Prefix,
    /// When it was issued.
    pub created_at: Timestamp,
    /// The first moment at which it no longer authenticates.
    pub expires_at: Timestamp,
    /// When it first authenticated.
    pub first_used_at: Option<Timestamp>,
    /// The last expiry threshold that was told, in days before the end.
    pub noticed_days: Option<u16>,
}

/// A device with what it authenticates by.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDetail {
    /// The device.
    pub device: DeviceRow,
    /// Its newest API key that is not revoked, whether or not it has expired.
    pub api_key: Option<ApiKeyRow>,
    /// Its certificate that is neither superseded nor revoked, whether or not it has expired.
    pub certificate: Option<CertificateRow>,
    /// Whether another device of its tenant has the same name.
    pub name_is_duplicate: bool,
}

/// Which devices a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Only these.
    pub status: Option<DeviceStatus>,
    /// Only this tenant's.
    pub tenant_id: Option<TenantId>,
    /// Only those whose name contains this; ASCII letters in either case.
    pub name_contains: Option<String>,
    /// Only those that have every one of these.
    pub tags: Tags,
}

/// A device's columns, and when it was last seen.
macro_rules! device_columns {
    () => {
        "SELECT devices.*, \
         (SELECT last_seen_at FROM device_usage WHERE device_usage.device_id = devices.device_id) AS last_seen_at "
    };
}

const DEVICES: &str = concat!(device_columns!(), "FROM devices WHERE true");

const TAGGED_DEVICES: &str =
    concat!(device_columns!(), "FROM device_tags AS tagged CROSS JOIN devices USING (device_id) WHERE true");

const UNREVOKED_API_KEYS: &str = "SELECT id, device_id, tenant_id, key_prefix, created_at, expires_at, first_used_at, noticed_days \
     FROM device_api_keys WHERE revoked_at IS NULL";

const RETIRABLE: &str = "
SELECT device_id, tenant_id FROM devices AS device
WHERE device_id > $1 AND status = 'Approved'
  AND EXISTS (
    SELECT 1 FROM device_api_keys AS key WHERE key.device_id = device.device_id AND key.revoked_at IS NULL
  )
  AND EXISTS (
    SELECT 1 FROM device_certificates AS active
    WHERE active.device_id = device.device_id AND active.revoked_at IS NULL AND active.first_used_at IS NOT NULL
      AND active.not_before <= $2 AND active.expires_at > $2
  )
  AND EXISTS (
    SELECT 1 FROM device_certificates AS used
    WHERE used.device_id = device.device_id AND used.first_used_at <= $3
  )
ORDER BY device_id LIMIT $4";

impl ReadModel {
    /// A page of devices, the newest first.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn devices(
        &self,
        confined_to: Option<TenantId>,
        filter: &DeviceFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listed<DeviceRow>, ReadError> {
        let mut listing = devices_with(&filter.tags, confined_to.or(filter.tenant_id));
        listing.and_tenants(confined_to, filter.tenant_id);
        if let Some(status) = filter.status {
            listing.and("status = ", status.as_str());
        }
        if let Some(part) = &filter.name_contains {
            listing.and("0 < instr(lower(name), lower(", part.clone());
            listing.push("))");
        }
        let order =
            if filter.tags.is_empty() { ("registered_at", "device_id") } else { ("device_registered_at", "device_id") };
        listing.page(self.tables.readers(), order, after, limit).await
    }

    /// One device, with what it authenticates by.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn device(&self, confined_to: Option<TenantId>, id: DeviceId) -> Result<Option<DeviceDetail>, ReadError> {
        let mut snapshot = self.snapshot().await?;
        let mut listing = Listing::new(DEVICES);
        listing.and("device_id = ", id.to_string());
        let Some(device) = listing.one::<DeviceRow>(&mut *snapshot).await? else { return Ok(None) };
        if confined_to.is_some_and(|tenant| tenant != device.tenant_id) {
            return Ok(None);
        }
        Ok(Some(DeviceDetail {
            api_key: newest_api_key(&mut snapshot, id).await?,
            certificate: certificates::active(&mut snapshot, id).await?,
            name_is_duplicate: name_is_duplicate(&mut snapshot, &device).await?,
            device,
        }))
    }

    /// A page of API keys that are not revoked, expire from `from` on and before `before`, and of which nobody has been
    /// told at this threshold or a smaller one; the latest expiry first.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn api_keys_expiring(
        &self,
        from: Timestamp,
        before: Timestamp,
        threshold_days: u16,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listed<ApiKeyRow>, ReadError> {
        let mut listing = Listing::new(UNREVOKED_API_KEYS);
        listing.and("expires_at >= ", from.to_string());
        listing.and("expires_at < ", before.to_string());
        listing.and("coalesce(noticed_days, 65536) > ", i64::from(threshold_days));
        listing.page(self.tables.readers(), ("expires_at", "id"), after, limit).await
    }

    /// Approved devices behind `after`, by their ids, that have an API key that is not revoked and a certificate in use at
    /// this moment, and that first authenticated by any certificate at `used_until` or before; each with its tenant.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn devices_with_retirable_keys(
        &self,
        used_until: Timestamp,
        now: Timestamp,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceId, TenantId)>, ReadError> {
        let rows = sqlx::query(RETIRABLE)
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(now.to_string())
            .bind(used_until.to_string())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.tables.readers())
            .await?;
        let device = |row: &SqliteRow| {
            Ok((row.required("device_id", DeviceId::parse)?, row.required("tenant_id", TenantId::parse)?))
        };
        rows.iter().map(device).collect()
    }
}

/// The devices that have all these tags. Where there are any, the list walks the index of one tag in its own order and
/// looks each device up: it costs what the page costs, however many devices there are without the tag.
fn devices_with(tags: &Tags, tenant: Option<TenantId>) -> Listing {
    let mut tags = tags.iter();
    let Some(first) = tags.next() else { return Listing::new(DEVICES) };
    let mut listing = Listing::new(TAGGED_DEVICES);
    listing.and("tagged.tag = ", first.as_str().to_owned());
    if let Some(tenant) = tenant {
        listing.and("tagged.device_tenant_id = ", tenant.to_string());
    }
    for other in tags {
        listing.and(
            "EXISTS (SELECT 1 FROM device_tags AS other WHERE other.device_id = tagged.device_id AND other.tag = ",
            other.as_str().to_owned(),
        );
        listing.push(")");
    }
    listing
}

async fn newest_api_key(connection: &mut SqliteConnection, id: DeviceId) -> Result<Option<ApiKeyRow>, ReadError> {
    let mut listing = Listing::new(UNREVOKED_API_KEYS);
    listing.and("device_id = ", id.to_string());
    listing.push(" ORDER BY rowid DESC LIMIT 1");
    listing.one(connection).await
}

async fn name_is_duplicate(connection: &mut SqliteConnection, device: &DeviceRow) -> Result<bool, ReadError> {
    let query = "SELECT EXISTS (SELECT 1 FROM devices WHERE tenant_id = $1 AND name = $2 AND device_id <> $3)";
    let answer = sqlx::query_scalar(query)
        .bind(device.tenant_id.to_string())
        .bind(device.name.as_str())
        .bind(device.device_id.to_string())
        .fetch_one(connection)
        .await?;
    Ok(answer)
}

impl Listable for DeviceRow {
    fn from_row(row: &SqliteRow) -> Result<Self, ReadError> {
        Ok(Self {
            device_id: row.required("device_id", DeviceId::parse)?,
            tenant_id: row.required("tenant_id", TenantId::parse)?,
            name: row.required("name", DeviceName::parse)?,
            status: row.required("status", |text| DeviceStatus::parse(text).ok_or(()))?,
            metadata: row.required("metadata", |json| serde_json::from_str(json))?,
            tags: row.required("tags", |json| serde_json::from_str(json))?,
            registered_at: row.moment("registered_at")?,
            token_prefix: row.optional("token_prefix", Prefix::parse)?,
            claim_secret_sha256: row.optional("claim_secret_sha256", digest)?,
            approved_at: row.optional_moment("approved_at")?,
            approved_by: row.optional_text("approved_by")?,
            api_key_validity_days: row.optional_integer("api_key_validity_days")?,
            certificate_profile: row
                .optional("certificate_profile", ProfileName::parse)?
                .unwrap_or_else(ProfileName::device),
            rejected_at: row.optional_moment("rejected_at")?,
            rejection_reason: row.optional_text("rejection_reason")?,
            status_changed_at: row.moment("status_changed_at")?,
            status_changed_by: row.text("status_changed_by")?,
            status_reason: row.optional_text("status_reason")?,
            last_seen_at: row.optional_moment("last_seen_at")?,
            allowed_networks: row.optional("allowed_networks", |json| serde_json::from_str(json))?.unwrap_or_default(),
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.registered_at, id: *self.device_id.as_uuid() }
    }
}

impl Listable for ApiKeyRow {
    fn from_row(row: &SqliteRow) -> Result<Self, ReadError> {
        Ok(Self {
            key_id: row.required("id", ApiKeyId::parse)?,
            device_id: row.required("device_id", DeviceId::parse)?,
            tenant_id: row.required("tenant_id", TenantId::parse)?,
            prefix: row.required("key_prefix", Prefix::parse)?,
            created_at: row.moment("created_at")?,
            expires_at: row.moment("expires_at")?,
            first_used_at: row.optional_moment("first_used_at")?,
            noticed_days: row.optional_integer("noticed_days")?,
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.expires_at, id: *self.key_id.as_uuid() }
    }
}

//! Counts for the metrics.

use signalbeam_domain::{AuthorityId, DeviceStatus, ProfileName, TenantId, Timestamp};

use super::ReadModel;
use crate::columns::{Columns, ReadError};

/// How many certificates are active, by tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActiveCertificates {
    /// The tenants that have most, with their numbers, the largest first.
    pub largest: Vec<(TenantId, u64)>,
    /// How many all other tenants have together.
    pub other: u64,
}

impl ReadModel {
    /// How many devices stand where; every status is there.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn devices_by_status(&self) -> Result<Vec<(DeviceStatus, u64)>, ReadError> {
        let query = "SELECT status, count(*) AS number FROM devices GROUP BY status";
        let rows = sqlx::query(query).fetch_all(self.tables.readers()).await?;
        let mut counts: Vec<_> = DeviceStatus::ALL.into_iter().map(|status| (status, 0)).collect();
        for row in &rows {
            let status = row.required("status", |text| DeviceStatus::parse(text).ok_or(()))?;
            let number: u64 = row.integer("number")?;
            counts.iter_mut().filter(|(of, _)| *of == status).for_each(|(_, count)| *count = number);
        }
        Ok(counts)
    }

    /// How many devices in service get certificates of which profile, by its name.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn devices_by_profile(&self) -> Result<Vec<(ProfileName, u64)>, ReadError> {
        let query = "SELECT coalesce(certificate_profile, $1) AS profile, count(*) AS number FROM devices \
                     WHERE status IN ('Pending', 'Approved', 'Suspended') GROUP BY profile ORDER BY profile";
        let rows = sqlx::query(query).bind(ProfileName::DEVICE).fetch_all(self.tables.readers()).await?;
        rows.iter().map(|row| Ok((row.required("profile", ProfileName::parse)?, row.integer("number")?))).collect()
    }

    /// With how many registration tokens of a tenant a device can still register.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn active_registration_tokens(&self, tenant_id: TenantId, now: Timestamp) -> Result<u64, ReadError> {
        let query = "SELECT count(*) AS number FROM device_registration_tokens \
                     WHERE tenant_id = $1 AND is_used = 0 AND revoked_at IS NULL AND expires_at > $2";
        let query = sqlx::query(query).bind(tenant_id.to_string()).bind(now.to_string());
        query.fetch_one(self.tables.readers()).await?.integer("number")
    }

    /// How many device certificates have neither ended nor expired: of the `largest` tenants each, of the others together.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn active_certificates_by_tenant(
        &self,
        now: Timestamp,
        largest: usize,
    ) -> Result<ActiveCertificates, ReadError> {
        let query = "SELECT tenant_id, count(*) AS number FROM device_certificates \
                     WHERE revoked_at IS NULL AND type = 'Device' AND expires_at >= $1 \
                     GROUP BY tenant_id ORDER BY number DESC, tenant_id";
        let rows = sqlx::query(query).bind(now.to_string()).fetch_all(self.tables.readers()).await?;
        let mut counts = ActiveCertificates::default();
        for row in &rows {
            let number: u64 = row.integer("number")?;
            if counts.largest.len() < largest {
                counts.largest.push((row.required("tenant_id", TenantId::parse)?, number));
            } else {
                counts.other += number;
            }
        }
        Ok(counts)
    }

    /// How many device certificates that an authority signed have neither ended nor expired.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn live_certificates_of_authority(&self, id: AuthorityId, now: Timestamp) -> Result<u64, ReadError> {
        let query = "SELECT count(*) AS number FROM device_certificates \
                     WHERE revoked_at IS NULL AND type = 'Device' AND expires_at >= $1 AND authority_id = $2";
        let query = sqlx::query(query).bind(now.to_string()).bind(id.to_string());
        query.fetch_one(self.tables.readers()).await?.integer("number")
    }

    /// How many device certificates have neither ended nor expired, and how many of those were issued since a moment.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn live_certificates_since(&self, since: Timestamp, now: Timestamp) -> Result<(u64, u64), ReadError> {
        let query = "SELECT count(*) AS number, count(CASE WHEN issued_at >= $1 THEN 1 END) AS fresh \
                     FROM device_certificates WHERE revoked_at IS NULL AND type = 'Device' AND expires_at >= $2";
        let query = sqlx::query(query).bind(since.to_string()).bind(now.to_string());
        let row = query.fetch_one(self.tables.readers()).await?;
        Ok((row.integer("number")?, row.integer("fresh")?))
    }

    /// How many device certificates have neither ended nor expired and will expire within so many days, for each threshold.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn certificates_expiring(
        &self,
        now: Timestamp,
        thresholds_days: &[u16],
    ) -> Result<Vec<(u16, u64)>, ReadError> {
        let mut snapshot = self.snapshot().await?;
        let query = "SELECT count(*) AS number FROM device_certificates \
                     WHERE revoked_at IS NULL AND type = 'Device' AND expires_at >= $1 AND expires_at < $2";
        let mut counts = Vec::with_capacity(thresholds_days.len());
        for days in thresholds_days {
            let end = now.plus_days(i64::from(*days));
            let row = sqlx::query(query).bind(now.to_string()).bind(end.to_string()).fetch_one(&mut *snapshot).await?;
            counts.push((*days, row.integer("number")?));
        }
        Ok(counts)
    }
}

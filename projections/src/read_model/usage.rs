//! How credentials are used, by device and by day.

use std::net::IpAddr;

use signalbeam_domain::{DeviceId, TenantId, Timestamp};
use signalbeam_event_store::audit::AuthenticationMethod;
use sqlx::sqlite::SqliteRow;

use super::ReadModel;
use crate::columns::{Columns, ReadError};

/// By the primary key.
const TENANTS_DAYS: &str = "
SELECT day, method, devices, successes, failures FROM tenant_usage_by_day
WHERE tenant_id = $3 AND day BETWEEN $1 AND $2 ORDER BY day DESC, method";

/// By the index of days.
const ALL_DAYS: &str = "
SELECT day, method, sum(devices) AS devices, sum(successes) AS successes, sum(failures) AS failures
FROM tenant_usage_by_day WHERE day BETWEEN $1 AND $2 AND $3 IS NULL GROUP BY day, method ORDER BY day DESC, method";

/// When a device last authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSeen {
    /// When.
    pub at: Timestamp,
    /// Its address then.
    pub from: IpAddr,
    /// By what means.
    pub method: AuthenticationMethod,
}

/// What a device did with one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialUsage {
    /// A certificate or an API key.
    pub method: AuthenticationMethod,
    /// The certificate's serial number or the key's prefix.
    pub credential: String,
    /// When it last authenticated.
    pub last_used_at: Option<Timestamp>,
    /// How many attempts succeeded.
    pub successes: u64,
    /// How many failed.
    pub failures: u64,
}

/// What was done by one method on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayUsage {
    /// The day in UTC, such as `2026-01-31`.
    pub day: String,
    /// By what means.
    pub method: AuthenticationMethod,
    /// How many devices tried, each counted once a day and method.
    pub devices: u64,
    /// How many attempts succeeded.
    pub successes: u64,
    /// How many failed.
    pub failures: u64,
}

/// How a device uses its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceUsage {
    /// When it last authenticated, where it ever did.
    pub last_seen: Option<LastSeen>,
    /// What it did with each credential, the last used first.
    pub credentials: Vec<CredentialUsage>,
    /// What it did on each day, the newest first.
    pub days: Vec<DayUsage>,
}

/// Days in UTC, the last one included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaySpan {
    /// The first day, such as `2026-01-31`.
    pub first: String,
    /// The last day.
    pub last: String,
}

impl ReadModel {
    /// How a device uses its credentials; the days are those of the span.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn device_usage(&self, id: DeviceId, span: &DaySpan) -> Result<DeviceUsage, ReadError> {
        let mut snapshot = self.snapshot().await?;
        let device = id.to_string();
        let seen = sqlx::query("SELECT * FROM device_usage WHERE device_id = $1")
            .bind(&device)
            .fetch_optional(&mut *snapshot)
            .await?;
        let credentials = "SELECT * FROM credential_usage WHERE device_id = $1 ORDER BY last_used_at DESC, credential";
        let credentials = sqlx::query(credentials).bind(&device).fetch_all(&mut *snapshot).await?;
        let days = "SELECT *, 1 AS devices FROM device_usage_by_day \
                    WHERE device_id = $1 AND day BETWEEN $2 AND $3 ORDER BY day DESC, method";
        let days = sqlx::query(days).bind(&device).bind(&span.first).bind(&span.last).fetch_all(&mut *snapshot).await?;
        Ok(DeviceUsage {
            last_seen: seen.as_ref().map(last_seen).transpose()?,
            credentials: credentials.iter().map(credential).collect::<Result<_, _>>()?,
            days: days.iter().map(day).collect::<Result<_, _>>()?,
        })
    }

    /// What was done on each day, the newest first: by a tenant's devices, or by everybody, strangers included.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn usage_by_day(&self, tenant_id: Option<TenantId>, span: &DaySpan) -> Result<Vec<DayUsage>, ReadError> {
        let rows = sqlx::query(if tenant_id.is_some() { TENANTS_DAYS } else { ALL_DAYS })
            .bind(&span.first)
            .bind(&span.last)
            .bind(tenant_id.map(|tenant| tenant.to_string()))
            .fetch_all(self.tables.readers())
            .await?;
        rows.iter().map(day).collect()
    }
}

fn method(row: &SqliteRow, column: &'static str) -> Result<AuthenticationMethod, ReadError> {
    row.required(column, |text| AuthenticationMethod::parse(text).ok_or(()))
}

fn last_seen(row: &SqliteRow) -> Result<LastSeen, ReadError> {
    Ok(LastSeen {
        at: row.moment("last_seen_at")?,
        from: row.required("last_seen_from", str::parse)?,
        method: method(row, "last_method")?,
    })
}

fn credential(row: &SqliteRow) -> Result<CredentialUsage, ReadError> {
    Ok(CredentialUsage {
        method: method(row, "method")?,
        credential: row.text("credential")?,
        last_used_at: row.optional_moment("last_used_at")?,
        successes: row.integer("successes")?,
        failures: row.integer("failures")?,
    })
}

fn day(row: &SqliteRow) -> Result<DayUsage, ReadError> {
    Ok(DayUsage {
        day: row.text("day")?,
        method: method(row, "method")?,
        devices: row.integer("devices")?,
        successes: row.integer("successes")?,
        failures: row.integer("failures")?,
    })
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::*;
    use crate::tables::Tables;

    #[tokio::test]
    async fn days_are_found_without_looking_at_those_of_other_tenants_or_times() {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::create_anew(&folder.path().join("projections.db")).await.unwrap();
        for (query, constraint) in [(TENANTS_DAYS, "tenant_id=? AND day>? AND day<?"), (ALL_DAYS, "day>? AND day<?")] {
            let explained = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")));
            let rows = explained.fetch_all(tables.readers()).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            let is_searched = |step: &String| step.starts_with("SEARCH") && step.contains(constraint);
            assert!(plan.iter().any(is_searched) && !plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
        }
    }
}

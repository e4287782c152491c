//! Writes counts into the tables, with the row that they reach to, in one transaction.

use serde_json::{Value, json};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::{Changes, TenantDay, USAGE};
use crate::columns::ReadError;
use crate::tables::Tables;

const SEE_DEVICES: &str = "
INSERT INTO device_usage (device_id, tenant_id, last_seen_at, last_seen_from, last_method)
SELECT value ->> 'device', value ->> 'tenant', value ->> 'at', value ->> 'from', value ->> 'method'
FROM json_each($1) WHERE true
ON CONFLICT (device_id) DO UPDATE SET
    last_seen_at = excluded.last_seen_at, last_seen_from = excluded.last_seen_from, last_method = excluded.last_method
WHERE last_seen_at < excluded.last_seen_at";

const USE_CREDENTIALS: &str = "
INSERT INTO credential_usage (device_id, method, credential, tenant_id, last_used_at, successes, failures)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each($1) WHERE true
ON CONFLICT (device_id, method, credential) DO UPDATE SET
    last_used_at = iif(coalesce(last_used_at, '') < excluded.last_used_at, excluded.last_used_at, last_used_at),
    successes = successes + excluded.successes, failures = failures + excluded.failures";

/// The analysts' column is kept up to the counts.
const USE_API_KEYS: &str = "
UPDATE device_api_keys SET last_used_at = used.at
FROM (SELECT value ->> 0 AS device, value ->> 2 AS prefix, value ->> 4 AS at FROM json_each($1)
      WHERE value ->> 1 = 'ApiKey') AS used
WHERE device_id = used.device AND key_prefix = used.prefix AND used.at > coalesce(last_used_at, '')";

/// Makes the rows of devices that are new on that day; how many were is how many devices the tenant's day gains.
const BEGIN_DAY: &str = "
INSERT OR IGNORE INTO device_usage_by_day (device_id, day, method, successes, failures)
SELECT value ->> 0, $1, $2, 0, 0 FROM json_each($3)";

const COUNT_DAY: &str = "
UPDATE device_usage_by_day SET successes = successes + counted.good, failures = failures + counted.bad
FROM (SELECT value ->> 0 AS device, value ->> 1 AS good, value ->> 2 AS bad FROM json_each($3)) AS counted
WHERE device_id = counted.device AND day = $1 AND method = $2";

const COUNT_TENANTS_DAY: &str = "
INSERT INTO tenant_usage_by_day (tenant_id, day, method, devices, successes, failures) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, day, method) DO UPDATE SET devices = devices + excluded.devices,
    successes = successes + excluded.successes, failures = failures + excluded.failures";

/// Whether counts were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Applied,
    /// Somebody else moved the checkpoint.
    Overtaken,
}

/// The last row of the authentication log that is counted.
pub(super) async fn row_reached(tables: &Tables) -> Result<i64, ReadError> {
    let query = sqlx::query("SELECT position FROM checkpoints WHERE projection = $1").bind(USAGE);
    Ok(query.fetch_one(tables.readers()).await?.try_get(0)?)
}

/// Forgets all counts.
pub(super) async fn start_over(tables: &Tables) -> Result<(), ReadError> {
    let mut transaction = tables.begin_write().await?;
    for table in ["device_usage", "credential_usage", "device_usage_by_day", "tenant_usage_by_day"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}"))).execute(&mut *transaction).await?;
    }
    sqlx::query("UPDATE checkpoints SET position = 0 WHERE projection = $1")
        .bind(USAGE)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

pub(super) async fn apply(tables: &Tables, from: i64, changes: &Changes) -> Result<Written, ReadError> {
    let mut transaction = tables.begin_write().await?;
    let moved = sqlx::query("UPDATE checkpoints SET position = $1 WHERE projection = $2 AND position = $3")
        .bind(changes.last_row)
        .bind(USAGE)
        .bind(from)
        .execute(&mut *transaction)
        .await?;
    if moved.rows_affected() == 0 {
        return Ok(Written::Overtaken);
    }
    write_credentials(&mut transaction, changes).await?;
    write_days(&mut transaction, changes).await?;
    transaction.commit().await?;
    Ok(Written::Applied)
}

async fn write_credentials(transaction: &mut Transaction<'_, Sqlite>, changes: &Changes) -> Result<(), sqlx::Error> {
    let sights = json!(changes.sights.values().collect::<Vec<_>>()).to_string();
    sqlx::query(SEE_DEVICES).bind(sights).execute(&mut **transaction).await?;
    let uses = changes.uses.iter().map(|((device, method, credential), used)| {
        json!([device, method.as_str(), credential, used.tenant, used.at, used.successes, used.failures])
    });
    let uses = uses.collect::<Value>().to_string();
    for sql in [USE_CREDENTIALS, USE_API_KEYS] {
        sqlx::query(sql).bind(&uses).execute(&mut **transaction).await?;
    }
    Ok(())
}

async fn write_days(transaction: &mut Transaction<'_, Sqlite>, changes: &Changes) -> Result<(), sqlx::Error> {
    for ((tenant, day, method), counted) in &changes.days {
        let devices = count_devices(transaction, day, method.as_str(), counted).await?;
        sqlx::query(COUNT_TENANTS_DAY)
            .bind(tenant.map(|tenant| tenant.to_string()).unwrap_or_default())
            .bind(day)
            .bind(method.as_str())
            .bind(number(devices))
            .bind(number(counted.successes))
            .bind(number(counted.failures))
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

/// Counts for each device; how many of them were not seen before on that day by that method.
async fn count_devices(
    connection: &mut SqliteConnection,
    day: &str,
    method: &str,
    counted: &TenantDay,
) -> Result<u64, sqlx::Error> {
    if counted.by_device.is_empty() {
        return Ok(0);
    }
    let devices = counted.by_device.iter().map(|(device, (good, bad))| json!([device, good, bad]));
    let devices = devices.collect::<Value>().to_string();
    let begun = sqlx::query(BEGIN_DAY).bind(day).bind(method).bind(&devices).execute(&mut *connection).await?;
    sqlx::query(COUNT_DAY).bind(day).bind(method).bind(&devices).execute(connection).await?;
    Ok(begun.rows_affected())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

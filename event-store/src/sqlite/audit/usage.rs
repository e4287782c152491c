//! Counts what credentials did, where the rows are: reading them all out would cost ten times as much.

use signalbeam_domain::{DeviceId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::audit::{AuthenticationMethod, UsageCount, UsageSummary};

/// With a single `max()` the other columns of a group are those of the row that holds the maximum: the last success.
const COUNT: &str = "
SELECT authentication_method, device_id, tenant_id,
    iif(device_id IS NULL, NULL, coalesce(api_key_prefix, certificate_serial_number)) AS credential,
    substr(timestamp, 1, 10) AS day, sum(success) AS successes, sum((1 - success) * attempts) AS failures,
    max(iif(success, timestamp, NULL)) AS last_success, ip_address
FROM device_authentication_logs WHERE row > $1 AND row <= $2
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5";

/// A column holds what is never written.
#[derive(Debug, thiserror::Error)]
#[error("device_authentication_logs is damaged: {0}")]
struct Damaged(&'static str);

pub(super) async fn after(readers: &SqlitePool, row: i64, limit: usize) -> Result<UsageSummary, sqlx::Error> {
    // One snapshot, so that the rows are those that the end was found among.
    let mut snapshot = readers.begin().await?;
    // The end is told by the engine's own counter: old rows may be gone, all of them too.
    let (first, head): (Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT (SELECT min(row) FROM device_authentication_logs WHERE row > $1),
                (SELECT seq FROM sqlite_sequence WHERE name = 'device_authentication_logs')",
    )
    .bind(row)
    .fetch_one(&mut *snapshot)
    .await?;
    let head = head.unwrap_or(0);
    // Old rows may be gone: what is read begins where there are some.
    let Some(first) = first else { return Ok(UsageSummary { last_row: row, head, counts: vec![] }) };
    let last_row = first.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX)).saturating_sub(1).min(head);
    let rows = sqlx::query(COUNT).bind(row).bind(last_row).fetch_all(&mut *snapshot).await?;
    Ok(UsageSummary { last_row, head, counts: rows.iter().map(count).collect::<Result<_, _>>()? })
}

fn count(row: &SqliteRow) -> Result<UsageCount, sqlx::Error> {
    let damaged = |column| sqlx::Error::Decode(Box::new(Damaged(column)));
    let text = |column: &'static str| row.try_get::<Option<&str>, _>(column);
    let number = |column: &'static str| u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| damaged(column));
    let last_success = text("last_success")?.map(Timestamp::parse).transpose().map_err(|_| damaged("timestamp"))?;
    let address = row.try_get::<&str, _>("ip_address")?.parse().map_err(|_| damaged("ip_address"))?;
    let method = AuthenticationMethod::parse(row.try_get("authentication_method")?);
    let device_id = text("device_id")?.map(DeviceId::parse).transpose().map_err(|_| damaged("device_id"))?;
    let tenant_id = text("tenant_id")?.map(TenantId::parse).transpose().map_err(|_| damaged("tenant_id"))?;
    Ok(UsageCount {
        method: method.ok_or_else(|| damaged("authentication_method"))?,
        device_id,
        tenant_id,
        credential: text("credential")?.map(ToOwned::to_owned),
        day: row.try_get("day")?,
        successes: number("successes")?,
        failures: number("failures")?,
        last_success: last_success.map(|moment| (moment, address)),
    })
}

//! Drops old rows a few at a time, so that nobody who records waits for it. Freed pages are used again for new rows: the
//! file stays as large as it was, and grows no more.

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::writer::{BLOCK, PART};

/// How many rows of each table go in one transaction: a few milliseconds.
const STEP: i64 = 500;

/// Drops some of the rows up to `through`, and what the side tables know of blocks that end before it; answers whether
/// there may be more. The list of blocks goes first: what is not in it is not found, whatever the indexes still hold.
pub(super) async fn step(connection: &mut SqliteConnection, through: i64) -> Result<bool, sqlx::Error> {
    let end = through.saturating_add(1);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM device_authentication_log_blocks WHERE block < ?")
        .bind(end / BLOCK)
        .execute(&mut *transaction)
        .await?;
    let mut dropped = sqlx::query(
        "DELETE FROM device_authentication_logs WHERE row IN
             (SELECT row FROM device_authentication_logs WHERE row < ? ORDER BY row LIMIT ?)",
    )
    .bind(end)
    .bind(STEP)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    let parts = sqlx::query(
        "DELETE FROM device_authentication_log_parts WHERE part IN
             (SELECT part FROM device_authentication_log_parts WHERE part < ? ORDER BY part LIMIT ?)",
    );
    dropped += parts.bind(end / PART).bind(STEP).execute(&mut *transaction).await?.rows_affected();
    for (table, column) in [("devices", "device_id"), ("tenants", "tenant_id"), ("failures", "failure_code")] {
        let key = format!("block, {column}, row");
        let sql = format!(
            "DELETE FROM device_authentication_log_{table} WHERE ({key}) IN
                 (SELECT {key} FROM device_authentication_log_{table} WHERE block < ? ORDER BY {key} LIMIT ?)"
        );
        let gone = sqlx::query(AssertSqlSafe(sql)).bind(end / BLOCK).bind(STEP).execute(&mut *transaction).await?;
        dropped += gone.rows_affected();
    }
    transaction.commit().await?;
    Ok(dropped > 0)
}

//! The rows of `ocsp_answers`.

use signalbeam_domain::Timestamp;
use sqlx::SqliteConnection;

use crate::audit::ocsp_answers::OcspAnswerRow;

/// How many rows go in one step of dropping.
const STEP: i64 = 500;

const INSERT: &str = "
INSERT INTO ocsp_answers (produced_at, authority_id, serial_number, status, complete_to, this_update, next_update,
    has_nonce, client_address, answers)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
    value ->> 9
FROM json_each(?)";

const DROP: &str = "
DELETE FROM ocsp_answers WHERE row IN (SELECT row FROM ocsp_answers WHERE produced_at < ? ORDER BY produced_at LIMIT ?)";

/// Writes rows in one transaction.
pub(super) async fn insert(connection: &mut SqliteConnection, rows: &[OcspAnswerRow]) -> Result<(), sqlx::Error> {
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.produced_at.to_string(),
                row.authority_id.to_string(),
                row.serial_number.map(|serial_number| serial_number.to_string()),
                row.status,
                row.complete_to.0,
                row.this_update.to_string(),
                row.next_update.to_string(),
                u8::from(row.has_nonce),
                row.client_address.map(|address| address.to_string()),
                row.answers,
            )
        })
        .collect();
    let json = serde_json::to_string(&values).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(INSERT).bind(json).execute(connection).await?;
    Ok(())
}

/// Drops some of the rows from before a moment; answers whether there may be more.
pub(super) async fn drop_some(connection: &mut SqliteConnection, before: Timestamp) -> Result<bool, sqlx::Error> {
    let dropped = sqlx::query(DROP).bind(before.to_string()).bind(STEP).execute(connection).await?;
    Ok(dropped.rows_affected() > 0)
}

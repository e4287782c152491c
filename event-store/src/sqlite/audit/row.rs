//! How an attempt becomes a row, and a row an attempt.

use std::sync::Arc;

use signalbeam_domain::{CorrelationId, DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row};
use uuid::Uuid;

use crate::audit::{AuthenticationAttempt, AuthenticationMethod, RecordedAttempt};
use crate::sqlite::insert::{BoxError, hex_text, multi_row_insert, text};

/// The columns in the order in which they are written and read.
pub(super) const COLUMNS: &str = "row, id, device_id, tenant_id, ip_address, user_agent, success, failure_reason, \
     failure_code, timestamp, api_key_prefix, authentication_method, certificate_serial_number, correlation_id, attempts";
pub(super) const COLUMN_COUNT: usize = 15;

/// A row that is no attempt.
#[derive(Debug, thiserror::Error)]
#[error("row {row} of device_authentication_logs is damaged: {column}")]
struct DamagedRow {
    row: i64,
    column: &'static str,
}

/// The statement that inserts this many attempts.
pub(super) fn insert(rows: usize) -> String {
    multi_row_insert("device_authentication_logs", COLUMNS, COLUMN_COUNT, rows)
}

/// Binds one attempt's columns.
pub(super) fn bind(arguments: &mut SqliteArguments, row: i64, attempt: &AuthenticationAttempt) -> Result<(), BoxError> {
    arguments.add(row)?;
    arguments.add(uuid_text(&attempt.id))?;
    arguments.add(attempt.device_id.map(|id| uuid_text(id.as_uuid())))?;
    arguments.add(attempt.tenant_id.map(|id| uuid_text(id.as_uuid())))?;
    arguments.add(attempt.ip_address.to_string())?;
    arguments.add(attempt.user_agent.as_deref().map(text))?;
    arguments.add(attempt.success)?;
    arguments.add(attempt.failure_reason.as_deref().map(text))?;
    arguments.add(attempt.failure_code.as_deref().map(text))?;
    arguments.add(attempt.timestamp.to_string())?;
    arguments.add(attempt.api_key_prefix.as_ref().map(|prefix| text(prefix.as_str())))?;
    arguments.add(text(attempt.method.as_str()))?;
    arguments.add(attempt.certificate_serial_number.map(|serial| hex_text(serial.as_octets())))?;
    arguments.add(text(attempt.correlation_id.as_str()))?;
    arguments.add(attempt.attempts.cast_signed())
}

fn uuid_text(id: &Uuid) -> Arc<str> {
    text(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

/// Reads a row of [`COLUMNS`] with its number.
pub(super) fn read(row: &SqliteRow) -> Result<RecordedAttempt, sqlx::Error> {
    let number: i64 = row.try_get(0)?;
    let damaged = |column| sqlx::Error::Decode(Box::new(DamagedRow { row: number, column }));
    let optional = |index: usize| row.try_get::<Option<&str>, _>(index);
    let device_id = optional(2)?.map(DeviceId::parse).transpose().map_err(|_| damaged("device_id"))?;
    let tenant_id = optional(3)?.map(TenantId::parse).transpose().map_err(|_| damaged("tenant_id"))?;
    let prefix = optional(10)?.map(Prefix::parse).transpose().map_err(|_| damaged("api_key_prefix"))?;
    let serial = optional(12)?.map(SerialNumber::from_hex).transpose();
    let attempt = AuthenticationAttempt {
        id: Uuid::try_parse(row.try_get(1)?).map_err(|_| damaged("id"))?,
        device_id,
        tenant_id,
        ip_address: row.try_get::<&str, _>(4)?.parse().map_err(|_| damaged("ip_address"))?,
        user_agent: row.try_get(5)?,
        success: row.try_get(6)?,
        failure_reason: row.try_get(7)?,
        failure_code: row.try_get(8)?,
        timestamp: Timestamp::parse(row.try_get(9)?).map_err(|_| damaged("timestamp"))?,
        api_key_prefix: prefix,
        method: AuthenticationMethod::parse(row.try_get(11)?).ok_or_else(|| damaged("authentication_method"))?,
        certificate_serial_number: serial.map_err(|_| damaged("certificate_serial_number"))?,
        correlation_id: CorrelationId::parse(row.try_get(13)?).ok_or_else(|| damaged("correlation_id"))?,
        attempts: u64::try_from(row.try_get::<i64, _>(14)?).map_err(|_| damaged("attempts"))?,
    };
    Ok(RecordedAttempt { row: number, attempt })
}

//! Filling an index from the tables: everything and the checkpoint in one read snapshot.

use std::sync::Arc;

use futures_util::TryStreamExt;
use signalbeam_domain::{
    AdminTokenId, ApiKeyId, AuthorityId, DeviceId, DeviceStatus, Fingerprint, Prefix, SecretVerifier, SerialNumber,
    TenantId, Timestamp, TokenIssuer,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::entries::{ApiKeyEntry, CertificateEntry, DeviceEntry};
use super::state::{State, forgotten_before};
use crate::checkpoint::Checkpoint;
use crate::columns::{Columns, ReadError, digest};
use crate::standing::{renewal_window, standing};
use crate::tables::Tables;

/// The state of the index at the tables' checkpoint.
pub(super) async fn load(tables: &Tables) -> Result<(State, Checkpoint), ReadError> {
    let mut snapshot: Transaction<'_, Sqlite> = tables.readers().begin().await?;
    let checkpoint = Checkpoint::read(&mut snapshot).await?;
    let moment = checkpoint.event.map(|(_, recorded_at)| recorded_at);
    let kept_from = moment.map(forgotten_before).unwrap_or_default().to_string();
    let mut state = State::with_capacity(
        count(&mut snapshot, "SELECT count(*) FROM devices").await?,
        count(&mut snapshot, "SELECT count(*) FROM device_certificates WHERE revoked_at IS NULL").await?,
        count(&mut snapshot, "SELECT count(*) FROM device_api_keys WHERE revoked_at IS NULL").await?,
    );
    load_devices(&mut state, &mut snapshot).await?;
    load_api_keys(&mut state, &mut snapshot, &kept_from).await?;
    load_certificates(&mut state, &mut snapshot, &kept_from).await?;
    load_authorities(&mut state, &mut snapshot).await?;
    load_admin_tokens(&mut state, &mut snapshot, &kept_from).await?;
    snapshot.commit().await?;
    Ok((state, checkpoint))
}

async fn count(connection: &mut SqliteConnection, query: &'static str) -> Result<usize, ReadError> {
    let count: i64 = sqlx::query_scalar(query).fetch_one(connection).await?;
    Ok(usize::try_from(count).unwrap_or_default())
}

async fn load_devices(state: &mut State, connection: &mut SqliteConnection) -> Result<(), ReadError> {
    let mut rows = sqlx::query("SELECT device_id, tenant_id, status, allowed_networks FROM devices").fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let status = row.required("status", |text| DeviceStatus::parse(text).ok_or(()))?;
        let entry = DeviceEntry { tenant_id: row.required("tenant_id", TenantId::parse)?, status };
        let device_id = row.required("device_id", DeviceId::parse)?;
        state.add_device(device_id, entry);
        if let Some(networks) = row.optional("allowed_networks", |json| serde_json::from_str(json))? {
            state.restrict_device(device_id, networks);
        }
    }
    Ok(())
}

/// In the order of the table, which is the order of issue.
async fn load_api_keys(state: &mut State, connection: &mut SqliteConnection, kept_from: &str) -> Result<(), ReadError> {
    let mut rows = sqlx::query(
        "SELECT id, device_id, key_prefix, key_hash, mac, mac_key_id, expires_at, \
             revoked_at IS NOT NULL AS is_revoked, first_used_at IS NOT NULL AS is_used \
         FROM device_api_keys WHERE revoked_at IS NULL OR expires_at >= $1 ORDER BY rowid",
    )
    .bind(kept_from)
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        state.add_api_key(api_key(&row)?);
    }
    Ok(())
}

fn api_key(row: &SqliteRow) -> Result<ApiKeyEntry, ReadError> {
    let verifier = SecretVerifier {
        bcrypt: row.text("key_hash")?,
        mac: row.required("mac", digest)?,
        mac_key_id: row.text("mac_key_id")?,
    };
    Ok(ApiKeyEntry {
        key_id: row.required("id", ApiKeyId::parse)?,
        prefix: row.required("key_prefix", Prefix::parse)?,
        device_id: row.required("device_id", DeviceId::parse)?,
        verifier: Arc::new(verifier),
        expires_at: row.moment("expires_at")?,
        is_revoked: row.flag("is_revoked")?,
        is_used: row.flag("is_used")?,
    })
}

async fn load_certificates(
    state: &mut State,
    connection: &mut SqliteConnection,
    kept_from: &str,
) -> Result<(), ReadError> {
    let mut rows = sqlx::query(
        "SELECT fingerprint, serial_number, device_id, not_before, expires_at, standing, superseded_by, \
             authority_id, renewal_window_start, renewal_window_end, reuse_suspected_at IS NOT NULL AS is_suspected, \
             first_used_at IS NOT NULL AS is_used \
         FROM device_certificates \
         WHERE type = 'Device' AND (revoked_at IS NULL OR expires_at >= $1) ORDER BY rowid",
    )
    .bind(kept_from)
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let certificate = certificate(&row)?;
        let serial_number = certificate.serial_number;
        state.add_certificate(certificate);
        if let Some(window) = renewal_window(&row)? {
            state.request_renewal(serial_number, window);
        }
    }
    Ok(())
}

fn certificate(row: &SqliteRow) -> Result<CertificateEntry, ReadError> {
    Ok(CertificateEntry {
        fingerprint: row.required("fingerprint", Fingerprint::parse)?,
        serial_number: row.required("serial_number", SerialNumber::from_hex)?,
        device_id: row.required("device_id", DeviceId::parse)?,
        not_before: row.moment("not_before")?,
        not_after: row.moment("expires_at")?,
        standing: standing(row)?,
        authority_id: row.required("authority_id", AuthorityId::parse)?,
        is_used: row.flag("is_used")?,
        is_reuse_suspected: row.flag("is_suspected")?,
    })
}

async fn load_authorities(state: &mut State, connection: &mut SqliteConnection) -> Result<(), ReadError> {
    let query =
        "SELECT authority_id, rotated_at FROM device_certificates WHERE type <> 'Device' AND rotated_at IS NOT NULL";
    let mut rows = sqlx::query(query).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        state.rotate_authority(row.required("authority_id", AuthorityId::parse)?, row.moment("rotated_at")?);
    }
    Ok(())
}

async fn load_admin_tokens(
    state: &mut State,
    connection: &mut SqliteConnection,
    kept_from: &str,
) -> Result<(), ReadError> {
    let mut rows = sqlx::query(
        "SELECT jti, issuer, expires_at, issued_before FROM admin_token_revocations \
         WHERE expires_at IS NULL OR expires_at >= $1",
    )
    .bind(kept_from)
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        if let Some(moment) = row.optional("issued_before", Timestamp::parse)? {
            state.admin_tokens.revoke_before(moment);
        } else {
            let issuer = row.required("issuer", TokenIssuer::parse)?;
            let jti = row.required("jti", AdminTokenId::parse)?;
            state.revoke_admin_token(issuer, jti, row.optional_moment("expires_at")?);
        }
    }
    Ok(())
}

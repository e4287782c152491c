//! What revocation lists are made of: the certificates of an authority that ended before their time.
//!
//! Rows tell where in the log each certificate ended, so that the state of any earlier position can be told from them.

use signalbeam_domain::authority::Ending;
use signalbeam_domain::certificate::RevocationReason;
use signalbeam_domain::{AuthorityId, Position, SerialNumber, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::ReadModel;
use crate::checkpoint::Checkpoint;
use crate::columns::{Columns, ReadError};

/// A certificate that ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedCertificate {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// When it first ended: superseded or revoked.
    pub ended_at: Timestamp,
    /// How and where in the log.
    pub ending: Ending,
    /// Why it was revoked, where it was.
    pub reason: RevocationReason,
}

/// What the tables hold behind a position of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewEndings {
    /// How far the tables have come.
    pub tables_at: Position,
    /// Whether a certificate was revoked since.
    pub has_revocation: bool,
    /// Whether any ended since, also by being superseded.
    pub has_any: bool,
}

const ENDED: &str = "\
    SELECT serial_number, revoked_at, expires_at, ended_position, revocation_position, \
        revocation_reason_code \
    FROM device_certificates INDEXED BY device_certificates_ended_by_expiry \
    WHERE type = 'Device' AND authority_id = $1 AND ended_position <= $2 AND expires_at >= $3 \
    UNION ALL \
    SELECT serial_number, revoked_at, expires_at, ended_position, revocation_position, \
        revocation_reason_code \
    FROM device_certificates INDEXED BY device_certificates_ended \
    WHERE type = 'Device' AND authority_id = $1 AND ended_position <= $2 AND expires_at < $3 AND ended_position > $4 \
    UNION ALL \
    SELECT serial_number, revoked_at, expires_at, ended_position, revocation_position, \
        revocation_reason_code \
    FROM device_certificates INDEXED BY device_certificates_ended_authorities \
    WHERE type = 'IntermediateCA' AND issuer_authority_id = $1 AND ended_position <= $2 \
        AND (expires_at >= $3 OR ended_position > $4)";

impl ReadModel {
    /// The certificates that an authority signed, devices' and other authorities', and that ended up to a position, in the order in which they did, without those that
    /// `departed` leaves out: ended up to that position, and past their validity before that moment.
    ///
    /// The answer is the same whenever it is asked, once the tables have come to the position.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn endings(
        &self,
        authority_id: AuthorityId,
        until: Position,
        departed: Option<(Position, Timestamp)>,
    ) -> Result<Vec<EndedCertificate>, ReadError> {
        let (ended_until, expired_before) =
            departed.map_or((Position(0), String::new()), |(position, at)| (position, at.to_string()));
        let rows = sqlx::query(ENDED)
            .bind(authority_id.to_string())
            .bind(as_integer(until))
            .bind(expired_before)
            .bind(as_integer(ended_until))
            .fetch_all(self.tables.readers())
            .await?;
        let mut endings = rows.iter().map(ended).collect::<Result<Vec<_>, _>>()?;
        endings.sort_unstable_by_key(|ended| (ended.ending.ended_at, ended.serial_number));
        Ok(endings)
    }

    /// Whether certificates of an authority ended behind a position.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn new_endings(&self, authority_id: AuthorityId, after: Position) -> Result<NewEndings, ReadError> {
        let mut snapshot = self.snapshot().await?;
        let tables_at = Checkpoint::read(&mut snapshot).await?.position;
        let (has_revocation, has_any) = sqlx::query_as(
            "SELECT EXISTS (SELECT 1 FROM device_certificates \
                WHERE type = 'Device' AND authority_id = $1 AND revocation_position > $2) \
                OR EXISTS (SELECT 1 FROM device_certificates \
                WHERE type = 'IntermediateCA' AND issuer_authority_id = $1 AND ended_position > $2), \
             EXISTS (SELECT 1 FROM device_certificates \
                WHERE type = 'Device' AND authority_id = $1 AND ended_position > $2)",
        )
        .bind(authority_id.to_string())
        .bind(as_integer(after))
        .fetch_one(&mut *snapshot)
        .await?;
        Ok(NewEndings { tables_at, has_revocation, has_any: has_any || has_revocation })
    }
}

/// SQLite's integers end earlier than positions do, and no log reaches that far.
fn as_integer(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

fn ended(row: &SqliteRow) -> Result<EndedCertificate, ReadError> {
    Ok(EndedCertificate {
        serial_number: row.required("serial_number", SerialNumber::from_hex)?,
        ended_at: row.moment("revoked_at")?,
        ending: Ending {
            ended_at: Position(row.integer("ended_position")?),
            revoked_at: row.optional_integer("revocation_position")?.map(Position),
            not_after: row.moment("expires_at")?,
        },
        reason: row
            .optional("revocation_reason_code", RevocationReason::parse)?
            .unwrap_or(RevocationReason::Unspecified),
    })
}

//! What became of any certificate that an authority signed: what OCSP answers are made of.

use signalbeam_domain::certificate::{RevocationReason, Standing};
use signalbeam_domain::{AuthorityId, SerialNumber, Timestamp};

use super::ReadModel;
use crate::columns::{Columns, ReadError};
use crate::standing::standing;

/// What became of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateState {
    /// Who signed it.
    pub authority_id: AuthorityId,
    /// Whether it has ended before its time.
    pub standing: Standing,
    /// When it did.
    pub revoked_at: Option<Timestamp>,
    /// Why it did, where that was said.
    pub reason: RevocationReason,
}

/// The rows of intermediate authorities name the authority itself; one whose signer is none of ours is not answered for.
const QUERY: &str = "SELECT coalesce(issuer_authority_id, authority_id) AS authority_id, standing, superseded_by, \
        revoked_at, revocation_reason_code \
    FROM device_certificates \
    WHERE serial_number = $1 AND (type <> 'IntermediateCA' OR issuer_authority_id IS NOT NULL) \
    UNION ALL SELECT authority_id, 'active', NULL, NULL, NULL FROM service_certificates WHERE serial_number = $1 LIMIT 1";

impl ReadModel {
    /// What became of a certificate: a device's, an authority's, or one of our own for a service. `None` for one that
    /// was never issued.
    ///
    /// # Errors
    /// [`ReadError`] where the tables do not answer.
    pub async fn certificate_state(&self, serial_number: SerialNumber) -> Result<Option<CertificateState>, ReadError> {
        let query = sqlx::query(QUERY).bind(serial_number.to_string());
        let Some(row) = query.fetch_optional(self.tables.readers()).await? else { return Ok(None) };
        Ok(Some(CertificateState {
            authority_id: row.required("authority_id", AuthorityId::parse)?,
            standing: standing(&row)?,
            revoked_at: row.optional_moment("revoked_at")?,
            reason: row
                .optional("revocation_reason_code", RevocationReason::parse)?
                .unwrap_or(RevocationReason::Unspecified),
        }))
    }
}

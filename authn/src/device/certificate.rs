//! Judging a client certificate, in the order that callers rely on: validity, chain, record, revocation, device.

use std::sync::Arc;

use signalbeam_domain::Timestamp;
use signalbeam_domain::certificate::Standing;
use signalbeam_event_store::audit::AuthenticationMethod;
use signalbeam_pki::AuthoritySet;
use signalbeam_projections::{CertificateEntry, CredentialIndex};

use super::{Accepted, DeviceCredential, DevicePrincipal, Judgement, require_approved};
use crate::code::ErrorCode;
use crate::connection::{Facts, PresentedCertificate};

/// Judges a certificate whose key signed the handshake. What can change (time, revocation, the device's status) is
/// judged at every call; what cannot is remembered by the connection.
pub fn judge_certificate(
    certificate: &PresentedCertificate,
    authorities: &Arc<AuthoritySet>,
    index: &CredentialIndex,
    now: Timestamp,
) -> CertificateVerdict {
    let facts = certificate.facts(authorities);
    // Only the fingerprint says whose a certificate is; what it says of itself may be forged.
    let entry = index.certificate(&facts.fingerprint);
    let outcome = judge(&facts, entry.as_ref(), index, now);
    CertificateVerdict { entry, outcome }
}

/// What became of a certificate.
#[derive(Debug)]
pub struct CertificateVerdict {
    /// The record of it, where there is one.
    pub entry: Option<CertificateEntry>,
    outcome: Result<Accepted, ErrorCode>,
}

impl CertificateVerdict {
    /// The code that it was refused with.
    pub fn refusal(&self) -> Option<ErrorCode> {
        self.outcome.as_ref().err().copied()
    }

    pub(crate) fn into_judgement(self, index: &CredentialIndex) -> Judgement {
        let device = self.entry.as_ref().and_then(|entry| index.device(entry.device_id));
        Judgement {
            method: AuthenticationMethod::Certificate,
            outcome: self.outcome,
            device_id: self.entry.as_ref().map(|entry| entry.device_id),
            tenant_id: device.map(|device| device.tenant_id),
            serial_number: self.entry.as_ref().map(|entry| entry.serial_number),
            prefix: None,
            answer: None,
        }
    }
}

fn judge(
    facts: &Facts,
    entry: Option<&CertificateEntry>,
    index: &CredentialIndex,
    now: Timestamp,
) -> Result<Accepted, ErrorCode> {
    let validity = facts.validity.ok_or(ErrorCode::InvalidCertificateChain)?;
    if validity.is_ahead_of(now) {
        return Err(ErrorCode::CertificateNotYetValid);
    }
    if validity.is_past(now) {
        return Err(ErrorCode::CertificateExpired);
    }
    // An authority that is not valid itself vouches for nobody.
    let issuers = facts.issuers.ok_or(ErrorCode::InvalidCertificateChain)?;
    if issuers.is_ahead_of(now) || issuers.is_past(now) {
        return Err(ErrorCode::InvalidCertificateChain);
    }
    let entry = entry.ok_or(ErrorCode::CertificateNotFound)?;
    if entry.standing != Standing::Active {
        return Err(ErrorCode::CertificateRevoked);
    }
    let device = require_approved(index.device(entry.device_id))?;
    let principal = DevicePrincipal {
        device_id: entry.device_id,
        tenant_id: device.tenant_id,
        credential: DeviceCredential::Certificate { serial_number: entry.serial_number },
    };
    Ok(Accepted { principal, is_first_use: !entry.is_used })
}

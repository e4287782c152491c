//! Certificates of our own: recorded on the authority's stream before they are signed, as every certificate is.

use signalbeam_authn::draw;
use signalbeam_domain::authority::{
    Authority, AuthorityCommand, AuthorityError, ServiceCertificateIntended, ServicePurpose,
};
use signalbeam_domain::{Actor, CorrelationId, Position, SerialNumber, StreamId, Timestamp};
use signalbeam_event_store::{CommandMetadata, EventStore, ExecuteError, execute};
use signalbeam_pki::{CertificateAuthority, ServiceKey, Validity};
use uuid::Uuid;

/// A certificate of our own could not be recorded, so it must not be signed.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// No serial number could be drawn.
    #[error(transparent)]
    Draw(#[from] draw::DrawError),
    /// The log did not take it.
    #[error("the certificate could not be recorded before it is signed")]
    Record(#[from] ExecuteError<AuthorityError>),
}

/// A certificate of our own that may be signed now.
#[derive(Debug, Clone, Copy)]
pub struct ServiceIntent {
    /// The serial number that was drawn and recorded.
    pub serial_number: SerialNumber,
    /// The validity that was recorded.
    pub validity: Validity,
    /// Where the log records it; none where the log had it already.
    pub position: Option<Position>,
}

/// Draws a serial number for a certificate of our own, valid from now for so many days and not beyond its authority, and
/// records it.
///
/// # Errors
/// [`IntentError`]; nothing may be signed then.
pub async fn intend_service_certificate(
    store: &(impl EventStore + ?Sized),
    authority: &CertificateAuthority,
    purpose: ServicePurpose,
    key: &ServiceKey,
    days: u32,
    now: Timestamp,
) -> Result<ServiceIntent, IntentError> {
    let serial_number = draw::serial_number()?;
    let validity = authority.validity(now.to_offset_date_time(), days);
    let intended = ServiceCertificateIntended {
        serial_number,
        purpose,
        subject: subject(purpose).to_owned(),
        public_key_sha256: key.public_key_sha256(),
        not_before: Timestamp::from_offset_date_time(validity.not_before),
        not_after: Timestamp::from_offset_date_time(validity.not_after),
    };
    let metadata = CommandMetadata {
        actor: Actor::system("server"),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    let stream = StreamId::certificate_authority(authority.id());
    let command = || AuthorityCommand::IntendServiceCertificate(intended.clone());
    let appended = execute::<Authority>(store, &stream, None, &metadata, now, command).await?;
    Ok(ServiceIntent { serial_number, validity, position: appended.map(|appended| appended.position) })
}

const fn subject(purpose: ServicePurpose) -> &'static str {
    match purpose {
        ServicePurpose::OcspSigner => CertificateAuthority::OCSP_SIGNER_SUBJECT,
        ServicePurpose::TlsServer => CertificateAuthority::SERVER_SUBJECT,
    }
}

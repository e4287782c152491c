//! Certificates of our own: recorded on the authority's stream before they are signed, as every certificate is.

use signalbeam_authn::draw;
use signalbeam_domain::authority::{
    Authority, AuthorityCommand, AuthorityError, ServiceCertificateIntended, ServicePurpose,
};
use signalbeam_domain::{Actor, AuthorityId, CorrelationId, Position, SerialNumber, StreamId, Timestamp};
use signalbeam_event_store::{Appended, CommandMetadata, EventStore, ExecuteError, execute};
use signalbeam_pki::{CertificateAuthority, IntermediateDraft, ServiceKey, Validity};
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

/// Which certificate of our own is issued for a key that was made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceCertificate {
    /// For signing OCSP answers.
    OcspSigner,
    /// For the listener's TLS.
    TlsServer,
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
    certificate: ServiceCertificate,
    key: &ServiceKey,
    days: u32,
    now: Timestamp,
) -> Result<ServiceIntent, IntentError> {
    let (purpose, subject) = match certificate {
        ServiceCertificate::OcspSigner => (ServicePurpose::OcspSigner, CertificateAuthority::OCSP_SIGNER_SUBJECT),
        ServiceCertificate::TlsServer => (ServicePurpose::TlsServer, CertificateAuthority::SERVER_SUBJECT),
    };
    let serial_number = draw::serial_number()?;
    let validity = authority.validity(now.to_offset_date_time(), days);
    let intended = ServiceCertificateIntended {
        serial_number,
        purpose,
        subject: subject.to_owned(),
        public_key_sha256: key.public_key_sha256(),
        not_before: Timestamp::from_offset_date_time(validity.not_before),
        not_after: Timestamp::from_offset_date_time(validity.not_after),
    };
    let appended = record(store, authority.id(), &intended, now).await?;
    Ok(ServiceIntent { serial_number, validity, position: appended.map(|appended| appended.position) })
}

/// Records an issuing authority that an authority of ours is about to sign.
///
/// # Errors
/// [`IntentError`]; nothing may be signed then.
pub(crate) async fn intend_intermediate(
    store: &(impl EventStore + ?Sized),
    issuer: AuthorityId,
    draft: &IntermediateDraft,
    now: Timestamp,
) -> Result<(), IntentError> {
    record(store, issuer, &intended_intermediate(draft), now).await?;
    Ok(())
}

/// What is recorded of an issuing authority before it is signed.
pub(crate) fn intended_intermediate(draft: &IntermediateDraft) -> ServiceCertificateIntended {
    let validity = draft.validity();
    ServiceCertificateIntended {
        serial_number: draft.serial_number(),
        purpose: ServicePurpose::IntermediateCa,
        subject: draft.subject(),
        public_key_sha256: draft.public_key_sha256(),
        not_before: Timestamp::from_offset_date_time(validity.not_before),
        not_after: Timestamp::from_offset_date_time(validity.not_after),
    }
}

async fn record(
    store: &(impl EventStore + ?Sized),
    issuer: AuthorityId,
    intended: &ServiceCertificateIntended,
    now: Timestamp,
) -> Result<Option<Appended>, ExecuteError<AuthorityError>> {
    let metadata = CommandMetadata {
        actor: Actor::system("server"),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    let stream = StreamId::certificate_authority(issuer);
    let command = || AuthorityCommand::IntendServiceCertificate(intended.clone());
    execute::<Authority>(store, &stream, None, &metadata, now, command).await
}

//! What the log knows of certificate authorities: they are few, so that they are read from it when somebody asks.

use signalbeam_domain::authority::{Authority, AuthorityCreated, AuthorityEvent, AuthorityStatus};
use signalbeam_domain::{Aggregate, AuthorityId, Category, Event, Position, StreamId, Timestamp, Version};
use signalbeam_event_store::{EventReader, LoadError};

/// A certificate authority, as the log has it.
#[derive(Debug, Clone)]
pub struct KnownAuthority {
    /// As it was created.
    pub created: AuthorityCreated,
    /// Where it stands.
    pub status: AuthorityStatus,
    /// When it came into being.
    pub created_at: Timestamp,
    /// Since when another one signs in its place.
    pub rotated_at: Option<Timestamp>,
    /// The version of its stream.
    pub version: Version,
    position: Position,
}

/// Every authority that ever was, in the order in which they came into being.
///
/// # Errors
/// [`LoadError`] where the log cannot be read.
pub async fn known_authorities(log: &(impl EventReader + ?Sized)) -> Result<Vec<KnownAuthority>, LoadError> {
    let mut known = Vec::new();
    for stream in log.streams_of(Category::CertificateAuthority).await? {
        known.extend(known_authority(log, &stream).await?);
    }
    known.sort_by_key(|authority| authority.position);
    Ok(known)
}

/// One authority; `None` where there is none of this id.
///
/// # Errors
/// [`LoadError`] where the log cannot be read.
pub async fn authority_of_id(
    log: &(impl EventReader + ?Sized),
    id: AuthorityId,
) -> Result<Option<KnownAuthority>, LoadError> {
    known_authority(log, &StreamId::certificate_authority(id)).await
}

async fn known_authority(
    log: &(impl EventReader + ?Sized),
    stream: &StreamId,
) -> Result<Option<KnownAuthority>, LoadError> {
    let recorded = log.read_stream(stream).await?;
    let mut authority = Authority::default();
    let mut rotated_at = None;
    for event in &recorded {
        let decoded = event.event().map_err(|source| LoadError::Decode { stream: stream.clone(), source })?;
        let Event::AuthorityEvent(decoded) = decoded else {
            return Err(LoadError::OtherCategory { stream: stream.clone() });
        };
        if matches!(decoded, AuthorityEvent::Rotated(_)) {
            rotated_at = Some(event.envelope.recorded_at);
        }
        authority = authority.evolve(&decoded);
    }
    let (Some(first), Some(last)) = (recorded.first(), recorded.last()) else { return Ok(None) };
    Ok(authority.created().zip(authority.status()).map(|(created, status)| KnownAuthority {
        created: created.clone(),
        status,
        created_at: first.envelope.recorded_at,
        rotated_at,
        version: last.envelope.version,
        position: first.envelope.position,
    }))
}

//! Certificates that an earlier process intended and neither issued nor abandoned: a crash left them, they are abandoned.

use std::collections::HashMap;

use signalbeam_domain::certificate::CertificateEvent;
use signalbeam_domain::{DecodeError, DeviceId, Event, Position, SerialNumber, TenantId};
use signalbeam_event_store::{EventReader, Filter, StoreError};

/// How many events are looked at in one go.
const PAGE: usize = 1_000;
const EVENT_TYPES: [&str; 3] = ["certificate.intended", "certificate.issued", "certificate.abandoned"];

/// Why the log could not be searched.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntentsError {
    /// The log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event could not be read.
    #[error(transparent)]
    Decode(#[from] DecodeError<serde_json::Error>),
}

/// The intents up to `end` that nothing has resolved. Whatever was appended later is this process's own.
pub(super) async fn open_until(
    log: &dyn EventReader,
    end: Position,
) -> Result<Vec<(DeviceId, TenantId, SerialNumber)>, IntentsError> {
    let filter = Filter { event_types: EVENT_TYPES.map(str::to_owned).to_vec(), ..Filter::default() };
    let mut open = HashMap::new();
    let mut after = Position::default();
    while after < end {
        let page = log.read_all(after, PAGE, &filter).await?;
        for recorded in page.events.iter().filter(|recorded| recorded.envelope.position <= end) {
            match recorded.event()? {
                Event::CertificateEvent(CertificateEvent::Intended(intended)) => {
                    let intent = (intended.device_id, intended.tenant_id, intended.serial_number);
                    open.insert(intended.serial_number, intent);
                }
                Event::CertificateEvent(CertificateEvent::Issued(issued)) => {
                    open.remove(&issued.intended.serial_number);
                }
                Event::CertificateEvent(CertificateEvent::Abandoned(abandoned)) => {
                    open.remove(&abandoned.serial_number);
                }
                _ => {}
            }
        }
        if page.reached == after {
            break;
        }
        after = page.reached;
    }
    Ok(open.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use signalbeam_domain::certificate::{AbandonCause, CertificateEvent};
    use signalbeam_domain::certificate::{CertificateAbandoned, CertificateIntended, CertificateIssued};
    use signalbeam_domain::{Actor, AuthorityId, CorrelationId, Digest, Fingerprint, StreamId, Timestamp};
    use signalbeam_event_store::execute::new_events;
    use signalbeam_event_store::{
        Batch, CommandMetadata, EventStore, ExpectedVersion, MemoryEventStore, StreamWrite, SystemClock,
    };
    use uuid::Uuid;

    use super::*;

    fn intended(number: u8) -> CertificateIntended {
        CertificateIntended {
            serial_number: SerialNumber::from_random([number; 20]),
            device_id: DeviceId::from_uuid(Uuid::from_u128(7)),
            tenant_id: TenantId::from_uuid(Uuid::from_u128(9)),
            profile: "device".to_owned(),
            public_key_sha256: Digest([number; 32]),
            not_before: Timestamp::from_unix_seconds(0),
            not_after: Timestamp::from_unix_seconds(1),
            renewal_of: None,
        }
    }

    async fn append(store: &MemoryEventStore, events: Vec<CertificateEvent>) -> Position {
        let tenant_id = events.first().map(|_| intended(0).tenant_id);
        let metadata = CommandMetadata {
            actor: Actor::system("tests"),
            correlation_id: CorrelationId::from_uuid(Uuid::from_u128(1)),
            causation_id: None,
            idempotency: None,
        };
        let stream = StreamId::certificates(intended(0).device_id);
        let write = StreamWrite { stream, expected: ExpectedVersion::Any, events: new_events(tenant_id, events) };
        store.append(Batch { metadata, writes: vec![write] }).await.unwrap().position
    }

    #[tokio::test]
    async fn an_intent_is_open_until_it_is_issued_or_abandoned() {
        let store = MemoryEventStore::new(Arc::new(SystemClock));
        let issued = CertificateIssued {
            intended: intended(1),
            fingerprint: Fingerprint::from_digest([1; 32]),
            subject: "CN=device".to_owned(),
            authority_id: AuthorityId::from_uuid(Uuid::from_u128(5)),
            certificate_pem: String::new(),
        };
        let abandoned =
            CertificateAbandoned { serial_number: intended(2).serial_number, cause: AbandonCause::SigningFailed };
        let intents = [1, 2, 3].map(intended).map(CertificateEvent::Intended).to_vec();
        append(&store, intents).await;
        let start = append(&store, vec![issued.into(), abandoned.into()]).await;
        append(&store, vec![intended(4).into()]).await;
        let expected = intended(3);
        assert_eq!(
            open_until(&store, start).await.unwrap(),
            [(expected.device_id, expected.tenant_id, expected.serial_number)],
            "neither the resolved ones nor what came after the start"
        );
    }
}

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

//! A superseded certificate that turns up: two devices made of one image, or a thief, hold one key, and one of them has
//! renewed. Looked for only where a certificate was refused anyway, and recorded once for each certificate.

use std::net::IpAddr;
use std::time::Duration;

use signalbeam_domain::certificate::{
    CertificateCommand, CertificateEvent, Certificates, ReuseSign, Sighting, Standing,
};
use signalbeam_domain::{Actor, Aggregate, DeviceId, Digest, Event, SerialNumber, StreamId, TenantId, Timestamp};
use signalbeam_event_store::{CommandMetadata, Recorded, StoreError, execute};
use signalbeam_projections::CertificateEntry;

use crate::authenticator::Authenticator;
use crate::code::ErrorCode;
use crate::device::certificate::CertificateVerdict;
use crate::http::context::RequestContext;

/// How long after its successor's first use a superseded certificate may still come from where it came before, or on a
/// connection of before: requests overtake each other, and a second program on the device may not have read the new files.
const GRACE: Duration = Duration::from_mins(10);

impl CertificateVerdict {
    /// The certificate, where it was refused because another one took its place and it has not been told of yet.
    pub(crate) fn unreported_superseded(&self) -> Option<CertificateEntry> {
        let is_superseded = |entry: &CertificateEntry| matches!(entry.standing, Standing::Superseded { .. });
        let entry = self.entry.filter(|entry| is_superseded(entry) && !entry.is_reuse_suspected);
        entry.filter(|_| self.refusal() == Some(ErrorCode::CertificateRevoked))
    }
}

impl Authenticator {
    /// Looks at a superseded certificate that was presented: once what took its place is in use, its device has no reason to
    /// show it. A failure is logged; whoever shows it once more is looked at again.
    pub(crate) async fn watch_superseded(&self, context: &RequestContext, entry: &CertificateEntry) {
        if !self.index.has_used_successor(entry) {
            return;
        }
        let history = match self.history(entry.device_id).await {
            Ok(history) => history,
            Err(error) => return unread(&error, entry.serial_number),
        };
        let Some(first_use) = history.first_use_after(entry.serial_number) else { return };
        if self.is_excused(context, first_use.at, first_use.from) {
            return;
        }
        self.suspect(context, entry.device_id, entry.serial_number, ReuseSign::PresentedAfterSuccession).await;
    }

    /// Looks at the holder of a superseded certificate who asks to renew it: its device would repeat the renewal that it
    /// made, for the key that it made for it.
    pub async fn watch_renewal(
        &self,
        context: &RequestContext,
        device_id: DeviceId,
        serial_number: SerialNumber,
        public_key_sha256: Digest,
    ) {
        if self.index.certificate_by_serial(serial_number).is_none_or(|entry| entry.is_reuse_suspected) {
            return;
        }
        let history = match self.history(device_id).await {
            Ok(history) => history,
            Err(error) => return unread(&error, serial_number),
        };
        let Some(succession) = history.succession_of(serial_number) else { return };
        if succession.public_key_sha256 == public_key_sha256 || self.is_excused(context, succession.at, None) {
            return;
        }
        self.suspect(context, device_id, serial_number, ReuseSign::AskedForAnotherKey).await;
    }

    fn is_excused(&self, context: &RequestContext, since: Timestamp, known_from: Option<IpAddr>) -> bool {
        let passed = self.clock.now().unix_microseconds().saturating_sub(since.unix_microseconds());
        // A clock that was set back makes it no later than it was.
        let passed = Duration::from_micros(u64::try_from(passed).unwrap_or_default());
        let is_on_old_connection = context.connection.opened.elapsed() >= passed;
        passed <= GRACE && (is_on_old_connection || known_from == Some(context.client_address))
    }

    async fn suspect(
        &self,
        context: &RequestContext,
        device_id: DeviceId,
        serial_number: SerialNumber,
        sign: ReuseSign,
    ) {
        let tenant_id = self.index.device(device_id).map(|device| device.tenant_id);
        let metadata = CommandMetadata {
            actor: Actor::system("authentication"),
            correlation_id: context.correlation_id.clone(),
            causation_id: None,
            idempotency: None,
        };
        let seen = Sighting { sign, from: Some(context.client_address) };
        let command = || CertificateCommand::SuspectReuse { serial_number, seen };
        let stream = StreamId::certificates(device_id);
        match execute::<Certificates>(&*self.store, &stream, tenant_id, &metadata, self.clock.now(), command).await {
            Ok(None) => {}
            Ok(Some(_)) => tell(context, device_id, tenant_id, serial_number, sign),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error, %serial_number,
                    "a superseded certificate turned up, and that could not be recorded; its next use is looked at again"
                );
            }
        }
    }

    async fn history(&self, device_id: DeviceId) -> Result<History, StoreError> {
        Ok(History(self.store.read_stream(&StreamId::certificates(device_id)).await?))
    }
}

fn unread(error: &StoreError, serial_number: SerialNumber) {
    tracing::error!(error = error as &dyn std::error::Error, %serial_number, "a superseded certificate turned up, and its history cannot be read");
}

fn tell(
    context: &RequestContext,
    device_id: DeviceId,
    tenant_id: Option<TenantId>,
    serial_number: SerialNumber,
    sign: ReuseSign,
) {
    metrics::counter!("signalbeam_certificate_reuse_suspected_total").increment(1);
    tracing::warn!(
        %device_id, tenant_id = ?tenant_id.map(|id| id.to_string()), %serial_number, ?sign,
        client_address = %context.client_address,
        "a superseded certificate turned up: its key is probably held twice"
    );
}

/// A device's set of certificates with the moments at which things happened.
struct History(Vec<Recorded>);

/// When a certificate was first used, and from where.
struct FirstUse {
    at: Timestamp,
    from: Option<IpAddr>,
}

/// A renewal that superseded a certificate.
struct Succession {
    at: Timestamp,
    public_key_sha256: Digest,
}

impl History {
    fn events(&self) -> impl Iterator<Item = (Timestamp, CertificateEvent)> {
        self.0.iter().filter_map(|recorded| match recorded.event() {
            Ok(Event::CertificateEvent(event)) => Some((recorded.envelope.recorded_at, event)),
            _ => None,
        })
    }

    fn certificates(&self) -> Certificates {
        self.events().fold(Certificates::default(), |set, (_, event)| set.evolve(&event))
    }

    /// The first use of what took a certificate's place.
    fn first_use_after(&self, serial_number: SerialNumber) -> Option<FirstUse> {
        let successor = self.certificates().used_successor(serial_number)?.serial_number();
        self.events().find_map(|(at, event)| match event {
            CertificateEvent::FirstUsed(used) if used.serial_number == successor => {
                Some(FirstUse { at, from: used.used_from })
            }
            _ => None,
        })
    }

    /// The renewal of a certificate, where that is what superseded it.
    fn succession_of(&self, serial_number: SerialNumber) -> Option<Succession> {
        let (at, successor) = self.events().find_map(|(at, event)| match event {
            CertificateEvent::Superseded(old) if old.serial_number == serial_number => Some((at, old.superseded_by)),
            _ => None,
        })?;
        let intended = self.certificates().find(successor)?.issued.intended.clone();
        let is_renewal = intended.renewal_of == Some(serial_number);
        is_renewal.then_some(Succession { at, public_key_sha256: intended.public_key_sha256 })
    }
}

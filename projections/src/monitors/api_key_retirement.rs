//! Retires the API keys of devices that have been living by their certificates.

use std::time::Duration;

use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeys, KeyRevocationCause};
use signalbeam_domain::certificate::Certificates;
use signalbeam_domain::device::Device;
use signalbeam_domain::{Aggregate, Context, DeviceId, DeviceStatus, StreamId, TenantId, Timestamp, Version};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{AppendError, Batch, CommandMetadata, ExpectedVersion, StreamWrite, load, new_events};

use super::{Monitor, MonitorError, PAGE, Surroundings, Tally, metadata};

/// How long between two rounds.
const INTERVAL: Duration = Duration::from_hours(1);

/// Revokes a device's API keys some days after it first authenticated by a certificate, as long as it can do so still.
///
/// The tables only name the candidates. Each is judged by its streams, and the revocation is appended at exactly the
/// versions that were judged: a certificate that ends in between keeps the key alive.
#[derive(Debug)]
pub struct ApiKeyRetirementMonitor {
    surroundings: Surroundings,
    after_days: u16,
}

impl ApiKeyRetirementMonitor {
    /// Retires keys so many days after the first use of a certificate; 0 in the first round after it.
    pub fn new(surroundings: Surroundings, after_days: u16) -> Self {
        Self { surroundings, after_days }
    }

    /// Whether the device's keys were revoked by this.
    async fn retire(
        &self,
        id: DeviceId,
        tenant_id: TenantId,
        metadata: &CommandMetadata,
        now: Timestamp,
    ) -> Result<bool, MonitorError> {
        let store = &*self.surroundings.store;
        let (device_stream, certificates_stream) = (StreamId::device(id), StreamId::certificates(id));
        for _ in 0..MAX_DECISIONS {
            let (device, device_version) = load::<Device>(store, &device_stream).await?;
            let (certificates, certificates_version) = load::<Certificates>(store, &certificates_stream).await?;
            if !lives_by_certificate(&device, &certificates, now) {
                return Ok(false);
            }
            let keys_stream = StreamId::api_keys(id);
            let (keys, keys_version) = load::<ApiKeys>(store, &keys_stream).await?;
            let command = ApiKeyCommand::RevokeAll { cause: KeyRevocationCause::Retired, reason: None };
            // Revoking is refused by no rule.
            let events = keys.decide(command, &Context { now }).unwrap_or_default();
            if events.is_empty() {
                return Ok(false);
            }
            let revoked = StreamWrite {
                stream: keys_stream,
                expected: ExpectedVersion::Exact(keys_version),
                events: new_events(Some(tenant_id), events),
            };
            let writes = vec![
                revoked,
                unchanged(device_stream.clone(), device_version),
                unchanged(certificates_stream.clone(), certificates_version),
            ];
            match store.append(Batch { metadata: metadata.clone(), writes }).await {
                Ok(_) => {
                    tracing::info!(device_id = %id, "the device's API key was retired: it authenticates by certificate");
                    return Ok(true);
                }
                Err(AppendError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Much is going on with the device: the next round sees it again.
        Ok(false)
    }
}

/// Whether the device can authenticate by a certificate that it has shown to work.
fn lives_by_certificate(device: &Device, certificates: &Certificates, now: Timestamp) -> bool {
    let is_approved = device.known().is_some_and(|device| device.status == DeviceStatus::Approved);
    let is_in_use = certificates.active().is_some_and(|active| {
        let intended = &active.issued.intended;
        active.is_used && intended.not_before <= now && now < intended.not_after
    });
    is_approved && is_in_use
}

fn unchanged(stream: StreamId, version: Version) -> StreamWrite {
    StreamWrite { stream, expected: ExpectedVersion::Exact(version), events: vec![] }
}

impl Monitor for ApiKeyRetirementMonitor {
    const NAME: &'static str = "api_key_retirement_monitor";

    fn interval(&self) -> Duration {
        INTERVAL
    }

    async fn round(&self) -> Result<usize, MonitorError> {
        self.surroundings.settle().await?;
        let now = self.surroundings.clock.now();
        let used_until = now.plus_days(-i64::from(self.after_days));
        let metadata = metadata(Self::NAME);
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let tables = &self.surroundings.read_model;
            let candidates = tables.devices_with_retirable_keys(used_until, now, after, PAGE).await?;
            for (device_id, tenant_id) in &candidates {
                tally.add(self.retire(*device_id, *tenant_id, &metadata, now).await);
            }
            match candidates.last() {
                Some((last, _)) if candidates.len() == PAGE => after = Some(*last),
                _ => return tally.conclude(),
            }
        }
    }
}

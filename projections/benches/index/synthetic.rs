//! A log that is made up while it is read: always the same events for the same number of devices.

use async_trait::async_trait;
use signalbeam_domain::api_key::{ApiKeyEvent, KeyFirstUsed, KeyIssued, KeyOrigin};
use signalbeam_domain::certificate::{CertificateEvent, CertificateFirstUsed, CertificateIntended, CertificateIssued};
use signalbeam_domain::device::{DeviceApproved, DeviceEvent, DeviceRegistered};
use signalbeam_domain::registration_token::{RegistrationTokenEvent, TokenConsumed, TokenIssued};
use signalbeam_domain::{
    Actor, ApiKeyId, AuthorityId, Category, CorrelationId, DeviceId, DeviceName, Digest, Envelope, Event, EventId,
    Fingerprint, Metadata, Position, Prefix, RegistrationTokenId, SecretVerifier, SerialNumber, StreamId, Tags,
    TenantId, Timestamp, ValidityBounds, Version,
};
use signalbeam_event_store::{
    EventReader, Filter, Page, Recorded, RecordedCommand, StoreError, Subscription, SubscriptionItem,
};
use tokio::sync::mpsc;
use uuid::Uuid;

pub(crate) const EVENTS_PER_DEVICE: usize = 9;
const PAGE: usize = 512;
const TENANTS: usize = 250;

pub(crate) struct SyntheticLog {
    pub(crate) devices: usize,
}

/// 16 octets that look drawn at random.
fn drawn(kind: u64, number: usize) -> [u8; 16] {
    let mix = |seed: u64| {
        let x = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)).to_be_bytes()
    };
    let seed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind;
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&mix(seed));
    octets[8..].copy_from_slice(&mix(seed ^ 0x5555));
    octets
}

/// Of version 7: it begins with the time.
fn uuid(kind: u64, number: usize) -> Uuid {
    let mut octets = drawn(kind, number);
    octets[..6].copy_from_slice(&(1_790_000_000_000 + number as u64).to_be_bytes()[2..]);
    uuid::Builder::from_custom_bytes(octets).with_version(uuid::Version::SortRand).into_uuid()
}

pub(crate) fn device_id(number: usize) -> DeviceId {
    DeviceId::from_uuid(uuid(1, number))
}

pub(crate) fn fingerprint(number: usize) -> Fingerprint {
    Fingerprint::from_digest(digest(2, number).0)
}

pub(crate) fn prefix(number: usize) -> Prefix {
    prefix_of_kind(3, number)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_790_000_000)
}

fn prefix_of_kind(kind: u64, number: usize) -> Prefix {
    let alphabet = signalbeam_domain::credential::PREFIX_ALPHABET;
    let text: String =
        drawn(kind, number)[..8].iter().map(|octet| char::from(alphabet[usize::from(*octet) % 62])).collect();
    Prefix::parse(&text).unwrap()
}

fn digest(kind: u64, number: usize) -> Digest {
    let mut octets = [0; 32];
    octets[..16].copy_from_slice(&drawn(kind, number));
    octets[16..].copy_from_slice(&drawn(kind + 100, number));
    Digest(octets)
}

fn serial_number(number: usize) -> SerialNumber {
    let mut octets = [0; 20];
    octets[..16].copy_from_slice(&drawn(4, number));
    SerialNumber::from_random(octets)
}

fn verifier(kind: u64, number: usize) -> SecretVerifier {
    SecretVerifier {
        bcrypt: format!("$2b$12${}", "aB3dE6gH9jK".repeat(5).get(..53).unwrap()),
        mac: digest(kind, number),
        mac_key_id: "0123456789abcdef".into(),
    }
}

fn pem() -> String {
    let body = "MIIDXTCCAkWgAwIBAgIJAKL0UG+mRkmWMA0GCSqGSIb3DQEBCwUAMEUxCzAJBgNV\n".repeat(19);
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

/// What happens to one device, from its token to the first use of its certificate.
pub(crate) fn of_device(number: usize) -> Vec<Recorded> {
    let device_id = device_id(number);
    let tenant_id = TenantId::from_uuid(Uuid::from_u128((number % TENANTS) as u128 + 1));
    let token_prefix = prefix_of_kind(5, number);
    let device_name = DeviceName::parse(&format!("Gateway {number}")).unwrap();
    let claim_secret_sha256 = digest(6, number);
    let key_id = ApiKeyId::from_uuid(uuid(7, number));
    let serial_number = serial_number(number);
    let issued = TokenIssued {
        token_id: RegistrationTokenId::from_uuid(uuid(8, number)),
        tenant_id,
        prefix: token_prefix,
        verifier: verifier(9, number),
        expires_at: now().plus_days(30),
        description: None,
    };
    let consumed = TokenConsumed {
        device_id,
        tenant_id,
        device_name: device_name.clone(),
        metadata: Metadata::default(),
        tags: Tags::default(),
        claim_secret_sha256,
    };
    let registered = DeviceRegistered {
        device_id,
        tenant_id,
        device_name,
        metadata: Metadata::default(),
        tags: Tags::default(),
        token_prefix,
        claim_secret_sha256,
    };
    let key = KeyIssued {
        key_id,
        device_id,
        tenant_id,
        prefix: prefix(number),
        verifier: verifier(10, number),
        expires_at: now().plus_days(90),
        origin: KeyOrigin::Claim,
    };
    let intended = CertificateIntended {
        serial_number,
        device_id,
        tenant_id,
        profile: "device".into(),
        public_key_sha256: digest(11, number),
        not_before: now(),
        not_after: now().plus_days(90),
        renewal_of: None,
    };
    let certificate = CertificateIssued {
        intended: intended.clone(),
        fingerprint: fingerprint(number),
        subject: format!("CN=device-{device_id}, O=SignalBeam"),
        authority_id: AuthorityId::from_uuid(Uuid::from_u128(1)),
        certificate_pem: pem(),
    };
    let token_stream = StreamId::registration_token(token_prefix);
    let (device, keys, certificates) =
        (StreamId::device(device_id), StreamId::api_keys(device_id), StreamId::certificates(device_id));
    let approved = DeviceApproved { api_key_validity_days: ValidityBounds::API_KEY.judge(None).unwrap() };
    let all: [(&StreamId, Event); EVENTS_PER_DEVICE] = [
        (&token_stream, RegistrationTokenEvent::from(issued).into()),
        (&token_stream, RegistrationTokenEvent::from(consumed).into()),
        (&device, DeviceEvent::from(registered).into()),
        (&device, DeviceEvent::from(approved).into()),
        (&keys, ApiKeyEvent::from(key).into()),
        (&keys, ApiKeyEvent::from(KeyFirstUsed { key_id }).into()),
        (&certificates, CertificateEvent::from(intended).into()),
        (&certificates, CertificateEvent::from(certificate).into()),
        (&certificates, CertificateEvent::from(CertificateFirstUsed { serial_number, used_from: None }).into()),
    ];
    let first = number * EVENTS_PER_DEVICE + 1;
    let all = all.into_iter().enumerate();
    all.map(|(at, (stream, event))| recorded(first + at, stream.clone(), tenant_id, &event)).collect()
}

impl SyntheticLog {
    fn page(&self, after: Position, limit: usize) -> Vec<Recorded> {
        let after = usize::try_from(after.0).unwrap();
        let devices = after / EVENTS_PER_DEVICE..self.devices;
        devices.flat_map(of_device).skip(after % EVENTS_PER_DEVICE).take(limit).collect()
    }
}

fn recorded(position: usize, stream: StreamId, tenant_id: TenantId, event: &Event) -> Recorded {
    let envelope = Envelope {
        event_id: EventId::from_uuid(uuid(12, position)),
        stream,
        version: Version(1),
        position: Position(position as u64),
        event_type: event.event_type().to_owned(),
        schema_version: event.schema_version(),
        recorded_at: now(),
        tenant_id: Some(tenant_id),
        actor: Actor::system("benchmark"),
        command_id: None,
        correlation_id: CorrelationId::from_uuid(uuid(13, position)),
        causation_id: None,
        data: serde_json::to_vec(event).unwrap(),
    };
    Recorded { envelope, hash: Digest([0; 32]) }
}

#[async_trait]
impl EventReader for SyntheticLog {
    async fn read_stream(&self, _stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        Ok(vec![])
    }

    async fn read_all(&self, after: Position, limit: usize, _filter: &Filter) -> Result<Page, StoreError> {
        let events = self.page(after, limit);
        let reached = events.last().map_or(after, |last| last.envelope.position);
        Ok(Page { events, reached })
    }

    async fn streams_of(&self, _category: Category) -> Result<Vec<StreamId>, StoreError> {
        Ok(vec![])
    }

    async fn event(&self, id: EventId) -> Result<Option<Recorded>, StoreError> {
        let last = self.devices.checked_sub(1).and_then(|device| of_device(device).pop());
        Ok(last.filter(|last| last.envelope.event_id == id))
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position((self.devices * EVENTS_PER_DEVICE) as u64))
    }

    async fn command(&self, _command_id: &Digest) -> Result<Option<RecordedCommand>, StoreError> {
        Ok(None)
    }

    fn subscribe(&self, after: Position) -> Subscription {
        let (items, receiver) = mpsc::channel(1);
        let log = Self { devices: self.devices };
        let mut after = after;
        tokio::spawn(async move {
            loop {
                let events = log.page(after, PAGE);
                let is_end = events.is_empty();
                after = events.last().map_or(after, |last| last.envelope.position);
                let item = if is_end { SubscriptionItem::CaughtUp(after) } else { SubscriptionItem::Events(events) };
                if items.send(item).await.is_err() {
                    return;
                }
                if is_end {
                    return items.closed().await;
                }
            }
        });
        Subscription::new(receiver)
    }
}

//! The envelope of a recorded event: who, when, why and in which order, around the exact bytes of what happened.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::admin_token::AdminTokenId;
use crate::credential::{Digest, Prefix};
use crate::ids::{AuthorityId, DeviceId, EventId, TenantId};
use crate::timestamp::Timestamp;

/// The kind of a stream, the part of its name before the first `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A device's registration and approval.
    Device,
    /// One registration token.
    RegistrationToken,
    /// A device's set of API keys.
    ApiKey,
    /// A device's set of certificates.
    Certificate,
    /// A certificate authority.
    CertificateAuthority,
    /// The event log itself.
    EventLog,
    /// Admin tokens that were revoked.
    AdminToken,
    /// The segments of a node's authentication log.
    AuditSegment,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 8] = [
        Self::Device,
        Self::RegistrationToken,
        Self::ApiKey,
        Self::Certificate,
        Self::CertificateAuthority,
        Self::AdminToken,
        Self::AuditSegment,
        Self::EventLog,
    ];

    /// As it is written in stream names, event types and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::RegistrationToken => "registration_token",
            Self::ApiKey => "api_key",
            Self::Certificate => "certificate",
            Self::CertificateAuthority => "certificate_authority",
            Self::EventLog => "event_log",
            Self::AdminToken => "admin_token",
            Self::AuditSegment => "audit_segment",
        }
    }
}

/// The name of a stream: `{category}-{id}`, such as `device-018f3c5e-7b1a-7cc2-9d3e-0123456789ab`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    category: Category,
    name: String,
}

impl StreamId {
    fn new(category: Category, id: impl fmt::Display) -> Self {
        Self { category, name: format!("{}-{id}", category.as_str()) }
    }

    /// A device's stream.
    pub fn device(id: DeviceId) -> Self {
        Self::new(Category::Device, id)
    }

    /// A registration token's stream, named by the prefix that a registering device presents.
    pub fn registration_token(prefix: Prefix) -> Self {
        Self::new(Category::RegistrationToken, prefix)
    }

    /// The stream of a device's API keys.
    pub fn api_keys(id: DeviceId) -> Self {
        Self::new(Category::ApiKey, id)
    }

    /// The stream of a device's certificates.
    pub fn certificates(id: DeviceId) -> Self {
        Self::new(Category::Certificate, id)
    }

    /// A certificate authority's stream.
    pub fn certificate_authority(id: AuthorityId) -> Self {
        Self::new(Category::CertificateAuthority, id)
    }

    /// The stream of a log itself, which is named by its first event.
    pub fn event_log(first_event: EventId) -> Self {
        Self::new(Category::EventLog, first_event)
    }

    /// The stream of the admin tokens with this id, whoever issued them.
    pub fn admin_token(jti: &AdminTokenId) -> Self {
        Self::new(Category::AdminToken, jti)
    }

    /// The stream of what holds for all admin tokens. A token whose id is `all` shares it, which harms neither.
    pub fn all_admin_tokens() -> Self {
        Self::new(Category::AdminToken, "all")
    }

    /// The stream of a node's authentication log's segments. The embedded log's node is called `embedded`.
    pub fn audit_segments(node: &str) -> Self {
        Self::new(Category::AuditSegment, node)
    }

    /// Reads a stream's name.
    ///
    /// # Errors
    /// [`InvalidStreamId`] where the category is unknown or nothing follows it.
    pub fn parse(name: &str) -> Result<Self, InvalidStreamId> {
        let (category, id) = name.split_once('-').ok_or(InvalidStreamId)?;
        let category = Category::ALL.into_iter().find(|c| c.as_str() == category).ok_or(InvalidStreamId)?;
        if id.is_empty() { Err(InvalidStreamId) } else { Ok(Self { category, name: name.to_owned() }) }
    }

    /// The kind of stream.
    pub const fn category(&self) -> Category {
        self.category
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What stands behind the category: an id or a prefix.
    pub fn id(&self) -> &str {
        self.name.get(self.category.as_str().len() + 1..).unwrap_or_default()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({})", self.name)
    }
}

/// The text is no stream's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a stream name: expected a category such as `device`, a hyphen and an id")]
pub struct InvalidStreamId;

/// The number of an event in its stream: 1 is the first one, 0 stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

/// An event's place in the whole log, in commit order. To callers it is opaque: compare, don't count. 0 stands before all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// What kind of caller it was.
    pub kind: ActorKind,
    /// An admin's subject, a device's id, a token's prefix, or the name of a part of the system.
    pub id: String,
}

/// The kinds of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person or a service with an admin token.
    Admin,
    /// A device with its own credential.
    Device,
    /// Whoever presented a registration token.
    RegistrationToken,
    /// The backend itself.
    System,
}

impl ActorKind {
    /// As it is written in events and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Device => "device",
            Self::RegistrationToken => "registration_token",
            Self::System => "system",
        }
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Admin, Self::Device, Self::RegistrationToken, Self::System]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl Actor {
    /// A part of the system, by name.
    pub fn system(name: &str) -> Self {
        Self { kind: ActorKind::System, id: name.to_owned() }
    }

    /// A device that authenticated.
    pub fn device(id: DeviceId) -> Self {
        Self { kind: ActorKind::Device, id: id.to_string() }
    }
}

/// Ties together what one request caused, across logs, events and audit rows: 1 to 128 of `A-Za-z0-9._-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct CorrelationId(String);

impl CorrelationId {
    /// Takes an id that a caller sent; `None` where it has other characters or a wrong length.
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((1..=128).contains(&text.len()) && text.bytes().all(is_allowed)).then(|| Self(text.to_owned()))
    }

    /// Makes one of a UUID.
    pub fn from_uuid(id: uuid::Uuid) -> Self {
        Self(id.as_hyphenated().to_string())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One recorded event. `data` is the exact bytes (UTF-8 JSON) that were appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The event's id.
    pub event_id: EventId,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number in the stream.
    pub version: Version,
    /// Its place in the log. Given by the store, so not part of the hash.
    pub position: Position,
    /// What happened, such as `certificate.issued`.
    pub event_type: String,
    /// The version of the payload's schema, from 1.
    pub schema_version: u16,
    /// When it was recorded. Never runs backwards along positions.
    pub recorded_at: Timestamp,
    /// Whose it is; `None` for what belongs to no tenant, such as the certificate authority.
    pub tenant_id: Option<TenantId>,
    /// Who caused it.
    pub actor: Actor,
    /// The command that caused it, where the caller named it by an idempotency key.
    pub command_id: Option<Digest>,
    /// The request that caused it.
    pub correlation_id: CorrelationId,
    /// The event that caused it, where one did.
    pub causation_id: Option<EventId>,
    /// The payload: the exact bytes.
    pub data: Vec<u8>,
}

impl Envelope {
    /// The canonical encoding that an event's SHA-256 is computed over: a literal that names the encoding, then every
    /// field but `position` in the order of the struct, each as a length of 4 octets (big-endian) and its bytes. Numbers
    /// have 8 octets big-endian, times are microseconds since 1970, UUIDs are 16 octets, an absent field is the length
    /// `ffffffff` alone. `position` stays out: it belongs to the store, and moving a log to another store must keep its hashes.
    pub fn canonical_encoding(&self) -> Vec<u8> {
        let mut encoder = CanonicalEncoder::with_capacity(self.data.len() + 384);
        encoder.field(b"signalbeam-event-1");
        encoder.field(self.event_id.as_uuid().as_bytes());
        encoder.field(self.stream.as_str().as_bytes());
        encoder.field(&self.version.0.to_be_bytes());
        encoder.field(self.event_type.as_bytes());
        encoder.field(&u64::from(self.schema_version).to_be_bytes());
        encoder.field(&self.recorded_at.unix_microseconds().to_be_bytes());
        encoder.optional(self.tenant_id.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()));
        encoder.field(self.actor.kind.as_str().as_bytes());
        encoder.field(self.actor.id.as_bytes());
        encoder.optional(self.command_id.as_ref().map(|id| id.0.as_slice()));
        encoder.field(self.correlation_id.as_str().as_bytes());
        encoder.optional(self.causation_id.as_ref().map(|id| id.as_uuid().as_bytes().as_slice()));
        encoder.field(&self.data);
        encoder.into_bytes()
    }
}

/// Writes fields so that no two lists of fields give the same bytes: each is a length of 4 octets (big-endian) and its
/// bytes; an absent one is the length `ffffffff` alone.
#[derive(Debug)]
pub struct CanonicalEncoder(Vec<u8>);

impl CanonicalEncoder {
    const ABSENT: u32 = u32::MAX;

    /// Nothing yet, with room for so many octets.
    pub fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Writes a field.
    pub fn field(&mut self, bytes: &[u8]) {
        // Payloads are bounded far below 4 GiB; a longer one would be told apart from none by its bytes all the same.
        let length = u32::try_from(bytes.len()).unwrap_or(Self::ABSENT);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// Writes a field that may be absent.
    pub fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.field(bytes),
            None => self.0.extend_from_slice(&Self::ABSENT.to_be_bytes()),
        }
    }
}

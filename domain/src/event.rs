//! All events: their payloads' type strings and schema versions, and how a recorded payload is read again.

use serde::{Deserialize, Deserializer, Serialize};

use crate::admin_token::AdminTokenEvent;
use crate::api_key::ApiKeyEvent;
use crate::audit_segment::AuditSegmentEvent;
use crate::authority::AuthorityEvent;
use crate::certificate::CertificateEvent;
use crate::device::DeviceEvent;
use crate::envelope::Category;
use crate::event_log::EventLogEvent;
use crate::registration_token::RegistrationTokenEvent;

/// Defines an aggregate's event enum with each variant's payload, type string and schema version.
macro_rules! events {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident($payload:ty) = ($kind:literal, $version:literal),)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        #[allow(clippy::large_enum_variant, reason = "events are few at a time and soon gone")]
        pub enum $name {
            $($(#[$variant_doc])* $variant($payload),)+
        }

        impl $name {
            /// Every type string with its current schema version.
            pub const KINDS: &'static [(&'static str, u16)] = &[$(($kind, $version)),+];

            /// The type string, such as `device.registered`.
            pub const fn event_type(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)+ }
            }

            /// The schema version that is written today.
            pub const fn schema_version(&self) -> u16 {
                match self { $(Self::$variant(_) => $version,)+ }
            }

            /// Reads a recorded payload; `None` where this aggregate has no such type in that version.
            pub(crate) fn decode<'de, D: serde::Deserializer<'de>>(
                event_type: &str, schema_version: u16, payload: D,
            ) -> Result<Option<Self>, D::Error> {
                match (event_type, schema_version) {
                    $(($kind, $version) => <$payload as serde::Deserialize>::deserialize(payload).map(|p| Some(Self::$variant(p))),)+
                    _ => Ok(None),
                }
            }
        }

        $(impl From<$payload> for $name {
            fn from(payload: $payload) -> Self {
                Self::$variant(payload)
            }
        })+

        impl From<$name> for $crate::event::Event {
            fn from(event: $name) -> Self {
                Self::$name(event)
            }
        }

        impl TryFrom<$crate::event::Event> for $name {
            type Error = $crate::event::OtherCategory;

            fn try_from(event: $crate::event::Event) -> Result<Self, Self::Error> {
                match event {
                    $crate::event::Event::$name(event) => Ok(event),
                    _ => Err($crate::event::OtherCategory),
                }
            }
        }
    };
}
pub(crate) use events;

/// Any event. Serialises as its payload alone; the type string and the schema version stand in the envelope.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// Of a device.
    DeviceEvent(DeviceEvent),
    /// Of a registration token.
    RegistrationTokenEvent(RegistrationTokenEvent),
    /// Of a device's set of API keys.
    ApiKeyEvent(ApiKeyEvent),
    /// Of a device's set of certificates.
    CertificateEvent(CertificateEvent),
    /// Of a certificate authority.
    AuthorityEvent(AuthorityEvent),
    /// Of the event log itself.
    EventLogEvent(EventLogEvent),
    /// Of admin tokens.
    AdminTokenEvent(AdminTokenEvent),
    /// Of an authentication log's segments.
    AuditSegmentEvent(AuditSegmentEvent),
}

/// The event belongs to another kind of aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event belongs to another kind of aggregate")]
pub struct OtherCategory;

/// Why a recorded event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError<E> {
    /// No such type in that schema version: the log was written by a newer program.
    #[error("unknown event type {event_type} in schema version {schema_version}: this program is older than the log")]
    UnknownType {
        /// The type string in the envelope.
        event_type: String,
        /// The schema version in the envelope.
        schema_version: u16,
    },
    /// The payload does not fit its schema.
    #[error("the payload of {event_type} does not fit its schema")]
    Payload {
        /// The type string in the envelope.
        event_type: String,
        /// What the deserialiser said.
        #[source]
        source: E,
    },
}

impl Event {
    /// The type string, such as `certificate.issued`.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::DeviceEvent(event) => event.event_type(),
            Self::RegistrationTokenEvent(event) => event.event_type(),
            Self::ApiKeyEvent(event) => event.event_type(),
            Self::CertificateEvent(event) => event.event_type(),
            Self::AuthorityEvent(event) => event.event_type(),
            Self::EventLogEvent(event) => event.event_type(),
            Self::AdminTokenEvent(event) => event.event_type(),
            Self::AuditSegmentEvent(event) => event.event_type(),
        }
    }

    /// The schema version that is written today.
    pub const fn schema_version(&self) -> u16 {
        match self {
            Self::DeviceEvent(event) => event.schema_version(),
            Self::RegistrationTokenEvent(event) => event.schema_version(),
            Self::ApiKeyEvent(event) => event.schema_version(),
            Self::CertificateEvent(event) => event.schema_version(),
            Self::AuthorityEvent(event) => event.schema_version(),
            Self::EventLogEvent(event) => event.schema_version(),
            Self::AdminTokenEvent(event) => event.schema_version(),
            Self::AuditSegmentEvent(event) => event.schema_version(),
        }
    }

    /// Reads a recorded payload with any serde deserialiser.
    ///
    /// # Errors
    /// [`DecodeError`] where the type is unknown or the payload does not fit.
    pub fn decode<'de, D: Deserializer<'de>>(
        category: Category,
        event_type: &str,
        schema_version: u16,
        payload: D,
    ) -> Result<Self, DecodeError<D::Error>> {
        let decoded = match category {
            Category::Device => DeviceEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into)),
            Category::RegistrationToken => {
                RegistrationTokenEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into))
            }
            Category::ApiKey => ApiKeyEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into)),
            Category::Certificate => {
                CertificateEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into))
            }
            Category::CertificateAuthority => {
                AuthorityEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into))
            }
            Category::EventLog => EventLogEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into)),
            Category::AdminToken => {
                AdminTokenEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into))
            }
            Category::AuditSegment => {
                AuditSegmentEvent::decode(event_type, schema_version, payload).map(|e| e.map(Into::into))
            }
        };
        match decoded {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(DecodeError::UnknownType { event_type: event_type.to_owned(), schema_version }),
            Err(source) => Err(DecodeError::Payload { event_type: event_type.to_owned(), source }),
        }
    }

    /// Every type string with its current schema version.
    pub fn kinds() -> impl Iterator<Item = (&'static str, u16)> {
        [
            DeviceEvent::KINDS,
            RegistrationTokenEvent::KINDS,
            ApiKeyEvent::KINDS,
            CertificateEvent::KINDS,
            AuthorityEvent::KINDS,
            AdminTokenEvent::KINDS,
            AuditSegmentEvent::KINDS,
            EventLogEvent::KINDS,
        ]
        .into_iter()
        .flatten()
        .copied()
    }
}

/// A payload without fields: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoDetails {}

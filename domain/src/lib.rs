//! The rules of the product, and nothing else: aggregates decide, events state what happened, ids keep things apart.
//!
//! Pure by construction: no I/O, no clock, no randomness, no async. Whatever a rule needs from outside (the time, drawn
//! numbers, the outcome of a secret's check) comes in through a [`Context`] or a command.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin_token;
pub mod aggregate;
pub mod api_key;
pub mod audit_segment;
pub mod authority;
pub mod certificate;
pub mod credential;
pub mod device;
pub mod envelope;
pub mod event;
pub mod event_log;
pub mod ids;
pub mod network;
pub mod profile_name;
pub mod registration_token;
pub mod serial;
pub mod tags;
pub mod text;
pub mod timestamp;
pub mod validity;

pub use admin_token::{AdminTokenId, InvalidTokenName, TokenIssuer};
pub use aggregate::{Aggregate, Context};
pub use certificate::RevocationReason;
pub use credential::{ApiKey, ClaimSecret, Digest, InvalidCredential, Prefix, RegistrationToken, SecretVerifier};
pub use device::DeviceStatus;
pub use envelope::{Actor, ActorKind, Category, CorrelationId, Envelope, Position, StreamId, Version};
pub use event::{DecodeError, Event};
pub use ids::{ApiKeyId, AuthorityId, DeviceId, EventId, InvalidId, RegistrationTokenId, RollbackId, TenantId};
pub use network::{AllowedNetworks, InvalidNetwork, Network};
pub use profile_name::{InvalidProfileName, ProfileName};
pub use serial::{Fingerprint, InvalidHex, SerialNumber};
pub use tags::{InvalidTag, Tag, Tags};
pub use text::{Description, DeviceName, InvalidMetadata, InvalidText, Metadata, MetadataValue, Reason};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use validity::{Days, OutOfBounds, ValidityBounds};

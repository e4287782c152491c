//! The rules of SignalBeam, and nothing else: aggregates decide, events state what happened, ids keep things apart.
//!
//! Pure by construction: no I/O, no clock, no randomness, no async. Whatever a rule needs from outside (the time, the
//! actor, drawn numbers) comes in through a [`Context`] or a command.

pub mod credential;
pub mod ids;
pub mod serial;
pub mod text;

pub use credential::{ApiKey, ClaimSecret, Digest, InvalidCredential, Prefix, RegistrationToken, SecretVerifier};
pub use ids::{ApiKeyId, AuthorityId, DeviceId, EventId, InvalidId, RegistrationTokenId, TenantId};
pub use serial::{Fingerprint, InvalidHex, SerialNumber};
pub use text::{Description, DeviceName, InvalidMetadata, InvalidText, Metadata, MetadataValue, Reason};

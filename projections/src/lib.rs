//! From the event log to read models: SQL tables and the in-memory credential index.

mod checkpoint;
mod columns;
mod directory;
pub mod progress;
pub mod projector;
pub mod standing;
pub mod tables;

pub use checkpoint::{Checkpoint, DIRECTORY};
pub use columns::ReadError;
pub use progress::{Behind, ProjectionFailure};
pub use projector::{Lag, Projector};
pub use standing::CertificateType;
pub use tables::{OpenError, Tables};

//! The OCSP responder (RFC 6960; RFC 5019 for what caches keep; RFC 9654 for nonces).
//!
//! What it says comes from the credential index and the tables, never from an older answer: an answer that was signed
//! before is handed out only while the index still says of the certificate what it said then. So a revocation that was
//! answered to an admin stands in the very next answer of this node.

mod cache;
mod issuers;
mod responder;
mod routes;
mod signers;

use std::time::Duration;

pub use responder::{OcspParts, OcspResponder};
pub use routes::ocsp_routes;

/// What the operator decided about OCSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OcspSettings {
    /// How long an answer holds. One that needs no nonce is signed anew when half of it is over.
    pub validity: Duration,
    /// How many days a responder's certificate holds. It is renewed when half of them are over.
    pub signer_validity_days: u16,
}

impl Default for OcspSettings {
    /// An hour, 7 days.
    fn default() -> Self {
        Self { validity: Duration::from_hours(1), signer_validity_days: 7 }
    }
}

//! Certificates: issued, renewed, revoked.

mod issuing;
mod renewing;
mod revoking;

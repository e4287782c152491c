//! Certificates: issued, renewed, revoked.

mod early_renewal;
mod issuing;
mod renewing;
mod reuse;
mod revoking;

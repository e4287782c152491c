//! Certificates: issued, renewed, revoked.

mod bulk_revoking;
mod importing;
mod issuing;
mod renewing;
mod revoking;

//! Certificates: issued, renewed, revoked.

mod bulk_revoking;
mod issuing;
mod renewing;
mod revoking;

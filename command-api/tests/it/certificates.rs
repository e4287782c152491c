//! Certificates: issued, renewed, revoked.

mod bulk_revoking;
mod early_renewal;
mod issuing;
mod profiles;
mod renewing;
mod reuse;
mod revoking;

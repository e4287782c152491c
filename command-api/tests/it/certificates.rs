//! Certificates: issued, renewed, revoked.

mod bulk_revoking;
mod early_renewal;
mod grace;
mod importing;
mod issuing;
mod renewal_races;
mod renewing;
mod reuse;
mod revoking;

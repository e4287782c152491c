//! Certificates: issued, renewed, revoked.

mod issuing;
mod profiles;
mod renewing;
mod revoking;

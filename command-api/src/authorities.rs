//! Certificate authorities: which there are, how the first one comes into being, and how one takes over from another.

pub(crate) mod activate;
mod keeper;
pub(crate) mod prepare;
pub(crate) mod retire;
pub(crate) mod signing;
mod slots;

pub use keeper::{AuthorityKeeper, AuthorityStartError, Hierarchy, Opened};

use signalbeam_authn::{AdminPrincipal, ErrorCode, Permission, Problem};
use signalbeam_domain::authority::AuthorityError;

/// Authorities belong to no tenant: an admin of one changes none.
fn require_all_tenants(admin: &AdminPrincipal) -> Result<(), Problem> {
    admin.require(Permission::ManageAuthorities)?;
    match admin.tenant_id {
        None => Ok(()),
        Some(_) => Err(Problem::new(ErrorCode::Forbidden, "only an admin of every tenant may change authorities")),
    }
}

fn refused(error: &AuthorityError) -> Problem {
    match error {
        AuthorityError::Unknown => Problem::not_found("certificate authority"),
        other => Problem::new(ErrorCode::InvalidState, other.to_string()),
    }
}

/// An authority could not be made or opened.
pub(crate) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    metrics::counter!("signalbeam_ca_errors_total").increment(1);
    tracing::error!(error, "a certificate authority could not be made or opened");
    Problem::new(ErrorCode::SigningUnavailable, "the certificate authority's keys are out of reach; the log says why")
}

//! Who calls.

use signalbeam_authn::Role;

/// Which tenants an admin token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenants {
    All,
    Own,
    Other,
}

/// A kind of caller, seen from the thing that is called for: a device of the first tenant and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Nobody,
    BadToken,
    Admin(Role, Tenants),
    /// The device itself, by each of its credentials.
    OwnCertificate,
    OwnKey,
    OwnClaim,
    /// Another device of the same tenant.
    SiblingKey,
    SiblingClaim,
    /// A device of another tenant.
    StrangerKey,
}

impl Caller {
    pub(super) fn all() -> Vec<Self> {
        use Caller::{BadToken, Nobody, OwnCertificate, OwnClaim, OwnKey, SiblingClaim, SiblingKey, StrangerKey};
        let tenants = [Tenants::All, Tenants::Own, Tenants::Other];
        let admins = Role::ALL.into_iter().flat_map(|role| tenants.map(|tenants| Self::Admin(role, tenants)));
        let others = [Nobody, BadToken, OwnCertificate, OwnKey, OwnClaim, SiblingKey, SiblingClaim, StrangerKey];
        admins.chain(others).collect()
    }
}

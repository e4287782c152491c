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
    /// Its id and its API key, by HTTP basic authentication.
    OwnBasic,
    /// Another device of the same tenant.
    SiblingKey,
    SiblingClaim,
    /// Another device's API key, by HTTP basic authentication with this device's id.
    SiblingBasic,
    /// A device of another tenant.
    StrangerKey,
    /// The tenant's id and a registration token that nobody has used, by HTTP basic authentication.
    TokenBasic,
}

impl Caller {
    pub(super) fn all() -> Vec<Self> {
        use Caller::{
            BadToken, Nobody, OwnBasic, OwnCertificate, OwnClaim, OwnKey, SiblingBasic, SiblingClaim, SiblingKey,
            StrangerKey, TokenBasic,
        };
        let tenants = [Tenants::All, Tenants::Own, Tenants::Other];
        let admins = Role::ALL.into_iter().flat_map(|role| tenants.map(|tenants| Self::Admin(role, tenants)));
        let own = [OwnCertificate, OwnKey, OwnClaim, OwnBasic];
        let others = [Nobody, BadToken, SiblingKey, SiblingClaim, SiblingBasic, StrangerKey, TokenBasic];
        admins.chain(own).chain(others).collect()
    }
}

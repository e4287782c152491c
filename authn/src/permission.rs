//! What each role may do: one table, shown in the routes' documentation and held by tests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An admin's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May do everything.
    Admin,
    /// Runs the fleet: tokens, approvals, API keys.
    Operator,
    /// May look at everything.
    Auditor,
}

/// Something that an admin may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Look at anything.
    Read,
    /// Create and revoke registration tokens.
    ManageRegistrationTokens,
    /// Approve, reject, suspend and reinstate devices.
    DecideDevices,
    /// Rotate and revoke API keys.
    ManageApiKeys,
    /// Rename and decommission devices.
    ManageDevices,
    /// Issue and revoke certificates.
    ManageCertificates,
    /// Revoke the very token that is presented: to log out.
    LogOut,
    /// Revoke anybody's admin tokens.
    ManageAdminTokens,
    /// Prepare, activate and retire certificate authorities.
    ManageAuthorities,
}

impl Permission {
    /// As the documentation of the routes names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ManageRegistrationTokens => "manage_registration_tokens",
            Self::DecideDevices => "decide_devices",
            Self::ManageApiKeys => "manage_api_keys",
            Self::ManageDevices => "manage_devices",
            Self::ManageCertificates => "manage_certificates",
            Self::LogOut => "log_out",
            Self::ManageAdminTokens => "manage_admin_tokens",
            Self::ManageAuthorities => "manage_authorities",
        }
    }
}

impl Role {
    /// Every role, the strongest first.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Auditor];

    /// Whether the role has the permission.
    pub const fn may(self, permission: Permission) -> bool {
        match self {
            Self::Admin => true,
            Self::Operator => matches!(
                permission,
                Permission::Read
                    | Permission::ManageRegistrationTokens
                    | Permission::DecideDevices
                    | Permission::ManageApiKeys
                    | Permission::LogOut
            ),
            Self::Auditor => matches!(permission, Permission::Read | Permission::LogOut),
        }
    }

    /// As it is written in tokens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_auditor_only_looks_and_an_operator_touches_no_certificate() {
        use Permission::{
            DecideDevices, LogOut, ManageAdminTokens, ManageApiKeys, ManageAuthorities, ManageCertificates,
            ManageDevices, ManageRegistrationTokens, Read,
        };
        let all = [
            Read,
            ManageRegistrationTokens,
            DecideDevices,
            ManageApiKeys,
            LogOut,
            ManageDevices,
            ManageCertificates,
            ManageAdminTokens,
            ManageAuthorities,
        ];
        let allowed = |role: Role| all.into_iter().filter(|p| role.may(*p)).collect::<Vec<_>>();
        assert_eq!(allowed(Role::Auditor), [Read, LogOut]);
        assert_eq!(allowed(Role::Operator), [Read, ManageRegistrationTokens, DecideDevices, ManageApiKeys, LogOut]);
        assert_eq!(allowed(Role::Admin), all);
    }
}

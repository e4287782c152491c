//! Why a certificate was revoked, in the words of RFC 5280, section 5.3.1.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a certificate was revoked: a `CRLReason` (RFC 5280, section 5.3.1). Written by its name there.
///
/// `certificateHold` and `removeFromCRL` are not among them: a revocation is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RevocationReason {
    /// Nothing is said. CRLs leave the entry's extension out then.
    #[serde(rename = "unspecified")]
    Unspecified,
    /// Somebody else may have the private key.
    #[serde(rename = "keyCompromise")]
    KeyCompromise,
    /// Somebody else may have the authority's private key.
    #[serde(rename = "cACompromise")]
    CaCompromise,
    /// What it says of its subject is no longer so.
    #[serde(rename = "affiliationChanged")]
    AffiliationChanged,
    /// Another certificate took its place.
    #[serde(rename = "superseded")]
    Superseded,
    /// The device is out of service.
    #[serde(rename = "cessationOfOperation")]
    CessationOfOperation,
    /// The device may no longer do what the certificate let it do.
    #[serde(rename = "privilegeWithdrawn")]
    PrivilegeWithdrawn,
    /// Somebody else may have the private key of the attribute authority.
    #[serde(rename = "aACompromise")]
    AaCompromise,
}

/// The text names no reason that a certificate can be revoked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, cessationOfOperation, \
     privilegeWithdrawn, aACompromise"
)]
pub struct UnknownRevocationReason;

impl RevocationReason {
    /// Every reason, by rising code.
    pub const ALL: [Self; 8] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// The name of RFC 5280.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }

    /// The number of RFC 5280, as it stands in CRLs and OCSP answers.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`UnknownRevocationReason`] lists the names.
    pub fn parse(name: &str) -> Result<Self, UnknownRevocationReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name).ok_or(UnknownRevocationReason)
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_it_is_written_and_names_are_exact() {
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::parse(reason.as_str()), Ok(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert!(UnknownRevocationReason.to_string().contains(reason.as_str()), "{reason}");
        }
        for other in ["certificateHold", "removeFromCRL", "KeyCompromise", "1", ""] {
            assert_eq!(RevocationReason::parse(other), Err(UnknownRevocationReason), "{other}");
            assert!(serde_json::from_value::<RevocationReason>(other.into()).is_err(), "{other}");
        }
    }

    #[test]
    fn the_codes_are_those_of_rfc_5280() {
        assert_eq!(RevocationReason::ALL.map(RevocationReason::code), [0, 1, 2, 3, 4, 5, 9, 10]);
    }
}

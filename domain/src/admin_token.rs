//! Admin tokens that are good no longer: one by its id, or all of this installation's that were issued before a moment.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};
use crate::event::events;
use crate::text::Reason;
use crate::timestamp::Timestamp;

/// The text cannot name a token or its issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {max} visible ASCII characters")]
pub struct InvalidTokenName {
    /// The most characters allowed.
    pub max: usize,
}

macro_rules! token_name {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The most characters allowed.
            pub const MAX_CHARACTERS: usize = $max;

            /// Takes the text as it stands; upper and lower case are told apart.
            ///
            /// # Errors
            /// [`InvalidTokenName`] where it is empty, too long, or has others than visible ASCII characters.
            pub fn parse(text: &str) -> Result<Self, InvalidTokenName> {
                let is_fine = (1..=$max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
                if is_fine { Ok(Self(text.to_owned())) } else { Err(InvalidTokenName { max: $max }) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidTokenName;

            fn try_from(text: String) -> Result<Self, InvalidTokenName> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

token_name!(
    /// A token's `jti` (RFC 7519, section 4.1.7): 1 to 128 visible ASCII characters, unique among its issuer's tokens.
    AdminTokenId,
    128
);
token_name!(
    /// A token's `iss` (RFC 7519, section 4.1.1): 1 to 256 visible ASCII characters.
    TokenIssuer,
    256
);

impl TokenIssuer {
    /// The issuer of the tokens that this installation signs itself.
    pub const BUILT_IN: &str = "signalbeam";

    /// This installation.
    pub fn built_in() -> Self {
        Self(Self::BUILT_IN.to_owned())
    }
}

/// One token was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminTokenRevoked {
    /// The token.
    pub jti: AdminTokenId,
    /// Who issued it. Two issuers may well give the same id.
    pub issuer: TokenIssuer,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When the token would have expired anyway, where that is known: the revocation may be forgotten some time after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Every token of this installation that was issued before a moment was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllAdminTokensRevoked {
    /// The first moment whose tokens are good. A token that tells no moment of issue is not.
    pub issued_before: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

events! {
    /// What can happen to admin tokens.
    AdminTokenEvent {
        /// One was revoked.
        Revoked(AdminTokenRevoked) = ("admin_token.revoked", 1),
        /// All that were issued before a moment were revoked.
        AllRevoked(AllAdminTokensRevoked) = ("admin_token.all_revoked", 1),
    }
}

/// What can be asked of admin tokens.
#[derive(Debug, Clone)]
pub enum AdminTokenCommand {
    /// Revoke one.
    Revoke(AdminTokenRevoked),
    /// Revoke all that were issued before a moment.
    RevokeAll(AllAdminTokensRevoked),
}

/// Why a command on admin tokens was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminTokenError {
    /// The moment lies ahead: tokens that nobody has made yet would be dead from the start.
    #[error("must not lie in the future: it is {now}")]
    Future {
        /// The present moment.
        now: Timestamp,
    },
}

/// What has been revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevokedAdminTokens {
    single: BTreeSet<(TokenIssuer, AdminTokenId)>,
    issued_before: Option<Timestamp>,
}

impl RevokedAdminTokens {
    /// Whether this token was revoked by its id.
    pub fn has(&self, issuer: &TokenIssuer, jti: &AdminTokenId) -> bool {
        self.single.contains(&(issuer.clone(), jti.clone()))
    }

    /// The moment before which every token of this installation is revoked.
    pub const fn issued_before(&self) -> Option<Timestamp> {
        self.issued_before
    }
}

impl Aggregate for RevokedAdminTokens {
    type Command = AdminTokenCommand;
    type Event = AdminTokenEvent;
    type Error = AdminTokenError;

    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        match command {
            AdminTokenCommand::Revoke(token) if self.has(&token.issuer, &token.jti) => Ok(vec![]),
            AdminTokenCommand::Revoke(token) => Ok(vec![token.into()]),
            AdminTokenCommand::RevokeAll(all) if all.issued_before > context.now => {
                Err(AdminTokenError::Future { now: context.now })
            }
            // A moment never moves back: what was revoked stays revoked.
            AdminTokenCommand::RevokeAll(all) if self.issued_before >= Some(all.issued_before) => Ok(vec![]),
            AdminTokenCommand::RevokeAll(all) => Ok(vec![all.into()]),
        }
    }

    fn evolve(mut self, event: &Self::Event) -> Self {
        match event {
            AdminTokenEvent::Revoked(token) => {
                self.single.insert((token.issuer.clone(), token.jti.clone()));
            }
            AdminTokenEvent::AllRevoked(all) => {
                self.issued_before = self.issued_before.max(Some(all.issued_before));
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_s_id_is_visible_ascii_and_bounded() {
        for good in ["a", "018f3c5e-7b1a-7cc2-9d3e-0123456789ab", "onrtac:7/+=~", &"x".repeat(128)] {
            assert_eq!(AdminTokenId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a\n", "ü", "a\u{202e}", &"x".repeat(129)] {
            assert_eq!(AdminTokenId::parse(bad), Err(InvalidTokenName { max: 128 }), "{bad:?}");
            assert!(serde_json::from_value::<AdminTokenId>(bad.into()).is_err(), "{bad:?}");
        }
    }
}

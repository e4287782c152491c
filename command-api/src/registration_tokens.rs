//! Registration tokens: made and taken back by admins.

pub(crate) mod create;
pub(crate) mod revoke;

use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::registration_token::RegistrationTokenError;

pub(crate) fn refused(error: &RegistrationTokenError) -> Problem {
    let detail = error.to_string();
    match error {
        RegistrationTokenError::Invalid | RegistrationTokenError::PrefixTaken => {
            Problem::new(ErrorCode::InvalidRegistrationToken, RegistrationTokenError::Invalid.to_string())
        }
        RegistrationTokenError::Used => Problem::new(ErrorCode::RegistrationTokenUsed, detail),
        RegistrationTokenError::Expired(_) => Problem::new(ErrorCode::RegistrationTokenExpired, detail),
        RegistrationTokenError::Revoked => Problem::new(ErrorCode::RegistrationTokenRevoked, detail),
    }
}

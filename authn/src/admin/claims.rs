//! What the claims of every admin token have in common, whoever issued it (RFC 7519, section 4.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use signalbeam_domain::Timestamp;

use super::strict_json::StrictObject;

/// The longest token that is looked at, in octets.
pub(super) const MAX_TOKEN_OCTETS: usize = 16 * 1024;

/// Seconds since 1970, which may have a fraction (RFC 7519, section 2).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum NumericDate {
    Whole(i64),
    Fractional(f64),
}

impl NumericDate {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact up to 2^53")]
    pub(super) fn seconds(self) -> f64 {
        match self {
            Self::Whole(seconds) => seconds as f64,
            Self::Fractional(seconds) => seconds,
        }
    }

    /// The moment, to the microsecond, rounded down.
    #[expect(clippy::cast_possible_truncation, reason = "what is out of range becomes the nearest moment there is")]
    pub(super) fn moment(self) -> Timestamp {
        match self {
            Self::Whole(seconds) => Timestamp::from_unix_seconds(seconds),
            Self::Fractional(seconds) => Timestamp::from_unix_microseconds((seconds * 1e6).floor() as i64),
        }
    }
}

/// Header parameters that name or bring a key (RFC 7515, section 4.1), or that ask for a payload to be read otherwise than as
/// plain claims (RFC 7516, section 4.1; RFC 7797, section 3). Tokens with one of them are refused, whoever issued them: no
/// key comes from a token, no URL in one is ever followed, and no extension is understood that `crit` could demand.
const REFUSED_PARAMETERS: [&str; 8] = ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"];

/// The header of a token that nobody has verified; `None` where it cannot be read or has a parameter that is refused.
pub(super) fn unverified_header(token: &str) -> Option<StrictObject> {
    let header = unverified_part(token, 0)?;
    REFUSED_PARAMETERS.iter().all(|name| !header.0.contains_key(*name)).then_some(header)
}

/// A part of a token that nobody has verified.
pub(super) fn unverified_part(token: &str, nth: usize) -> Option<StrictObject> {
    let octets = URL_SAFE_NO_PAD.decode(token.split('.').nth(nth)?).ok()?;
    serde_json::from_slice(&octets).ok()
}

/// Whether it can stand in events: not empty, bounded, on one line.
pub(super) fn is_fine_subject(subject: &str, max_octets: usize) -> bool {
    (1..=max_octets).contains(&subject.len()) && !subject.chars().any(char::is_control)
}

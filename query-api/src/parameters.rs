//! Parameters that need more than a parse: words out of a list, moments, and how fresh an answer must be.

use serde::{Deserialize, Deserializer, de};
use signalbeam_authn::ErrorCode;
use signalbeam_domain::{CorrelationId, Timestamp};
use signalbeam_projections::{AuthenticationMethod, CertificateStatus, TokenStatus};
use utoipa::IntoParams;

/// The parameters of a route that has no others.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AsOf {
    /// Answer only from this position of the log on, as `X-Event-Position` told it; waits up to 2 s for it.
    #[serde(default)]
    pub(crate) min_position: Option<u64>,
}

/// A moment, or a day, which stands for its first moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        if text.len() == "2026-01-31".len() {
            return Timestamp::parse(&format!("{text}T00:00:00Z")).ok().map(Self);
        }
        // An offset's plus sign that was not percent-encoded arrives as a space.
        Timestamp::parse(&text.replace(' ', "+")).ok().map(Self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("not an RFC 3339 time such as 2026-01-31T12:00:00Z, nor a day such as 2026-01-31")
        })
    }
}

/// Reads a word out of a list; what is no such word is answered with the list.
fn word<'de, D, T>(deserializer: D, parse: fn(&str) -> Option<T>, words: &[&str]) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    parse(&text).map(Some).ok_or_else(|| de::Error::custom(format!("must be one of {}", words.join(", "))))
}

pub(crate) fn token_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TokenStatus>, D::Error> {
    word(deserializer, TokenStatus::parse, &TokenStatus::ALL.map(TokenStatus::as_str))
}

pub(crate) fn certificate_status<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CertificateStatus>, D::Error> {
    word(deserializer, CertificateStatus::parse, &CertificateStatus::ALL.map(CertificateStatus::as_str))
}

pub(crate) fn authentication_method<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AuthenticationMethod>, D::Error> {
    word(deserializer, AuthenticationMethod::parse, &AuthenticationMethod::ALL.map(AuthenticationMethod::as_str))
}

pub(crate) fn failure_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ErrorCode>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let code = ErrorCode::ALL.iter().copied().find(|code| code.as_str() == text);
    code.map(Some).ok_or_else(|| de::Error::custom("not an error code of this API; the codes are listed at /docs"))
}

pub(crate) fn correlation_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CorrelationId>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let id = CorrelationId::parse(&text);
    id.map(Some).ok_or_else(|| de::Error::custom("must be 1 to 128 of `A-Za-z0-9._-`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_first_moment_and_an_offset_may_lack_its_encoding() {
        let moment = |text| Moment::parse(text).unwrap().0.to_string();
        assert_eq!(moment("2026-01-31"), "2026-01-31T00:00:00.000000Z");
        assert_eq!(moment("2026-01-31T13:00:00+01:00"), "2026-01-31T12:00:00.000000Z");
        assert_eq!(moment("2026-01-31T13:00:00 01:00"), "2026-01-31T12:00:00.000000Z");
        for bad in ["", "2026-02-30", "2026-1-31", "yesterday", "31.01.2026", "9999999999"] {
            assert_eq!(Moment::parse(bad), None, "{bad}");
        }
    }
}

//! HTTP basic authentication (RFC 7617), for clients that can present a name and a password and nothing else.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signalbeam_domain::DeviceId;
use zeroize::Zeroizing;

use crate::authenticator::{Authenticator, Takes};
use crate::code::ErrorCode;
use crate::device::{DevicePrincipal, Judgement};
use crate::http::context::{RequestContext, single};
use crate::http::problem::Problem;

/// A name and a password. Prints neither.
pub struct BasicCredentials {
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BasicCredentials([redacted])")
    }
}

impl BasicCredentials {
    /// What a request presents in `Authorization`; `None` where that is not there once, of another scheme, or malformed.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let (scheme, encoded) = single(headers, AUTHORIZATION)?.split_once(' ')?;
        let encoded = encoded.trim();
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let mut octets = Zeroizing::new(vec![0; encoded.len()]);
        let length = STANDARD.decode_slice(encoded, &mut octets).ok()?;
        let (user, password) = std::str::from_utf8(octets.get(..length)?).ok()?.split_once(':')?;
        Some(Self { user: Zeroizing::new(user.to_owned()), password: Zeroizing::new(password.to_owned()) })
    }

    /// The name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password. Whoever calls this answers for where it goes.
    pub fn expose_password(&self) -> &str {
        &self.password
    }
}

/// An API key as a request presents it.
#[derive(Clone, Copy)]
pub(crate) struct PresentedKey<'a> {
    pub(crate) text: &'a str,
    holder: Holder,
}

/// Whose key the request says it is.
#[derive(Clone, Copy)]
enum Holder {
    /// It says nothing of that.
    Whoever,
    /// This device's; `None` where what it says is no device's id.
    Named(Option<DeviceId>),
}

impl<'a> PresentedKey<'a> {
    pub(crate) fn of_whoever(text: &'a str) -> Self {
        Self { text, holder: Holder::Whoever }
    }

    /// A key that is another device's than the one that the request names is no key: the caller does not learn whose it is.
    pub(crate) fn confine(self, judgement: Judgement) -> Judgement {
        match (self.holder, judgement.device_id) {
            (Holder::Named(named), Some(holder)) if named != Some(holder) => {
                Judgement { outcome: Err(ErrorCode::InvalidApiKey), answer: None, ..judgement }
            }
            _ => judgement,
        }
    }
}

impl Authenticator {
    /// Authenticates a device by its id and its API key alone, as where only `X-API-Key` is taken. A certificate that is
    /// presented beside them lets nobody in; one that is refused is recorded, and the policy decides whether the key is
    /// looked at.
    ///
    /// # Errors
    /// As for the extractor [`crate::KeyHolder`]; an unknown device, another device's key and a wrong key are one and the
    /// same to the caller.
    pub async fn basic_device(
        &self,
        context: &RequestContext,
        credentials: &BasicCredentials,
    ) -> Result<DevicePrincipal, Problem> {
        let holder = Holder::Named(DeviceId::parse(credentials.user()).ok());
        let key = PresentedKey { text: credentials.expose_password(), holder };
        self.device_by(context, Some(key), Takes::ApiKeyOnly).await
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let read = BasicCredentials::from_headers(&headers)?;
        assert_eq!(format!("{read:?}"), "BasicCredentials([redacted])");
        Some((read.user().to_owned(), read.expose_password().to_owned()))
    }

    #[test]
    fn a_name_and_a_password_are_read() {
        let is = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), is("Aladdin", "open sesame"));
        assert_eq!(read(&["basic  YTpiOmM="]), is("a", "b:c"), "only the first colon separates");
        assert_eq!(read(&["Basic Og=="]), is("", ""));
    }

    #[test]
    fn whatever_else_is_none() {
        for bad in [
            &[][..],
            &["Basic"],
            &["Basic YWI="],
            &["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"],
            &["Basic /zpi"],
            &["Basic %%%"],
            &["Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
            &["Basic YTpi", "Basic YTpi"],
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}

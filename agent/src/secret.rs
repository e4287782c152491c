//! Secrets: text that is wiped from memory, never printed, and serialised only where a field says so by name.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroizing;

/// Bytes of randomness in every secret of the protocol.
const SECRET_BYTES: usize = 32;
/// Length of those bytes in base64url without padding.
const SECRET_CHARS: usize = 43;
/// Length of the public prefix of tokens and API keys.
const PREFIX_CHARS: usize = 8;

/// A secret text. It has no `Serialize`; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text in.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for a request header or the credentials file.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// For `#[serde(serialize_with)]` on the fields that must carry the secret: the credentials file and the registration request.
pub fn serialize_exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// As [`serialize_exposed`], for an optional field.
// serde calls this with a reference to the field, whatever its type.
#[allow(clippy::ref_option)]
pub fn serialize_exposed_option<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serialize_exposed(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Draws a claim secret: `sbc_` and 32 random bytes in base64url without padding.
///
/// # Errors
/// When the system's random source fails.
pub fn draw_claim_secret() -> Result<Secret, ring::error::Unspecified> {
    let mut bytes = Zeroizing::new([0_u8; SECRET_BYTES]);
    SystemRandom::new().fill(bytes.as_mut_slice())?;
    Ok(Secret::new(format!("sbc_{}", URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
}

/// Reads a registration token, `sbt_{prefix}_{secret}`.
///
/// # Errors
/// A sentence saying what is wrong, without the token in it.
pub fn parse_registration_token(text: &str) -> Result<Secret, String> {
    split_prefixed(text.trim(), "sbt_").map(|_| Secret::new(text.trim().to_owned())).ok_or_else(|| {
        "not a registration token (sbt_, 8 characters, _, 43 characters); was all of it copied?".to_owned()
    })
}

/// A device's API key, `sb_device_{prefix}_{secret}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// The scheme that every API key begins with.
    pub const SCHEME: &'static str = "sb_device_";

    /// Reads an API key; nothing where the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        split_prefixed(text, Self::SCHEME).map(|_| Self(Secret::new(text.to_owned())))
    }

    /// The public prefix of 8 characters, by which the key is known in lists and logs.
    pub fn prefix(&self) -> &str {
        &self.0.expose()[Self::SCHEME.len()..Self::SCHEME.len() + PREFIX_CHARS]
    }

    /// The whole key, for the `X-API-Key` header.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(deserializer)?;
        Self::parse(text.expose()).ok_or_else(|| serde::de::Error::custom("not an API key"))
    }
}

/// For `#[serde(serialize_with)]` on the credentials file's API key.
// serde calls this with a reference to the field, whatever its type.
#[allow(clippy::ref_option)]
pub fn serialize_api_key<S: Serializer>(key: &Option<ApiKey>, serializer: S) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => serialize_exposed(key.secret(), serializer),
        None => serializer.serialize_none(),
    }
}

/// As [`serialize_exposed`], for an API key that is there.
pub fn serialize_key<S: Serializer>(key: &ApiKey, serializer: S) -> Result<S::Ok, S::Error> {
    serialize_exposed(key.secret(), serializer)
}

/// The prefix of `{scheme}{prefix}_{secret}`, where the text has that form.
fn split_prefixed<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (prefix, secret) = text.strip_prefix(scheme)?.split_once('_')?;
    let prefix_fits = prefix.len() == PREFIX_CHARS && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let secret_fits = secret.len() == SECRET_CHARS
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (prefix_fits && secret_fits).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sb_device_a1b2c3d4_AAAAAAAAAA-AAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_claim_secret_has_its_form_and_is_drawn_anew() {
        let one = draw_claim_secret().unwrap();
        let two = draw_claim_secret().unwrap();
        assert_eq!(one.expose().len(), "sbc_".len() + SECRET_CHARS);
        let drawn = one.expose().strip_prefix("sbc_").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(drawn).unwrap().len(), SECRET_BYTES);
        assert_ne!(one, two);
    }

    #[test]
    fn an_api_key_gives_its_prefix_and_nothing_else_is_one() {
        assert_eq!(ApiKey::parse(KEY).unwrap().prefix(), "a1b2c3d4");
        let cut = &KEY[..KEY.len() - 1];
        for wrong in ["", "sb_device_", cut, "sb_device_a1b2-3d4_AAAAAAAAAA-AAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(ApiKey::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_is_trimmed_and_a_cut_one_is_refused_without_showing_it() {
        let token = KEY.replace("sb_device_", "sbt_");
        assert_eq!(parse_registration_token(&format!(" {token}\n")).unwrap().expose(), token);
        let refusal = parse_registration_token(&token[..40]).unwrap_err();
        assert!(!refusal.contains("a1b2c3d4"), "{refusal}");
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let key = ApiKey::parse(KEY).unwrap();
        for printed in [format!("{key:?}"), format!("{:?}", key.secret()), format!("{:?}", Some(key.secret().clone()))]
        {
            assert!(!printed.contains("AAAA"), "{printed}");
        }
    }
}

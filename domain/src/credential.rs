//! The three credentials that travel as text: registration token, API key and claim secret; and what is kept of them.
//!
//! A token is `sbt_{prefix}_{secret}`, a key `sb_device_{prefix}_{secret}`, a claim secret `sbc_{secret}`. The prefix is
//! public and names the credential; the secret is 32 random octets in base64url without padding (43 characters, which may
//! themselves contain `_`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a credential's text was refused. Deliberately without the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredential {
    /// The literal in front is missing: `sbt_`, `sb_device_` or `sbc_`.
    #[error("does not start with `{expected}`")]
    Kind {
        /// The literal that was expected.
        expected: &'static str,
    },
    /// The prefix is not 8 characters of `0-9A-Za-z`, followed by `_`.
    #[error("the prefix is not 8 characters of 0-9, A-Z, a-z followed by an underscore")]
    Prefix,
    /// The secret is not the base64url form of 32 octets.
    #[error("the secret is not 43 characters of base64url")]
    Secret,
}

/// The public part of a token or an API key: 8 characters of `0-9A-Za-z`, drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix([u8; 8]);

/// The characters of a prefix, for whoever draws one.
pub const PREFIX_ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Prefix {
    /// Reads exactly 8 characters of the alphabet.
    ///
    /// # Errors
    /// [`InvalidCredential::Prefix`] for everything else.
    pub fn parse(text: &str) -> Result<Self, InvalidCredential> {
        let characters: [u8; 8] = text.as_bytes().try_into().map_err(|_| InvalidCredential::Prefix)?;
        if characters.iter().all(u8::is_ascii_alphanumeric) {
            Ok(Self(characters))
        } else {
            Err(InvalidCredential::Prefix)
        }
    }

    /// The 8 characters.
    pub fn as_str(&self) -> &str {
        // Only ASCII letters and digits get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({self})")
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// 32 secret octets in their text form. Prints as `[redacted]` and cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
struct Secret([u8; SECRET_CHARACTERS]);

const SECRET_CHARACTERS: usize = 43;

impl Secret {
    fn parse(text: &str) -> Result<Self, InvalidCredential> {
        let characters: [u8; SECRET_CHARACTERS] = text.as_bytes().try_into().map_err(|_| InvalidCredential::Secret)?;
        let in_alphabet = characters.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
        // 43 characters hold 258 bits: the last two must be zero, or several texts would mean one secret.
        let is_canonical = b"AEIMQUYcgkosw048".contains(&characters[SECRET_CHARACTERS - 1]);
        if in_alphabet && is_canonical { Ok(Self(characters)) } else { Err(InvalidCredential::Secret) }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0 = [0; SECRET_CHARACTERS];
    }
}

macro_rules! credential {
    ($(#[$doc:meta])* $name:ident, $literal:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            prefix: Prefix,
            secret: Secret,
        }

        impl $name {
            /// The literal that the text starts with.
            pub const LITERAL: &'static str = $literal;

            /// Reads the text form.
            ///
            /// # Errors
            /// [`InvalidCredential`] says which part is wrong.
            pub fn parse(text: &str) -> Result<Self, InvalidCredential> {
                let rest = text.strip_prefix($literal).ok_or(InvalidCredential::Kind { expected: $literal })?;
                let (prefix, secret) = rest.split_once('_').ok_or(InvalidCredential::Prefix)?;
                Ok(Self { prefix: Prefix::parse(prefix)?, secret: Secret::parse(secret)? })
            }

            /// Puts one together from its prefix and the base64url form of 32 random octets.
            ///
            /// # Errors
            /// [`InvalidCredential::Secret`] where the secret is anything else.
            pub fn new(prefix: Prefix, secret: &str) -> Result<Self, InvalidCredential> {
                Ok(Self { prefix, secret: Secret::parse(secret)? })
            }

            /// The public prefix.
            pub fn prefix(&self) -> Prefix {
                self.prefix
            }

            /// The whole text, to be shown once or to be verified. Whoever calls this answers for where it goes.
            pub fn expose(&self) -> String {
                format!(concat!($literal, "{}_{}"), self.prefix, self.secret.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($literal, "{}_[redacted]"), self.prefix)
            }
        }
    };
}

credential!(
    /// A registration token, `sbt_{prefix}_{secret}`: lets one device register, once.
    RegistrationToken,
    "sbt_"
);
credential!(
    /// A device's API key, `sb_device_{prefix}_{secret}`.
    ApiKey,
    "sb_device_"
);

/// A claim secret, `sbc_{secret}`: with it the device that registered fetches its first API key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimSecret(Secret);

impl ClaimSecret {
    /// The literal that the text starts with.
    pub const LITERAL: &'static str = "sbc_";

    /// Reads the text form.
    ///
    /// # Errors
    /// [`InvalidCredential`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidCredential> {
        let secret = text.strip_prefix(Self::LITERAL).ok_or(InvalidCredential::Kind { expected: Self::LITERAL })?;
        Secret::parse(secret).map(Self)
    }

    /// Puts one together from the base64url form of 32 random octets.
    ///
    /// # Errors
    /// [`InvalidCredential::Secret`] where the secret is anything else.
    pub fn new(secret: &str) -> Result<Self, InvalidCredential> {
        Secret::parse(secret).map(Self)
    }

    /// The whole text. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> String {
        format!("sbc_{}", self.0.as_str())
    }
}

impl fmt::Debug for ClaimSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sbc_[redacted]")
    }
}

/// Octets written as lower-case hex, such as a MAC or a digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        crate::serial::Fingerprint::parse(&text).map(|f| Self(*f.as_octets())).map_err(de::Error::custom)
    }
}

/// What is kept of a token's or an API key's secret: never the secret itself.
///
/// The MAC, made under a key that is not in the database, decides in under a microsecond. The bcrypt hash is what
/// analysts see, and what decides where the MAC's key is gone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretVerifier {
    /// The bcrypt hash of the credential's whole text, as `$2b$...`.
    pub bcrypt: String,
    /// HMAC-SHA256 of the credential's whole text.
    pub mac: Digest,
    /// Which key the MAC was made under: the first 8 octets of that key's SHA-256, in hex.
    pub mac_key_id: String,
}

impl fmt::Debug for SecretVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretVerifier {{ mac_key_id: {:?}, .. }}", self.mac_key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAAAAAAAAAAAAAAAAAAA_AAAAAAAAAAAAAAAAA-AAAA";

    #[test]
    fn a_secret_may_contain_underscores() {
        let text = format!("sbt_a1B2c3D4_{SECRET}");
        let token = RegistrationToken::parse(&text).unwrap();
        assert_eq!(token.prefix().as_str(), "a1B2c3D4");
        assert_eq!(token.expose(), text);
        let key = ApiKey::parse(&format!("sb_device_a1B2c3D4_{SECRET}")).unwrap();
        assert_eq!(key.prefix().as_str(), "a1B2c3D4", "the prefix comes from the random part");
    }

    #[test]
    fn every_wrong_shape_is_refused() {
        let long = SECRET.repeat(20);
        for (text, why) in [
            (String::new(), InvalidCredential::Kind { expected: "sb_device_" }),
            (format!("sbt_a1B2c3D4_{SECRET}"), InvalidCredential::Kind { expected: "sb_device_" }),
            (format!("sb_device_a1B2c3D_{SECRET}"), InvalidCredential::Prefix),
            (format!("sb_device_a1B2c3-4_{SECRET}"), InvalidCredential::Prefix),
            (format!("sb_device_a1B2c3é_{SECRET}"), InvalidCredential::Prefix),
            ("sb_device_a1B2c3D4".to_owned(), InvalidCredential::Prefix),
            ("sb_device_a1B2c3D4_".to_owned(), InvalidCredential::Secret),
            (format!("sb_device_a1B2c3D4_{SECRET}="), InvalidCredential::Secret),
            (format!("sb_device_a1B2c3D4_{long}"), InvalidCredential::Secret),
            (format!("sb_device_a1B2c3D4_{}\0", &SECRET[..42]), InvalidCredential::Secret),
            (format!("sb_device_a1B2c3D4_{}B", &SECRET[..42]), InvalidCredential::Secret),
        ] {
            assert_eq!(ApiKey::parse(&text), Err(why), "{text}");
        }
    }

    #[test]
    fn no_secret_prints() {
        let token = RegistrationToken::parse(&format!("sbt_a1B2c3D4_{SECRET}")).unwrap();
        let key = ApiKey::parse(&format!("sb_device_a1B2c3D4_{SECRET}")).unwrap();
        let claim = ClaimSecret::parse(&format!("sbc_{SECRET}")).unwrap();
        let verifier =
            SecretVerifier { bcrypt: "$2b$12$hash".into(), mac: Digest([0xaa; 32]), mac_key_id: "k1".into() };
        let printed = format!("{token:?} {key:?} {claim:?} {verifier:?}");
        assert!(!printed.contains(SECRET) && !printed.contains("hash") && !printed.contains("aaaa"), "{printed}");
        assert!(printed.contains("sbt_a1B2c3D4_[redacted]"));
    }
}

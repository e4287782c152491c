//! The names of certificate profiles.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a certificate profile, as the operator wrote it: 1 to 64 characters of `a-z`, `0-9`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

/// The text is no name of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a profile's name has 1 to 64 characters of a-z, 0-9, `-` and `_`")]
pub struct InvalidProfileName;

impl ProfileName {
    /// The name of the profile that needs no configuration.
    pub const DEVICE: &str = "device";

    /// Takes the text as it stands.
    ///
    /// # Errors
    /// [`InvalidProfileName`] where it is empty, too long or has other characters, upper case included.
    pub fn parse(text: &str) -> Result<Self, InvalidProfileName> {
        Self::try_from(text.to_owned())
    }

    /// The name of the profile that needs no configuration.
    pub fn device() -> Self {
        Self(Self::DEVICE.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProfileName {
    type Error = InvalidProfileName;

    fn try_from(text: String) -> Result<Self, InvalidProfileName> {
        let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
        let is_name = (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_name { Ok(Self(text)) } else { Err(InvalidProfileName) }
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

/// A map by name can be asked with a text.
impl Borrow<str> for ProfileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["device", "sensor-2", "a_b", "0", &"x".repeat(64)] {
            assert_eq!(ProfileName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "Device", "a b", "a.b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(ProfileName::parse(bad), Err(InvalidProfileName), "{bad:?}");
        }
    }
}

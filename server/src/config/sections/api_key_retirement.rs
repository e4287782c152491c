//! `authentication.api_key_retirement_days`: `off`, or a number of days.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Whether, and when, a device that authenticates by certificate loses its API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiKeyRetirement {
    /// It keeps its key.
    #[default]
    Off,
    /// So many days after its first authentication by a certificate.
    AfterDays(u16),
}

impl ApiKeyRetirement {
    const OFF: &'static str = "off";
    /// The most days: as long as an API key lives at most.
    const MAX_DAYS: u16 = 730;
}

impl Serialize for ApiKeyRetirement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str(Self::OFF),
            Self::AfterDays(days) => serializer.serialize_u16(*days),
        }
    }
}

/// A number, or what an environment variable makes of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for ApiKeyRetirement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom(format!("`off`, or 0 to {} days", Self::MAX_DAYS));
        let days = match Written::deserialize(deserializer).map_err(|_| refused())? {
            Written::Text(text) if text.trim() == Self::OFF => return Ok(Self::Off),
            Written::Text(text) => text.trim().parse().ok(),
            Written::Number(number) => u16::try_from(number).ok(),
        };
        days.filter(|days| *days <= Self::MAX_DAYS).map(Self::AfterDays).ok_or_else(refused)
    }
}

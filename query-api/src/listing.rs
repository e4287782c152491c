//! Lists: bounded pages, and cursors that are opaque to callers and fit no other list than their own.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, de};
use signalbeam_authn::Problem;
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The page.
    pub(crate) items: Vec<T>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// How many items a page has at most: 1 to 500, 50 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(u16);

impl Limit {
    const MAX: u16 = 500;

    pub(crate) fn get(self) -> usize {
        self.0.into()
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let limit = text.parse().ok().filter(|limit| (1..=Self::MAX).contains(limit));
        limit.map(Self).ok_or_else(|| de::Error::custom(format!("must be a whole number from 1 to {}", Self::MAX)))
    }
}

/// The lists, by the names that their cursors carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListName {
    RegistrationTokens,
    Devices,
    Certificates,
    AuthenticationLogs,
    Events,
    DeviceHistory,
    AdminTokenRevocations,
}

/// What a cursor holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    #[serde(rename = "v")]
    version: u8,
    list: ListName,
    after: String,
}

const VERSION: u8 = 1;

impl ListName {
    /// The cursor that continues this list behind `after`.
    pub(crate) fn cursor(self, after: &impl Display) -> String {
        let cursor = Cursor { version: VERSION, list: self, after: after.to_string() };
        // Two short texts and a number always become JSON.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
    }

    /// Where the list continues by a presented cursor.
    ///
    /// # Errors
    /// 400 `INVALID_REQUEST` where the cursor is none of this list's.
    pub(crate) fn after<T: FromStr>(self, cursor: Option<&str>) -> Result<Option<T>, Problem> {
        let Some(text) = cursor else { return Ok(None) };
        let after = self.read(text).and_then(|after| after.parse().ok());
        after.map(Some).ok_or_else(invalid_cursor)
    }

    fn read(self, text: &str) -> Option<String> {
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        let cursor: Cursor = serde_json::from_slice(&json).ok()?;
        (cursor.version == VERSION && cursor.list == self).then_some(cursor.after)
    }
}

/// What was presented is none of the list's cursors.
pub(crate) fn invalid_cursor() -> Problem {
    Problem::invalid("/query/cursor", "not a cursor that this list has answered")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_fits_its_own_list_and_no_other() {
        let cursor = ListName::Events.cursor(&17);
        assert_eq!(ListName::Events.after::<u64>(Some(&cursor)).unwrap(), Some(17));
        assert_eq!(ListName::Events.after::<u64>(None).unwrap(), None);
        assert!(ListName::Devices.after::<u64>(Some(&cursor)).is_err());
        let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for bad in [
            String::new(),
            "17".to_owned(),
            "!".to_owned(),
            format!("{cursor}="),
            encode(r#"{"v":2,"list":"events","after":"17"}"#),
            encode(r#"{"v":1,"list":"events","after":"x"}"#),
            encode(r#"{"v":1,"list":"events","after":"17","more":1}"#),
            encode(&"[".repeat(10_000)),
        ] {
            assert!(ListName::Events.after::<u64>(Some(&bad)).is_err(), "{bad}");
        }
    }
}

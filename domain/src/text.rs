//! Text that people and devices choose: bounded, without control characters, so that a line in a log stays a line.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The most characters allowed.
        max: usize,
    },
    /// A line break or another control character, which could forge a line in a log or reorder what is read.
    #[error("must not contain control characters")]
    Control,
}

fn check(text: &str, max: usize) -> Result<(), InvalidText> {
    if text.trim().is_empty() {
        return Err(InvalidText::Empty);
    }
    if text.chars().count() > max {
        return Err(InvalidText::TooLong { max });
    }
    if text.chars().any(is_unprintable) {
        return Err(InvalidText::Control);
    }
    Ok(())
}

/// Control characters, line and paragraph separators, and the marks that reverse the direction of what follows.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The most characters allowed.
            pub const MAX_CHARACTERS: usize = $max;

            /// Takes the text as it stands.
            ///
            /// # Errors
            /// [`InvalidText`] where it is empty, too long or has control characters.
            pub fn parse(text: &str) -> Result<Self, InvalidText> {
                check(text, $max).map(|()| Self(text.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                check(&text, $max).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

bounded_text!(
    /// A device's name: a label of 1 to 128 characters, not an identity.
    DeviceName,
    128
);
bounded_text!(
    /// Why an admin did something: 1 to 512 characters.
    Reason,
    512
);
bounded_text!(
    /// What a registration token is for: 1 to 512 characters.
    Description,
    512
);

/// What a device tells of itself: free-form, bounded in entries, depth and size.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, MetadataValue>")]
pub struct Metadata(BTreeMap<String, MetadataValue>);

/// A JSON value inside of [`Metadata`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetadataValue {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<MetadataValue>),
    /// An object.
    Map(BTreeMap<String, MetadataValue>),
}

/// Why metadata was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// Too many values in all.
    #[error("must have at most {} values", Metadata::MAX_VALUES)]
    TooMany,
    /// Lists and objects nested too deeply.
    #[error("must not be nested deeper than {} levels", Metadata::MAX_DEPTH)]
    TooDeep,
    /// Too many members in one object.
    #[error("must have at most {} members in one object", Metadata::MAX_MEMBERS)]
    TooManyMembers,
    /// Too many characters in all keys and strings together.
    #[error("must have at most {} characters in all", Metadata::MAX_CHARACTERS)]
    TooLarge,
}

impl Metadata {
    /// The most members of one object, in what is taken today.
    pub const MAX_MEMBERS: usize = 64;
    /// The most values, counted at every level.
    pub const MAX_VALUES: usize = 128;
    /// The most levels of lists and objects.
    pub const MAX_DEPTH: usize = 4;
    /// The most characters, in keys and strings together.
    pub const MAX_CHARACTERS: usize = 8_192;

    /// Takes entries that are within the bounds.
    ///
    /// # Errors
    /// [`InvalidMetadata`] says which bound is broken.
    pub fn new(entries: BTreeMap<String, MetadataValue>) -> Result<Self, InvalidMetadata> {
        let metadata = Self::try_from(entries)?;
        if has_crowded_object(&metadata.0) { Err(InvalidMetadata::TooManyMembers) } else { Ok(metadata) }
    }

    /// The entries.
    pub fn entries(&self) -> &BTreeMap<String, MetadataValue> {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, MetadataValue>> for Metadata {
    type Error = InvalidMetadata;

    /// What was recorded before objects were bounded is still read: only the bounds of all times hold here.
    fn try_from(entries: BTreeMap<String, MetadataValue>) -> Result<Self, InvalidMetadata> {
        let mut size = Size::default();
        size.add_entries(&entries, 1)?;
        Ok(Self(entries))
    }
}

/// Whether one of the objects, at whatever depth, has too many members. The depth is bounded before.
fn has_crowded_object(entries: &BTreeMap<String, MetadataValue>) -> bool {
    fn is_crowded(value: &MetadataValue) -> bool {
        match value {
            MetadataValue::Map(entries) => has_crowded_object(entries),
            MetadataValue::List(items) => items.iter().any(is_crowded),
            _ => false,
        }
    }
    entries.len() > Metadata::MAX_MEMBERS || entries.values().any(is_crowded)
}

#[derive(Default)]
struct Size {
    values: usize,
    characters: usize,
}

impl Size {
    fn add_entries(&mut self, entries: &BTreeMap<String, MetadataValue>, depth: usize) -> Result<(), InvalidMetadata> {
        entries.iter().try_for_each(|(key, value)| {
            self.characters += key.chars().count();
            self.add(value, depth)
        })
    }

    fn add(&mut self, value: &MetadataValue, depth: usize) -> Result<(), InvalidMetadata> {
        self.values += 1;
        if let MetadataValue::Text(text) = value {
            self.characters += text.chars().count();
        }
        if depth > Metadata::MAX_DEPTH {
            return Err(InvalidMetadata::TooDeep);
        }
        if self.values > Metadata::MAX_VALUES {
            return Err(InvalidMetadata::TooMany);
        }
        if self.characters > Metadata::MAX_CHARACTERS {
            return Err(InvalidMetadata::TooLarge);
        }
        match value {
            MetadataValue::List(items) => items.iter().try_for_each(|item| self.add(item, depth + 1)),
            MetadataValue::Map(entries) => self.add_entries(entries, depth + 1),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_to_128_characters_on_one_line() {
        assert_eq!(DeviceName::parse("Lager Süd 1").unwrap().as_str(), "Lager Süd 1");
        assert!(DeviceName::parse(&"é".repeat(128)).is_ok(), "characters, not octets");
        assert_eq!(DeviceName::parse(&"e".repeat(129)), Err(InvalidText::TooLong { max: 128 }));
        assert_eq!(DeviceName::parse("  "), Err(InvalidText::Empty));
        for forged in ["a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{2028}b", "a\0"] {
            assert_eq!(DeviceName::parse(forged), Err(InvalidText::Control), "{forged:?}");
        }
    }

    #[test]
    fn metadata_is_bounded_in_number_depth_and_size() {
        let flat =
            |n: usize| -> BTreeMap<_, _> { (0..n).map(|i| (format!("k{i}"), MetadataValue::Integer(1))).collect() };
        assert!(Metadata::new(flat(64)).is_ok());
        assert_eq!(Metadata::new(flat(65)), Err(InvalidMetadata::TooManyMembers));
        let nested = |n: usize| BTreeMap::from([("k".into(), MetadataValue::List(vec![MetadataValue::Map(flat(n))]))]);
        assert!(Metadata::new(nested(64)).is_ok());
        assert_eq!(Metadata::new(nested(65)), Err(InvalidMetadata::TooManyMembers));
        let list = |n: usize| BTreeMap::from([("k".into(), MetadataValue::List(vec![MetadataValue::Null; n]))]);
        assert!(Metadata::new(list(127)).is_ok());
        assert_eq!(Metadata::new(list(128)), Err(InvalidMetadata::TooMany));
        let mut deep = MetadataValue::Null;
        for _ in 0..5 {
            deep = MetadataValue::List(vec![deep]);
        }
        assert_eq!(Metadata::new(BTreeMap::from([("k".into(), deep)])), Err(InvalidMetadata::TooDeep));
        let long = MetadataValue::Text("x".repeat(8_192));
        assert_eq!(Metadata::new(BTreeMap::from([("k".into(), long)])), Err(InvalidMetadata::TooLarge));
    }

    #[test]
    fn metadata_that_is_read_is_bounded_too() {
        let json = serde_json::to_string(&(0..129).map(|i| (format!("k{i}"), i)).collect::<BTreeMap<_, _>>()).unwrap();
        let wide = serde_json::to_string(&(0..128).map(|i| (format!("k{i}"), i)).collect::<BTreeMap<_, _>>()).unwrap();
        assert!(serde_json::from_str::<Metadata>(&wide).is_ok(), "as it could be recorded before members were counted");
        let error = serde_json::from_str::<Metadata>(&json).unwrap_err().to_string();
        assert!(error.contains("must have at most 128 values"), "{error}");
    }

    #[test]
    fn metadata_keeps_what_json_said() {
        let json = r#"{"cores":4,"load":0.5,"tags":["a",null,true],"os":{"name":"linux"}}"#;
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap(), serde_json::to_value(&metadata).unwrap());
    }
}

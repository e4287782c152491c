//! Tags: short labels by which admins group devices and find them again.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a tag, or a set of tags, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTag {
    /// No character, or too many.
    #[error("must have 1 to {} characters", Tag::MAX_CHARACTERS)]
    Length,
    /// A character that is not allowed; or a space at either end, where nobody sees it.
    #[error("must consist of letters, digits, `.`, `_`, `-`, `:`, `/`, `=`, `@`, `+`, and spaces in between")]
    Character,
    /// More tags than a device may have.
    #[error("must have at most {} tags", Tags::MAX)]
    TooMany,
    /// A tag is there twice.
    #[error("must not have the tag `{0}` twice")]
    Repeated(Tag),
}

/// A tag: 1 to 64 letters and digits of any script, `.`, `_`, `-`, `:`, `/`, `=`, `@`, `+`, and spaces in between. Case
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The most characters allowed.
    pub const MAX_CHARACTERS: usize = 64;

    /// Takes the text as it stands.
    ///
    /// # Errors
    /// [`InvalidTag::Length`] or [`InvalidTag::Character`].
    pub fn parse(text: &str) -> Result<Self, InvalidTag> {
        if !(1..=Self::MAX_CHARACTERS).contains(&text.chars().count()) {
            return Err(InvalidTag::Length);
        }
        let is_allowed = |c: char| c.is_alphanumeric() || " ._-:/=@+".contains(c);
        if !text.chars().all(is_allowed) || text.starts_with(' ') || text.ends_with(' ') {
            return Err(InvalidTag::Character);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tag {
    type Error = InvalidTag;

    fn try_from(text: String) -> Result<Self, InvalidTag> {
        Self::parse(&text)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device's tags: a set of at most 32, in the order of their characters whatever order they were given in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Tag>")]
pub struct Tags(BTreeSet<Tag>);

impl Tags {
    /// The most tags.
    pub const MAX: usize = 32;

    /// Takes tags that are all different.
    ///
    /// # Errors
    /// [`InvalidTag::TooMany`] or [`InvalidTag::Repeated`].
    pub fn new(tags: impl IntoIterator<Item = Tag>) -> Result<Self, InvalidTag> {
        let mut set = BTreeSet::new();
        for tag in tags {
            if set.len() == Self::MAX {
                return Err(InvalidTag::TooMany);
            }
            if set.contains(&tag) {
                return Err(InvalidTag::Repeated(tag));
            }
            set.insert(tag);
        }
        Ok(Self(set))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.contains(tag)
    }

    /// The tags in order.
    pub fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Tag>> for Tags {
    type Error = InvalidTag;

    fn try_from(tags: Vec<Tag>) -> Result<Self, InvalidTag> {
        Self::new(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    #[test]
    fn a_tag_is_short_and_printable() {
        for fine in ["a", "site:berlin", "env=prod", "Halle 3", "Lager Süd", "rack/7+8", "a_b-c.d@e", &"é".repeat(64)]
        {
            assert_eq!(tag(fine).as_str(), fine);
        }
        for length in ["", &"x".repeat(65)] {
            assert_eq!(Tag::parse(length), Err(InvalidTag::Length), "{length:?}");
        }
        for odd in [" a", "a ", " ", "a,b", "a\nb", "a\u{202e}b", "<b>", "a\"b", "a'b", "a\\b", "a\0", "a%b", "a&b"] {
            assert_eq!(Tag::parse(odd), Err(InvalidTag::Character), "{odd:?}");
        }
    }

    #[test]
    fn tags_are_a_sorted_set_of_at_most_32() {
        let numbered = |n: usize| (0..n).map(|i| tag(&format!("t{i}")));
        assert!(Tags::new(numbered(32)).is_ok());
        assert_eq!(Tags::new(numbered(33)), Err(InvalidTag::TooMany));
        assert_eq!(Tags::new([tag("b"), tag("a"), tag("b")]), Err(InvalidTag::Repeated(tag("b"))));
        let (one, other) = (Tags::new([tag("b"), tag("a")]), Tags::new([tag("a"), tag("b")]));
        assert_eq!(one, other);
        let json = serde_json::to_string(&one.unwrap()).unwrap();
        assert_eq!(json, r#"["a","b"]"#);
        assert_eq!(serde_json::from_str::<Tags>(&json).unwrap(), other.unwrap());
    }

    #[test]
    fn tags_that_are_read_are_judged_too() {
        for bad in [r#"["a","a"]"#, r#"[""]"#, r#"["a",7]"#, r#""a""#, r#"{"a":"b"}"#] {
            assert!(serde_json::from_str::<Tags>(bad).is_err(), "{bad}");
        }
    }
}

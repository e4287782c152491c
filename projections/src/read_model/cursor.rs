//! Where the next page of a list continues.

use std::fmt;
use std::str::FromStr;

use signalbeam_domain::Timestamp;
use uuid::Uuid;

/// The last row of a page: lists are ordered by a moment and, where several rows have the same, by an id. Its text form is
/// opaque to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) at: Timestamp,
    pub(super) id: Uuid,
}

/// The text is no cursor of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that a list has answered")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.unix_microseconds(), self.id.as_simple())
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (at, id) = text.split_once('.').ok_or(InvalidCursor)?;
        let at = at.parse().map(Timestamp::from_unix_microseconds).map_err(|_| InvalidCursor)?;
        let id = Uuid::try_parse(id).map_err(|_| InvalidCursor)?;
        Ok(Self { at, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let at = Timestamp::from_unix_microseconds(1_763_795_885_123_456);
        let cursor = Cursor { at, id: Uuid::from_u128(7) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", ".", "1", "1.", "x.00000000000000000000000000000007", "1.7", "99999999999999999999.7"] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad}");
        }
    }
}

//! Reading rows: each column into its domain type, or an error that names it.

use std::sync::Arc;

use signalbeam_domain::{Digest, Fingerprint, InvalidHex, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// The tables could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer as it should.
    #[error("the projections cannot be read")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// A row holds what no projection writes: the file was changed by another hand or is damaged.
    #[error("the column {column} of the projections holds something else than it should")]
    Damaged {
        /// The column.
        column: &'static str,
    },
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

/// A row's columns as domain types.
pub(crate) trait Columns {
    /// A column that may be NULL.
    fn optional<T, E>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ReadError>;

    /// A whole number that may be NULL.
    fn optional_integer<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, ReadError>;

    /// A column that is never NULL.
    fn required<T, E>(&self, column: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, ReadError> {
        self.optional(column, parse)?.ok_or(ReadError::Damaged { column })
    }

    /// A whole number that is never NULL.
    fn integer<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, ReadError> {
        self.optional_integer(column)?.ok_or(ReadError::Damaged { column })
    }

    /// A text as it stands.
    fn text(&self, column: &'static str) -> Result<String, ReadError> {
        self.required(column, |text| Ok::<_, ReadError>(text.to_owned()))
    }

    /// A text as it stands, or NULL.
    fn optional_text(&self, column: &'static str) -> Result<Option<String>, ReadError> {
        self.optional(column, |text| Ok::<_, ReadError>(text.to_owned()))
    }

    /// A truth value.
    fn flag(&self, column: &'static str) -> Result<bool, ReadError> {
        self.integer::<u8>(column).map(|number| number != 0)
    }

    /// A moment.
    fn moment(&self, column: &'static str) -> Result<Timestamp, ReadError> {
        self.required(column, Timestamp::parse)
    }

    /// A moment, or NULL.
    fn optional_moment(&self, column: &'static str) -> Result<Option<Timestamp>, ReadError> {
        self.optional(column, Timestamp::parse)
    }
}

impl Columns for SqliteRow {
    fn optional<T, E>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ReadError> {
        let text: Option<&str> = self.try_get(column)?;
        text.map(parse).transpose().map_err(|_| ReadError::Damaged { column })
    }

    fn optional_integer<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, ReadError> {
        let number: Option<i64> = self.try_get(column)?;
        number.map(T::try_from).transpose().map_err(|_| ReadError::Damaged { column })
    }
}

/// A SHA-256 or a MAC of 32 octets, in hex.
pub(crate) fn digest(text: &str) -> Result<Digest, InvalidHex> {
    Fingerprint::parse(text).map(|octets| Digest(*octets.as_octets()))
}

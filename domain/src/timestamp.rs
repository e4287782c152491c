//! A moment in UTC, to the microsecond.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

/// The text is no RFC 3339 time, or lies outside of the years 1 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as 2026-01-31T12:00:00Z")]
pub struct InvalidTimestamp;

/// A moment in UTC, counted in microseconds since 1970. Written as `2026-01-31T12:00:00.000000Z`, always with six
/// digits, so that the order of the texts is the order of the moments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The last microsecond of the year 9999, which is where certificates and RFC 3339 end.
const LATEST: i64 = 253_402_300_799_999_999;
/// The first moment of the year 1.
const EARLIEST: i64 = -62_135_596_800_000_000;

impl Timestamp {
    /// From microseconds since 1970; beyond the years 1 to 9999 the nearest moment inside of them.
    pub const fn from_unix_microseconds(microseconds: i64) -> Self {
        Self(if microseconds > LATEST {
            LATEST
        } else if microseconds < EARLIEST {
            EARLIEST
        } else {
            microseconds
        })
    }

    /// From whole seconds since 1970.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self::from_unix_microseconds(seconds.saturating_mul(MICROSECONDS_PER_SECOND))
    }

    /// From the `time` crate's type.
    pub fn from_offset_date_time(moment: OffsetDateTime) -> Self {
        let microseconds = moment.unix_timestamp_nanos().div_euclid(1_000);
        Self::from_unix_microseconds(i64::try_from(microseconds).unwrap_or(LATEST))
    }

    /// Microseconds since 1970.
    pub const fn unix_microseconds(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(MICROSECONDS_PER_SECOND)
    }

    /// As the `time` crate's type.
    pub fn to_offset_date_time(self) -> OffsetDateTime {
        let since_second = Duration::microseconds(self.0.rem_euclid(MICROSECONDS_PER_SECOND));
        OffsetDateTime::from_unix_timestamp(self.unix_seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH) + since_second
    }

    /// This many days of 86,400 seconds later, or earlier where negative.
    #[must_use]
    pub const fn plus_days(self, days: i64) -> Self {
        self.plus_seconds(days.saturating_mul(SECONDS_PER_DAY))
    }

    /// This many seconds later, or earlier where negative.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_unix_microseconds(self.0.saturating_add(seconds.saturating_mul(MICROSECONDS_PER_SECOND)))
    }

    /// Rounded down to the whole second, as in a certificate.
    #[must_use]
    pub const fn to_whole_second(self) -> Self {
        Self(self.unix_seconds() * MICROSECONDS_PER_SECOND)
    }

    /// How many days of 86,400 seconds lie between then and this; negative where this is the earlier one.
    #[expect(clippy::cast_precision_loss, reason = "for showing and comparing with thresholds of days")]
    pub fn days_since(self, then: Self) -> f64 {
        (self.0 - then.0) as f64 / (SECONDS_PER_DAY * MICROSECONDS_PER_SECOND) as f64
    }

    /// Reads an RFC 3339 time with any offset.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] for everything else.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let moment = moment.checked_to_offset(UtcOffset::UTC).ok_or(InvalidTimestamp)?;
        let microseconds =
            i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000)).map_err(|_| InvalidTimestamp)?;
        if (EARLIEST..=LATEST).contains(&microseconds) { Ok(Self(microseconds)) } else { Err(InvalidTimestamp) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.to_offset_date_time();
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second, micro) = moment.to_hms_micro();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z", u8::from(month))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_sort_like_moments() {
        let moments = [-1, 0, 1, 999_999, 1_000_000, 1_763_795_885_123_456].map(Timestamp::from_unix_microseconds);
        let texts = moments.map(|moment| moment.to_string());
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(texts[5], "2025-11-22T07:18:05.123456Z");
        for (moment, text) in moments.iter().zip(&texts) {
            assert_eq!(Timestamp::parse(text).unwrap(), *moment);
        }
    }

    #[test]
    fn any_offset_is_read_and_anything_else_refused() {
        assert_eq!(Timestamp::parse("2026-01-31T13:00:00+01:00").unwrap().to_string(), "2026-01-31T12:00:00.000000Z");
        for bad in ["", "2026-01-31", "2026-02-30T00:00:00Z", "+292277026596-12-04T15:30:07Z", "yesterday"] {
            assert_eq!(Timestamp::parse(bad), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn arithmetic_saturates_instead_of_overflowing() {
        let far = Timestamp::from_unix_microseconds(i64::MAX);
        assert_eq!(far.plus_days(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Timestamp::from_unix_microseconds(i64::MIN).to_string(), "0001-01-01T00:00:00.000000Z");
    }
}

//! How long credentials may live, in days.

use serde::{Deserialize, Serialize};

/// A length of life within its bounds, in days of 86,400 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(u16);

impl Days {
    /// The number of days.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The number of days lies outside of what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be between {min} and {max} days")]
pub struct OutOfBounds {
    /// The fewest days allowed.
    pub min: u16,
    /// The most days allowed.
    pub max: u16,
}

/// The bounds of one kind of credential, and what applies where a caller names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidityBounds {
    min: u16,
    max: u16,
    default: u16,
}

impl ValidityBounds {
    /// Registration tokens: 1 to 365 days, 30 by default.
    pub const REGISTRATION_TOKEN: Self = Self { min: 1, max: 365, default: 30 };
    /// API keys: 1 to 730 days, 90 by default.
    pub const API_KEY: Self = Self { min: 1, max: 730, default: 90 };
    /// Certificates: 1 to 397 days, 90 by default.
    pub const CERTIFICATE: Self = Self { min: 1, max: 397, default: 90 };

    /// Bounds of one's own.
    ///
    /// # Errors
    /// [`OutOfBounds`] where `min <= default <= max` does not hold, or `min` is 0.
    pub const fn new(min: u16, max: u16, default: u16) -> Result<Self, OutOfBounds> {
        if min == 0 || min > default || default > max {
            return Err(OutOfBounds { min, max });
        }
        Ok(Self { min, max, default })
    }

    /// Takes what a caller asked for, or the default.
    ///
    /// # Errors
    /// [`OutOfBounds`] where it is less or more than allowed.
    pub fn judge(&self, days: Option<i64>) -> Result<Days, OutOfBounds> {
        let Some(days) = days else { return Ok(Days(self.default)) };
        match u16::try_from(days) {
            Ok(days) if (self.min..=self.max).contains(&days) => Ok(Days(days)),
            _ => Err(OutOfBounds { min: self.min, max: self.max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_inclusive_and_nothing_is_clamped() {
        let bounds = ValidityBounds::REGISTRATION_TOKEN;
        assert_eq!(bounds.judge(None).unwrap().get(), 30);
        assert_eq!(bounds.judge(Some(1)).unwrap().get(), 1);
        assert_eq!(bounds.judge(Some(365)).unwrap().get(), 365);
        for days in [0, -1, 366, i64::MAX, i64::MIN, 65_537] {
            assert_eq!(bounds.judge(Some(days)), Err(OutOfBounds { min: 1, max: 365 }), "{days}");
        }
    }
}

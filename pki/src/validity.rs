//! The span of time in which a certificate holds.

use time::{Duration, OffsetDateTime};

/// A certificate's `notBefore` and `notAfter`: both inclusive, in whole seconds (RFC 5280, section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second in which it holds.
    pub not_before: OffsetDateTime,
    /// The last second in which it holds.
    pub not_after: OffsetDateTime,
}

/// Where an instant stands towards a [`Validity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeliness {
    /// Before `not_before`.
    NotYet,
    /// Within, ends included.
    Within,
    /// After `not_after`.
    Past,
}

impl Validity {
    /// Takes both ends, cut down to whole seconds: certificates cannot express more.
    pub fn new(not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        Self { not_before: whole_seconds(not_before), not_after: whole_seconds(not_after) }
    }

    /// From `backdated` before `now`, for devices whose clocks are slow, until `lifetime` after `now`.
    pub fn starting(now: OffsetDateTime, backdated: Duration, lifetime: Duration) -> Self {
        Self::new(now.saturating_sub(backdated), now.saturating_add(lifetime))
    }

    /// Where `now` stands; a fraction of the last second still counts as within.
    pub fn timeliness(&self, now: OffsetDateTime) -> Timeliness {
        let now = now.unix_timestamp();
        if now < self.not_before.unix_timestamp() {
            Timeliness::NotYet
        } else if now > self.not_after.unix_timestamp() {
            Timeliness::Past
        } else {
            Timeliness::Within
        }
    }

    /// The part that lies within `other` as well. Where there is none, `not_after` comes before `not_before`.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self { not_before: self.not_before.max(other.not_before), not_after: self.not_after.min(other.not_after) }
    }

    /// Whether no instant lies within.
    pub fn is_empty(&self) -> bool {
        self.not_after < self.not_before
    }
}

fn whole_seconds(instant: OffsetDateTime) -> OffsetDateTime {
    instant - Duration::nanoseconds(i64::from(instant.nanosecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn both_ends_are_inclusive() {
        let validity = Validity::new(datetime!(2025-01-01 00:00 UTC), datetime!(2025-04-01 00:00 UTC));
        for (now, expected) in [
            (datetime!(2024-12-31 23:59:59.999 UTC), Timeliness::NotYet),
            (datetime!(2025-01-01 00:00 UTC), Timeliness::Within),
            (datetime!(2025-04-01 00:00:00.999 UTC), Timeliness::Within),
            (datetime!(2025-04-01 00:00:01 UTC), Timeliness::Past),
        ] {
            assert_eq!(validity.timeliness(now), expected, "{now}");
        }
    }

    #[test]
    fn fractions_of_a_second_are_cut_off() {
        let now = datetime!(2025-01-01 00:00:10.75 UTC);
        let validity = Validity::starting(now, Duration::minutes(5), Duration::days(90));
        assert_eq!(validity.not_before, datetime!(2024-12-31 23:55:10 UTC));
        assert_eq!(validity.not_after, datetime!(2025-04-01 00:00:10 UTC));
    }

    #[test]
    fn spans_that_do_not_meet_have_an_empty_intersection() {
        let january = Validity::new(datetime!(2025-01-01 00:00 UTC), datetime!(2025-01-31 00:00 UTC));
        let march = Validity::new(datetime!(2025-03-01 00:00 UTC), datetime!(2025-03-31 00:00 UTC));
        let year = Validity::new(datetime!(2025-01-01 00:00 UTC), datetime!(2025-12-31 00:00 UTC));
        assert!(january.intersect(&march).is_empty());
        assert_eq!(january.intersect(&year), january);
    }
}

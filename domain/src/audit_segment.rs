//! The segments of the authentication log: each finished day's rows, sealed by a hash, and one day dropped.
//!
//! A segment is what was recorded between two seals: the rows behind the last row of the segment before, up to its own last
//! row. Rows belong to it by their numbers, not by their times, so that a clock that was set back breaks no sealed day.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::aggregate::{Aggregate, Context};
use crate::credential::Digest;
use crate::event::events;
use crate::timestamp::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;

/// A day in UTC, written as `2026-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDay(i64);

/// The text is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a day such as 2026-01-31")]
pub struct InvalidDay;

impl UtcDay {
    /// The day that a moment is on.
    pub const fn of(moment: Timestamp) -> Self {
        Self(moment.unix_seconds().div_euclid(SECONDS_PER_DAY))
    }

    /// Its first moment.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.saturating_mul(SECONDS_PER_DAY))
    }

    /// The first moment after it.
    pub const fn end(self) -> Timestamp {
        self.plus(1).start()
    }

    /// So many days later, or earlier where negative.
    #[must_use]
    pub const fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Reads the written form.
    ///
    /// # Errors
    /// [`InvalidDay`] for everything else.
    pub fn parse(text: &str) -> Result<Self, InvalidDay> {
        if text.len() != "2026-01-31".len() {
            return Err(InvalidDay);
        }
        Timestamp::parse(&format!("{text}T00:00:00Z")).map(Self::of).map_err(|_| InvalidDay)
    }
}

impl fmt::Display for UtcDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.start().to_offset_date_time().to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

impl Serialize for UtcDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A segment was sealed: from now on its rows can be held against this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentSealed {
    /// The day that had ended. Its late rows, of a clock that was set back, are in a later segment.
    pub day: UtcDay,
    /// The number of the first row.
    pub first_row: u64,
    /// The number of the last row.
    pub last_row: u64,
    /// How many rows there are.
    pub count: u64,
    /// The SHA-256 of the rows' canonical encodings, one behind the other, in the order of their numbers.
    pub root_hash: Digest,
    /// The root hash of the segment before; absent in the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
}

/// Old segments are dropped: recorded before the first of their rows goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentsDropped {
    /// The day of the last segment that is dropped.
    pub day: UtcDay,
    /// The last row that is dropped, with all before it: the last row of that segment.
    pub last_row: u64,
    /// For how many days rows were to be kept.
    pub retention_days: u32,
}

events! {
    /// What can happen to the segments of an authentication log.
    AuditSegmentEvent {
        /// One was sealed.
        Sealed(SegmentSealed) = ("audit_segment.sealed", 1),
        /// Old ones are dropped.
        Dropped(SegmentsDropped) = ("audit_segment.dropped", 1),
    }
}

/// What can be asked of the segments.
#[derive(Debug, Clone, Copy)]
pub enum AuditSegmentCommand {
    /// Record the seal of the next segment.
    Seal(SegmentSealed),
    /// Let go of what is older than this.
    Drop {
        /// For how many days rows are kept, counted from the end of theirs.
        retention_days: u32,
    },
}

/// Why a command on the segments was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditSegmentError {
    /// Rows can still come.
    #[error("the day {day} has not ended")]
    Unfinished {
        /// The day.
        day: UtcDay,
    },
    /// The rows are not those that follow the last seal.
    #[error("the next segment begins at row {expected}, not at {found}")]
    NotNext {
        /// Where it begins.
        expected: u64,
        /// Where it was said to begin.
        found: u64,
    },
    /// The segment names another one as the one before.
    #[error("the segment is chained to another one than the last")]
    OtherPrevious,
    /// There are not that many rows between the first and the last.
    #[error("a segment from row {first_row} to {last_row} does not have {count} rows")]
    WrongCount {
        /// The first row.
        first_row: u64,
        /// The last row.
        last_row: u64,
        /// How many were said to be there.
        count: u64,
    },
}

/// The segments of one node's authentication log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditSegments {
    sealed: Vec<SegmentSealed>,
    dropped_through: u64,
}

impl AuditSegments {
    /// Every segment that was ever sealed, in order.
    pub fn sealed(&self) -> &[SegmentSealed] {
        &self.sealed
    }

    /// The last row that was let go of; 0 where all are kept.
    pub const fn dropped_through(&self) -> u64 {
        self.dropped_through
    }

    /// The last row that is sealed; 0 where none is.
    pub fn last_row(&self) -> u64 {
        self.sealed.last().map_or(0, |last| last.last_row)
    }

    fn require_next(&self, segment: &SegmentSealed, now: Timestamp) -> Result<(), AuditSegmentError> {
        let SegmentSealed { day, first_row, last_row, count, previous, .. } = *segment;
        if day.end() > now {
            return Err(AuditSegmentError::Unfinished { day });
        }
        let expected = self.last_row() + 1;
        if first_row != expected {
            return Err(AuditSegmentError::NotNext { expected, found: first_row });
        }
        if previous != self.sealed.last().map(|last| last.root_hash) {
            return Err(AuditSegmentError::OtherPrevious);
        }
        let is_possible = last_row.checked_sub(first_row).is_some_and(|more| (1..=more + 1).contains(&count));
        if is_possible { Ok(()) } else { Err(AuditSegmentError::WrongCount { first_row, last_row, count }) }
    }

    /// The last segment that may go. Segments go in the order of their rows, so one that is young keeps those behind it; a
    /// day that is still to come was told by a wrong clock, and keeps nobody.
    fn last_old(&self, retention_days: u32, now: Timestamp) -> Option<&SegmentSealed> {
        let today = UtcDay::of(now);
        let oldest_kept = today.plus(-i64::from(retention_days));
        let is_old = |segment: &&SegmentSealed| segment.day < oldest_kept;
        let leading = self.sealed.iter().take_while(|segment| is_old(segment) || segment.day > today);
        leading.filter(is_old).last()
    }
}

impl Aggregate for AuditSegments {
    type Command = AuditSegmentCommand;
    type Event = AuditSegmentEvent;
    type Error = AuditSegmentError;

    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        match command {
            AuditSegmentCommand::Seal(segment) if self.sealed.last() == Some(&segment) => Ok(vec![]),
            AuditSegmentCommand::Seal(segment) => {
                self.require_next(&segment, context.now)?;
                Ok(vec![segment.into()])
            }
            AuditSegmentCommand::Drop { retention_days } => {
                let last = self.last_old(retention_days, context.now);
                let last = last.filter(|last| last.last_row > self.dropped_through);
                let dropped =
                    |last: &SegmentSealed| SegmentsDropped { day: last.day, last_row: last.last_row, retention_days };
                Ok(last.map(dropped).map(Into::into).into_iter().collect())
            }
        }
    }

    fn evolve(mut self, event: &Self::Event) -> Self {
        match event {
            AuditSegmentEvent::Sealed(segment) => self.sealed.push(*segment),
            AuditSegmentEvent::Dropped(dropped) => self.dropped_through = dropped.last_row,
        }
        self
    }
}

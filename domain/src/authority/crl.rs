//! The revocation lists of an authority: one sequence of numbers, and which certificates each list names.
//!
//! A publication has one number and two lists (RFC 5280, section 5.2.4): the complete one, and the delta to the complete
//! list that was last published on schedule. What a publication lists follows from the log up to a position and from the
//! publications before it, so that whoever reads the log can make the same octets again.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::credential::Digest;
use crate::envelope::Position;
use crate::timestamp::Timestamp;

/// A signature, of any algorithm. Written as lower-case hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(pub Vec<u8>);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let octet = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let octets = text.as_bytes().chunks(2).map(|pair| octet(pair).filter(|_| pair.len() == 2));
        octets.collect::<Option<_>>().map(Self).ok_or_else(|| de::Error::custom("not pairs of hexadecimal digits"))
    }
}

/// Why a list was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrlKind {
    /// It was time. Later deltas refer to this one, and expired certificates leave the lists with it.
    Scheduled,
    /// A certificate had ended.
    OnChange,
}

/// One signed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrlDocument {
    /// How many certificates it lists.
    pub entries: u64,
    /// The SHA-256 of its DER.
    pub sha256: Digest,
    /// The authority's signature: with the log it makes the same octets again.
    pub signature: Signature,
}

/// The authority published a complete list and a delta, under one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrlPublished {
    /// The number of both lists; larger than every one before.
    pub number: u64,
    /// The number of the complete list that the delta refers to; its own where it is the first.
    pub base_number: u64,
    /// Why.
    pub kind: CrlKind,
    /// When they were made, to the second.
    pub this_update: Timestamp,
    /// By when newer ones will be there, to the second.
    pub next_update: Timestamp,
    /// How far the log was read for them.
    pub complete_to: Position,
    /// Where the complete list says that deltas are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshest_crl_url: Option<String>,
    /// The complete list.
    pub complete: CrlDocument,
    /// The delta.
    pub delta: CrlDocument,
}

/// How and when a certificate ended before its time, as far as a list is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Where in the log it first ended: superseded or revoked.
    pub ended_at: Position,
    /// Where in the log it was revoked, where it was, maybe after it had been superseded.
    pub revoked_at: Option<Position>,
    /// The last moment of its validity.
    pub not_after: Timestamp,
}

/// As what a list names a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedAs {
    /// Another one took its place.
    Superseded,
    /// It was revoked.
    Revoked,
}

/// What a delta says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaEntry {
    /// It is on the complete list now, so.
    Listed(ListedAs),
    /// It was on the base and has expired: it is on the complete list no longer (RFC 5280, section 5.3.1).
    Removed,
}

/// Which certificates have left the lists: expired ones that were on a list made after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Departed {
    /// When that list was made.
    expired_before: Timestamp,
    /// How far that list had read the log.
    ended_until: Position,
}

/// Which certificates a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlExtent {
    number: u64,
    this_update: Timestamp,
    complete_to: Position,
    departed: Option<Departed>,
}

impl CrlExtent {
    /// The list's number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// How far the log is read for it.
    pub const fn complete_to(&self) -> Position {
        self.complete_to
    }

    /// As what the list names a certificate, where it does.
    ///
    /// A certificate stays until it has been on one scheduled list that was made after its end (RFC 5280, section 3.3).
    pub fn lists(&self, ending: &Ending) -> Option<ListedAs> {
        let has_departed = self.departed.is_some_and(|departed| {
            ending.ended_at <= departed.ended_until
                && ending.not_after.unix_seconds() < departed.expired_before.unix_seconds()
        });
        if ending.ended_at > self.complete_to || has_departed {
            return None;
        }
        let is_revoked = ending.revoked_at.is_some_and(|at| at <= self.complete_to);
        Some(if is_revoked { ListedAs::Revoked } else { ListedAs::Superseded })
    }
}

/// What a publication consists of: a complete list, and the one that its delta refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlContents {
    /// The complete list.
    pub complete: CrlExtent,
    /// What the delta refers to.
    pub base: CrlExtent,
}

impl CrlContents {
    /// Which certificates neither list can name any more: those that ended up to this position and whose validity was over
    /// before this moment.
    pub fn departed(&self) -> Option<(Position, Timestamp)> {
        self.base.departed.map(|departed| (departed.ended_until, departed.expired_before))
    }

    /// What the delta says of a certificate, where it says anything.
    pub fn delta_lists(&self, ending: &Ending) -> Option<DeltaEntry> {
        match (self.base.lists(ending), self.complete.lists(ending)) {
            (before, now) if before == now => None,
            (_, Some(listed)) => Some(DeltaEntry::Listed(listed)),
            (_, None) => Some(DeltaEntry::Removed),
        }
    }
}

/// An authority's publications so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrlSequence {
    last: Option<(CrlPublished, CrlContents)>,
    scheduled: Option<CrlExtent>,
}

impl CrlSequence {
    /// The newest publication, and what it lists.
    pub fn last(&self) -> Option<&(CrlPublished, CrlContents)> {
        self.last.as_ref()
    }

    /// When a list was last published on schedule.
    pub fn last_scheduled_at(&self) -> Option<Timestamp> {
        self.scheduled.map(|scheduled| scheduled.this_update)
    }

    /// The number of a publication at this moment: the moment in seconds, or one more than the last number. Beginning
    /// with the time, numbers stay ahead of those that a log has lost which was put back from a backup.
    pub fn next_number(&self, this_update: Timestamp) -> u64 {
        let at_least = self.last.as_ref().map_or(1, |(last, _)| last.number.saturating_add(1));
        u64::try_from(this_update.unix_seconds()).unwrap_or_default().max(at_least)
    }

    /// What a publication of this kind lists that reads the log as far as this.
    pub fn contents(&self, kind: CrlKind, number: u64, this_update: Timestamp, complete_to: Position) -> CrlContents {
        let departed = match (kind, &self.scheduled) {
            (CrlKind::OnChange, Some(base)) => base.departed,
            (CrlKind::Scheduled, Some(base)) => {
                Some(Departed { expired_before: base.this_update, ended_until: base.complete_to })
            }
            (_, None) => None,
        };
        let complete = CrlExtent { number, this_update, complete_to, departed };
        CrlContents { complete, base: self.scheduled.unwrap_or(complete) }
    }

    /// Whether a publication can follow: nothing in it goes back.
    pub(super) fn accepts(&self, published: &CrlPublished) -> bool {
        let base = self.scheduled.map_or(published.number, |base| base.number);
        let goes_on = self.last.as_ref().map_or(published.kind == CrlKind::Scheduled, |(last, _)| {
            published.number > last.number
                && published.complete_to >= last.complete_to
                && published.this_update >= last.this_update
        });
        goes_on && published.base_number == base && published.next_update > published.this_update
    }

    pub(super) fn take(&mut self, published: &CrlPublished) {
        let CrlPublished { kind, number, this_update, complete_to, .. } = *published;
        let contents = self.contents(kind, number, this_update, complete_to);
        if kind == CrlKind::Scheduled {
            self.scheduled = Some(contents.complete);
        }
        self.last = Some((published.clone(), contents));
    }
}

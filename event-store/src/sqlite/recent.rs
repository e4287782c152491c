//! The newest events as the writer has just committed them: whoever follows the log closely is handed these, and need not
//! read them from the file.
//!
//! One process writes to the file at a time, so its writer knows what stands behind a position. Where it does not, after a
//! failure or for positions that are long past, nothing is said here and the file is read.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use signalbeam_domain::Position;

use crate::port::{Page, Recorded};

/// No more events are kept than this, and none whose payloads together have more than [`OCTETS`] octets.
const EVENTS: usize = 1_024;
const OCTETS: usize = 4 << 20;

/// The end of the log, shared by the writer and those who follow.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    end: Arc<RwLock<Option<End>>>,
}

#[derive(Debug)]
struct End {
    /// Every event behind this position is here.
    after: Position,
    head: Position,
    events: VecDeque<Recorded>,
    octets: usize,
}

impl Recent {
    /// Begins anew: the log ends at `head`, and that is certain.
    pub(super) fn begin(&self, head: Position) {
        self.set(Some(End { after: head, head, events: VecDeque::new(), octets: 0 }));
    }

    /// What was committed is not certain any more.
    pub(super) fn forget(&self) {
        self.set(None);
    }

    /// Adds what was committed, in its order, before anybody is told of the new head.
    pub(super) fn add<'e>(&self, committed: impl Iterator<Item = &'e Recorded>) {
        let mut end = self.end.write().unwrap_or_else(PoisonError::into_inner);
        let Some(end) = &mut *end else { return };
        for recorded in committed {
            end.head = recorded.envelope.position;
            end.octets += recorded.envelope.data.len();
            end.events.push_back(recorded.clone());
        }
        while end.events.len() > EVENTS || end.octets > OCTETS {
            let Some(oldest) = end.events.pop_front() else { break };
            end.octets -= oldest.envelope.data.len();
            end.after = oldest.envelope.position;
        }
    }

    /// At most `limit` events behind a position; `None` where the file is to be read.
    pub(super) fn behind(&self, after: Position, limit: usize) -> Option<Page> {
        let end = self.end.read().unwrap_or_else(PoisonError::into_inner);
        let end = end.as_ref().filter(|end| (end.after..=end.head).contains(&after))?;
        let first = end.events.partition_point(|recorded| recorded.envelope.position <= after);
        let events: Vec<_> = end.events.iter().skip(first).take(limit).cloned().collect();
        let reached = events.last().map_or(after, |last| last.envelope.position);
        Some(Page { events, reached })
    }

    fn set(&self, end: Option<End>) {
        *self.end.write().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbeam_domain::{Actor, CorrelationId, DeviceId, Digest, Envelope, EventId, StreamId, Timestamp, Version};
    use uuid::Uuid;

    fn recorded(position: u64, octets: usize) -> Recorded {
        let envelope = Envelope {
            event_id: EventId::from_uuid(Uuid::from_u128(position.into())),
            stream: StreamId::device(DeviceId::from_uuid(Uuid::from_u128(1))),
            version: Version(position),
            position: Position(position),
            event_type: "device.approved".to_owned(),
            schema_version: 1,
            recorded_at: Timestamp::from_unix_seconds(0),
            tenant_id: None,
            actor: Actor::system("test"),
            command_id: None,
            correlation_id: CorrelationId::from_uuid(Uuid::from_u128(2)),
            causation_id: None,
            data: vec![b' '; octets],
        };
        Recorded { envelope, hash: Digest([0; 32]) }
    }

    fn recent(positions: std::ops::RangeInclusive<u64>, octets: usize) -> Recent {
        let recent = Recent::default();
        recent.begin(Position(positions.start() - 1));
        recent.add(positions.map(|position| recorded(position, octets)).collect::<Vec<_>>().iter());
        recent
    }

    /// The positions of a page, and how far it reaches.
    fn positions(page: &Page) -> (Vec<u64>, u64) {
        (page.events.iter().map(|recorded| recorded.envelope.position.0).collect(), page.reached.0)
    }

    #[test]
    fn what_was_committed_is_handed_out_in_pages() {
        let recent = recent(11..=15, 1);
        assert_eq!(positions(&recent.behind(Position(10), 3).unwrap()), (vec![11, 12, 13], 13));
        assert_eq!(positions(&recent.behind(Position(13), 3).unwrap()), (vec![14, 15], 15));
        assert_eq!(positions(&recent.behind(Position(15), 3).unwrap()), (vec![], 15));
    }

    #[test]
    fn what_is_not_known_for_certain_is_read_from_the_file() {
        assert!(Recent::default().behind(Position(0), 3).is_none(), "before the writer has begun");
        let recent = recent(11..=15, 1);
        assert!(recent.behind(Position(9), 3).is_none(), "older events");
        assert!(recent.behind(Position(16), 3).is_none(), "a reader who has seen more than the writer has told");
        recent.forget();
        recent.add([recorded(16, 1)].iter());
        assert!(recent.behind(Position(15), 3).is_none(), "after a failure");
        recent.begin(Position(20));
        assert!(recent.behind(Position(15), 3).is_none(), "what lies between");
        assert_eq!(positions(&recent.behind(Position(20), 3).unwrap()), (vec![], 20));
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many_or_too_large_ones() {
        let many = recent(1..=EVENTS as u64 + 2, 1);
        assert!(many.behind(Position(1), 1).is_none());
        assert_eq!(positions(&many.behind(Position(2), 1).unwrap()), (vec![3], 3));
        let large = recent(1..=5, OCTETS / 4);
        assert!(large.behind(Position(0), 1).is_none());
        assert_eq!(positions(&large.behind(Position(1), 1).unwrap()), (vec![2], 2));
        let too_large = recent(1..=1, OCTETS + 1);
        assert!(too_large.behind(Position(0), 1).is_none());
        assert_eq!(positions(&too_large.behind(Position(1), 1).unwrap()), (vec![], 1));
    }
}

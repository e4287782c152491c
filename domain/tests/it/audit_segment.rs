//! The authentication log's segments are sealed in the order of their rows, once their day has ended, and dropped by age.

use signalbeam_domain::audit_segment::{
    AuditSegmentCommand as Command, AuditSegmentError as Error, AuditSegments, InvalidDay, SegmentSealed,
    SegmentsDropped, UtcDay,
};

use crate::fixtures::{day, digest};
use crate::given::{Given, given};

fn utc(number: i64) -> UtcDay {
    UtcDay::of(day(number))
}

/// Ten rows a day, one segment for each of these days.
fn segments(days: &[i64]) -> Vec<SegmentSealed> {
    let numbered = days.iter().zip(0_u8..);
    numbered
        .map(|(number, n)| SegmentSealed {
            day: utc(*number),
            first_row: u64::from(n) * 10 + 1,
            last_row: u64::from(n) * 10 + 10,
            count: 10,
            root_hash: digest(n),
            previous: n.checked_sub(1).map(digest),
        })
        .collect()
}

fn sealed(days: &[i64]) -> Given<AuditSegments> {
    given(segments(days).into_iter().map(Into::into).collect::<Vec<_>>())
}

fn next(days: &[i64]) -> SegmentSealed {
    segments(days).pop().unwrap()
}

const DROP: Command = Command::Drop { retention_days: 30 };

#[test]
fn a_day_that_has_ended_is_sealed_once() {
    let first = next(&[0]);
    sealed(&[]).at(day(1)).when(Command::Seal(first)).then([first.into()]);
    sealed(&[0]).at(day(1)).when(Command::Seal(first)).then_nothing();
    let second = next(&[0, 5]);
    sealed(&[0]).at(day(6)).when(Command::Seal(second)).then([second.into()]);
}

#[test]
fn a_day_that_goes_on_is_not_sealed() {
    let now = day(1).plus_seconds(-1);
    sealed(&[]).at(now).when(Command::Seal(next(&[0]))).then_refused(Error::Unfinished { day: utc(0) });
}

#[test]
fn no_row_is_left_out_or_sealed_twice() {
    for found in [0, 1, 10, 12] {
        let segment = SegmentSealed { first_row: found, ..next(&[0, 1]) };
        sealed(&[0]).at(day(9)).when(Command::Seal(segment)).then_refused(Error::NotNext { expected: 11, found });
    }
}

#[test]
fn a_segment_names_the_one_before() {
    for previous in [None, Some(digest(9))] {
        let segment = SegmentSealed { previous, ..next(&[0, 1]) };
        sealed(&[0]).at(day(9)).when(Command::Seal(segment)).then_refused(Error::OtherPrevious);
    }
    let segment = SegmentSealed { previous: Some(digest(9)), ..next(&[0]) };
    sealed(&[]).at(day(9)).when(Command::Seal(segment)).then_refused(Error::OtherPrevious);
}

#[test]
fn a_segment_has_a_row_and_no_more_than_fit() {
    for (last_row, count) in [(10, 0), (10, 11), (0, 1)] {
        let segment = SegmentSealed { last_row, count, ..next(&[0]) };
        let refused = Error::WrongCount { first_row: 1, last_row, count };
        sealed(&[]).at(day(9)).when(Command::Seal(segment)).then_refused(refused);
    }
}

#[test]
fn after_a_clock_was_set_back_an_earlier_day_may_follow() {
    let segment = next(&[9, 2]);
    sealed(&[9]).at(day(3)).when(Command::Seal(segment)).then([segment.into()]);
}

#[test]
fn old_segments_are_dropped_in_the_order_of_their_rows() {
    let dropped = |number, last_row| SegmentsDropped { day: utc(number), last_row, retention_days: 30 };
    sealed(&[0, 1, 2]).at(day(30)).when(DROP).then_nothing();
    sealed(&[0, 1, 2]).at(day(31)).when(DROP).then([dropped(0, 10).into()]);
    sealed(&[0, 1, 2]).at(day(90)).when(DROP).then([dropped(2, 30).into()]);
    // One that a wrong clock has dated back does not take younger ones with it.
    sealed(&[0, 80, 2]).at(day(90)).when(DROP).then([dropped(0, 10).into()]);
    // One that is still to come keeps nobody, and goes with those behind it.
    sealed(&[0, 900, 2, 89]).at(day(90)).when(DROP).then([dropped(2, 30).into()]);
    sealed(&[900]).at(day(90)).when(DROP).then_nothing();
}

#[test]
fn what_was_dropped_is_not_dropped_again() {
    let dropped = SegmentsDropped { day: utc(1), last_row: 20, retention_days: 30 };
    let mut history: Vec<_> = segments(&[0, 1, 2]).into_iter().map(Into::into).collect();
    history.push(dropped.into());
    given::<AuditSegments>(history.clone()).at(day(32)).when(DROP).then_nothing();
    let last = SegmentsDropped { day: utc(2), last_row: 30, retention_days: 30 };
    given::<AuditSegments>(history).at(day(33)).when(DROP).then([last.into()]);
}

#[test]
fn a_day_is_read_as_it_is_written() {
    assert_eq!(UtcDay::parse("2026-01-31").unwrap(), utc(30));
    assert_eq!(utc(30).to_string(), "2026-01-31");
    assert_eq!(UtcDay::of(day(1).plus_seconds(-1)), utc(0));
    assert_eq!((utc(0).start(), utc(0).end()), (day(0), day(1)));
    for bad in ["", "2026-02-30", "2026-1-31", "20260131", "2026-01-31T00:00:00Z", "yesterday!"] {
        assert_eq!(UtcDay::parse(bad), Err(InvalidDay), "{bad}");
    }
}

//! Revocation lists: their numbers only grow, a certificate stays until one list after its end, and a complete list is its
//! base with its delta.

use std::collections::BTreeMap;

use proptest::prelude::*;
use signalbeam_domain::authority::{
    Authority, AuthorityCommand as Command, AuthorityError as Error, AuthorityEvent as Event, AuthorityRetired,
    AuthorityStatus as Status, CrlContents, CrlDocument, CrlKind, CrlPublished, CrlSequence, DeltaEntry, Ending,
    ListedAs, Signature,
};
use signalbeam_domain::{Aggregate, Digest, Position, Timestamp};

use crate::authority::creation;
use crate::fixtures::day;
use crate::given::{Given, given};

fn document(entries: u64) -> CrlDocument {
    CrlDocument { entries, sha256: Digest([7; 32]), signature: Signature(vec![1, 2]) }
}

/// The publication that follows the ones before.
fn following(crls: &CrlSequence, kind: CrlKind, at: Timestamp, complete_to: u64) -> (CrlPublished, CrlContents) {
    let (number, complete_to) = (crls.next_number(at), Position(complete_to));
    let contents = crls.contents(kind, number, at, complete_to);
    let published = CrlPublished {
        number,
        base_number: contents.base.number(),
        kind,
        this_update: at,
        next_update: at.plus_seconds(3_600),
        complete_to,
        freshest_crl_url: None,
        complete: document(0),
        delta: document(0),
    };
    (published, contents)
}

fn first() -> CrlPublished {
    following(&CrlSequence::default(), CrlKind::Scheduled, day(0), 10).0
}

fn with_lists() -> Given<Authority> {
    given([creation().into(), first().into()])
}

fn second() -> CrlPublished {
    following(with_lists().state().crls(), CrlKind::OnChange, day(0).plus_seconds(60), 20).0
}

#[test]
fn lists_follow_one_another() {
    given::<Authority>([]).when(Command::PublishCrl(first())).then_refused(Error::Unknown);
    given::<Authority>([creation().into()]).when(Command::PublishCrl(first())).then([first().into()]);
    with_lists().when(Command::PublishCrl(second())).then([second().into()]);
    let (_, contents) = with_lists().state().crls().last().cloned().unwrap();
    assert_eq!(contents.base, contents.complete, "the first is its own base");
    assert_eq!(second().base_number, first().number);
}

#[test]
fn nothing_in_a_list_goes_back() {
    let refused = |published| with_lists().when(Command::PublishCrl(published)).then_refused(Error::CrlOutOfOrder);
    refused(first());
    refused(CrlPublished { number: first().number, ..second() });
    refused(CrlPublished { complete_to: Position(9), ..second() });
    refused(CrlPublished { this_update: day(-1), ..second() });
    refused(CrlPublished { next_update: second().this_update, ..second() });
    refused(CrlPublished { base_number: second().number, ..second() });
    let unscheduled = CrlPublished { kind: CrlKind::OnChange, ..first() };
    given::<Authority>([creation().into()]).when(Command::PublishCrl(unscheduled)).then_refused(Error::CrlOutOfOrder);
}

#[test]
fn an_authority_that_is_not_trusted_publishes_nothing() {
    let retired = Event::from(AuthorityRetired::default());
    let status = Status::Retired;
    given::<Authority>([creation().into(), retired])
        .when(Command::PublishCrl(first()))
        .then_refused(Error::InvalidState { status, action: "asked for revocation lists" });
}

#[test]
fn numbers_begin_with_the_time_and_grow_also_where_the_clock_does_not() {
    let crls = CrlSequence::default();
    assert_eq!(crls.next_number(Timestamp::from_unix_seconds(1_700_000_000)), 1_700_000_000);
    assert_eq!(crls.next_number(Timestamp::from_unix_seconds(-5)), 1);
    let state = with_lists().state();
    assert_eq!(state.crls().next_number(day(0)), first().number + 1);
    assert_eq!(state.crls().next_number(day(-9)), first().number + 1);
}

#[test]
fn a_revoked_certificate_leaves_after_one_scheduled_list_past_its_end() {
    let ending = Ending { ended_at: Position(5), revoked_at: Some(Position(5)), not_after: day(2) };
    let mut authority = given::<Authority>([creation().into()]).state();
    let mut lists = |kind, at, to| {
        let (published, contents) = following(authority.crls(), kind, at, to);
        authority = std::mem::take(&mut authority).evolve(&published.into());
        (contents.complete.lists(&ending), contents.delta_lists(&ending))
    };
    let listed = Some(ListedAs::Revoked);
    assert_eq!(lists(CrlKind::Scheduled, day(0), 4), (None, None));
    assert_eq!(lists(CrlKind::OnChange, day(1), 6), (listed, Some(DeltaEntry::Listed(ListedAs::Revoked))));
    assert_eq!(lists(CrlKind::Scheduled, day(2), 7), (listed, Some(DeltaEntry::Listed(ListedAs::Revoked))));
    assert_eq!(lists(CrlKind::OnChange, day(3), 8), (listed, None), "an unscheduled list lets nothing go");
    assert_eq!(lists(CrlKind::Scheduled, day(4), 9), (listed, None), "the one list past its end");
    assert_eq!(lists(CrlKind::OnChange, day(5), 10), (listed, None), "as its base");
    assert_eq!(lists(CrlKind::Scheduled, day(6), 11), (None, Some(DeltaEntry::Removed)));
    assert_eq!(lists(CrlKind::OnChange, day(7), 12), (None, None));
}

#[test]
fn what_was_revoked_after_its_end_is_on_one_scheduled_list_too() {
    let ending = Ending { ended_at: Position(20), revoked_at: Some(Position(20)), not_after: day(-5) };
    let mut authority = with_lists().state();
    let mut lists = |at, to| {
        let (published, contents) = following(authority.crls(), CrlKind::Scheduled, at, to);
        authority = std::mem::take(&mut authority).evolve(&published.into());
        contents.complete.lists(&ending)
    };
    assert_eq!([lists(day(1), 21), lists(day(2), 22)], [Some(ListedAs::Revoked), None]);
}

#[test]
fn a_superseded_certificate_that_is_revoked_is_listed_as_both_one_after_the_other() {
    let ending = Ending { ended_at: Position(5), revoked_at: Some(Position(15)), not_after: day(90) };
    let state = with_lists().state();
    let (_, before) = state.crls().last().unwrap();
    assert_eq!(before.complete.lists(&ending), Some(ListedAs::Superseded));
    let (_, after) = following(state.crls(), CrlKind::OnChange, day(1), 20);
    assert_eq!(after.complete.lists(&ending), Some(ListedAs::Revoked));
    assert_eq!(after.delta_lists(&ending), Some(DeltaEntry::Listed(ListedAs::Revoked)));
}

fn endings() -> impl Strategy<Value = Vec<Ending>> {
    let ending = (1_u64..100, proptest::option::of(0_u64..50), 0_i64..100).prop_map(|(at, later, end)| Ending {
        ended_at: Position(at),
        revoked_at: later.map(|later| Position(at + later)),
        not_after: day(0).plus_seconds(end * 3_600),
    });
    proptest::collection::vec(ending, 0..40)
}

fn publications() -> impl Strategy<Value = Vec<(bool, i64, u64)>> {
    proptest::collection::vec((any::<bool>(), 0_i64..20, 0_u64..15), 1..20)
}

proptest! {
    #[test]
    fn a_complete_list_is_its_base_and_its_delta(endings in endings(), publications in publications()) {
        let mut authority = given::<Authority>([creation().into()]).state();
        let mut complete = BTreeMap::<u64, BTreeMap<usize, ListedAs>>::new();
        let (mut at, mut to) = (day(0), 0);
        for (index, (is_scheduled, hours, events)) in publications.into_iter().enumerate() {
            (at, to) = (at.plus_seconds(hours * 3_600), to + events);
            let kind = if is_scheduled || index == 0 { CrlKind::Scheduled } else { CrlKind::OnChange };
            let (published, contents) = following(authority.crls(), kind, at, to);
            let list: BTreeMap<_, _> = endings.iter().enumerate()
                .filter_map(|(name, ending)| Some((name, contents.complete.lists(ending)?))).collect();
            let mut combined: BTreeMap<_, _> =
                if index == 0 { list.clone() } else { complete[&published.base_number].clone() };
            for (name, ending) in endings.iter().enumerate() {
                match contents.delta_lists(ending) {
                    Some(DeltaEntry::Listed(listed)) => drop(combined.insert(name, listed)),
                    Some(DeltaEntry::Removed) => prop_assert!(combined.remove(&name).is_some()),
                    None => {}
                }
            }
            prop_assert_eq!(&combined, &list);
            for (name, ending) in endings.iter().enumerate() {
                let is_alive = ending.not_after >= at;
                prop_assert!(!is_alive || ending.ended_at.0 > to || list.contains_key(&name), "no living one is missing");
            }
            let number = published.number;
            authority = authority.evolve(&published.into());
            complete.insert(number, list);
        }
    }
}

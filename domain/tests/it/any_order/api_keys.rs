//! At most one API key is in force, beside at most one successor that the device asked for and has not used.

use proptest::prelude::*;
use signalbeam_domain::api_key::{
    ApiKeyCommand as Command, ApiKeyEvent as Event, ApiKeys, Key, KeyExpiryNoticed, KeyOrigin, KeyRevocationCause,
};

use super::{Life, steps};
use crate::fixtures::{key, key_id};

#[derive(Debug, Clone)]
enum Step {
    Issue(KeyOrigin),
    /// By the device, with the numbered key.
    Succeed(u8),
    Use(u8),
    Revoke(KeyRevocationCause),
    Notice {
        number: u8,
        days: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let origin = prop::sample::select(vec![KeyOrigin::Claim, KeyOrigin::AdminRotation, KeyOrigin::DeviceRotation]);
    let cause = prop::sample::select(vec![
        KeyRevocationCause::Admin,
        KeyRevocationCause::Decommissioned,
        KeyRevocationCause::Retired,
    ]);
    prop_oneof![
        5 => origin.prop_map(Step::Issue),
        3 => (0_u8..20).prop_map(Step::Succeed),
        5 => (0_u8..20).prop_map(Step::Use),
        1 => cause.prop_map(Step::Revoke),
        2 => (0_u8..20, 0_u16..40).prop_map(|(number, days)| Step::Notice { number, days }),
    ]
}

/// Keys are numbered in the order in which they are issued, as if each id were drawn.
fn command(step: &Step, keys: &ApiKeys) -> Command {
    let newest = u8::try_from(keys.keys().len()).unwrap();
    match *step {
        Step::Issue(origin) => Command::Issue(key(newest, origin)),
        Step::Succeed(number) => {
            Command::Succeed { issued: key(newest, KeyOrigin::DeviceRotation), presented: key_id(number) }
        }
        Step::Use(number) => Command::NoteFirstUse { key_id: key_id(number) },
        Step::Revoke(cause) => Command::RevokeAll { cause, reason: None },
        Step::Notice { number, days } => {
            Command::NoticeExpiry(KeyExpiryNoticed { key_id: key_id(number), threshold_days: days })
        }
    }
}

fn is_unused_successor(key: &Key) -> bool {
    key.issued.origin == KeyOrigin::DeviceRotation && !key.is_used
}

fn one_key_and_one_successor(keys: &ApiKeys) -> Result<(), TestCaseError> {
    let alive: Vec<&Key> = keys.keys().iter().filter(|key| !key.is_revoked).collect();
    let (successors, in_force): (Vec<&Key>, Vec<&Key>) = alive.iter().partition(|key| is_unused_successor(key));
    prop_assert!(in_force.len() <= 1, "{in_force:?}");
    prop_assert!(successors.len() <= 1, "{successors:?}");
    if let Some(successor) = successors.first() {
        prop_assert_eq!(Some(*successor), alive.last().copied(), "a successor comes after what it succeeds");
    }
    Ok(())
}

fn moves_forward(before: &ApiKeys, after: &ApiKeys) -> Result<(), TestCaseError> {
    for (was, is) in before.keys().iter().zip(after.keys()) {
        prop_assert_eq!(&was.issued, &is.issued);
        prop_assert!(is.is_revoked || !was.is_revoked, "revoked stays revoked");
        prop_assert!(is.is_used || !was.is_used, "used stays used");
        prop_assert!(!was.is_revoked || was == is, "nothing happens to a key that has ended");
        let is_smaller = was.noticed_days.is_none_or(|was| is.noticed_days.is_some_and(|is| is <= was));
        prop_assert!(is_smaller, "thresholds are told downwards: {was:?} -> {is:?}");
    }
    Ok(())
}

/// Whether a claim may be answered, told from the log alone.
fn claim_is_open<'a>(events: impl DoubleEndedIterator<Item = &'a Event>) -> bool {
    let decisive = events.rev().find_map(|event| match event {
        Event::Issued(issued) if issued.origin == KeyOrigin::AdminRotation => Some(true),
        Event::FirstUsed(_) => Some(false),
        Event::Revoked(revoked) if revoked.cause != KeyRevocationCause::Superseded => Some(false),
        _ => None,
    });
    decisive.unwrap_or(true)
}

proptest! {
    #[test]
    fn one_key_is_in_force_beside_one_unused_successor(steps in steps(step())) {
        let mut life = Life::<ApiKeys>::new();
        for (hours, step) in &steps {
            life.wait(*hours);
            let before = life.state.clone();
            let may_claim = claim_is_open(life.log.iter().map(|(_, event)| event));
            let outcome = life.ask(command(step, &before));
            one_key_and_one_successor(&life.state)?;
            moves_forward(&before, &life.state)?;
            match step {
                Step::Issue(KeyOrigin::Claim) => prop_assert_eq!(outcome.is_ok(), may_claim),
                Step::Issue(KeyOrigin::AdminRotation) => prop_assert!(outcome.is_ok()),
                Step::Issue(KeyOrigin::DeviceRotation) => {
                    let has_key = before.keys().iter().any(|key| !key.is_revoked);
                    prop_assert_eq!(outcome.is_ok(), has_key, "a device replaces a key, it does not give itself one");
                }
                Step::Succeed(number) => {
                    let is_alive = before.keys().get(usize::from(*number)).is_some_and(|key| !key.is_revoked);
                    prop_assert_eq!(outcome.is_ok(), is_alive, "an ended key asks for nothing");
                }
                Step::Revoke(_) => prop_assert!(life.state.keys().iter().all(|key| key.is_revoked)),
                Step::Use(_) | Step::Notice { .. } => {}
            }
        }
        life.replays()?;
    }
}

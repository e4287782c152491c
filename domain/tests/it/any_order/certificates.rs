//! At most one certificate of a device is active, and each was recorded before it was signed.

use std::collections::BTreeSet;

use proptest::prelude::*;
use signalbeam_domain::certificate::{
    AbandonCause, Certificate, CertificateAbandoned, CertificateCommand as Command, CertificateEvent as Event,
    CertificateExpiryNoticed, CertificateIntended, CertificateRenewalRequested, Certificates, RenewalRules, ReuseSign,
    Sighting, Standing,
};
use signalbeam_domain::{SerialNumber, Timestamp};

use super::{Life, steps};
use crate::fixtures::{digest, intended, serial, signed};

const WINDOW_DAYS: u16 = 30;
/// Few serial numbers and fewer keys, so that they meet.
const SERIALS: u8 = 8;
const KEYS: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Intend { number: u8, key: u8, renews: Option<u8> },
    IssueOpen(prop::sample::Index),
    IssueUnasked { number: u8, key: u8 },
    RepeatIssue(prop::sample::Index),
    Abandon(u8),
    Use(u8),
    Revoke(u8),
    RevokeAll,
    Notice { number: u8, days: u16 },
    AskToRenew { number: u8, from: i64 },
    Suspect { number: u8, sign: ReuseSign },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SERIALS, 0..KEYS, prop::option::of(0..SERIALS))
            .prop_map(|(number, key, renews)| Step::Intend { number, key, renews }),
        6 => any::<prop::sample::Index>().prop_map(Step::IssueOpen),
        1 => (0..SERIALS, 0..KEYS).prop_map(|(number, key)| Step::IssueUnasked { number, key }),
        1 => any::<prop::sample::Index>().prop_map(Step::RepeatIssue),
        1 => (0..SERIALS).prop_map(Step::Abandon),
        2 => (0..SERIALS).prop_map(Step::Use),
        1 => (0..SERIALS).prop_map(Step::Revoke),
        1 => Just(Step::RevokeAll),
        1 => (0..SERIALS, 0_u16..90).prop_map(|(number, days)| Step::Notice { number, days }),
        1 => (0..SERIALS, -10_i64..100).prop_map(|(number, from)| Step::AskToRenew { number, from }),
        1 => (0..SERIALS, signs()).prop_map(|(number, sign)| Step::Suspect { number, sign }),
    ]
}

fn signs() -> impl Strategy<Value = ReuseSign> {
    prop_oneof![Just(ReuseSign::PresentedAfterSuccession), Just(ReuseSign::AskedForAnotherKey)]
}

fn intent(number: u8, key: u8, renews: Option<u8>, now: Timestamp) -> CertificateIntended {
    CertificateIntended {
        public_key_sha256: digest(key),
        not_before: now.to_whole_second(),
        not_after: now.to_whole_second().plus_days(90),
        renewal_of: renews.map(serial),
        ..intended(number)
    }
}

/// `None` where the step needs a certificate that is not there.
fn command(step: &Step, life: &Life<Certificates>) -> Option<Command> {
    let open = life.state.open_intents();
    let issued = life.state.issued();
    Some(match *step {
        Step::Intend { number, key, renews } => Command::Intend {
            intended: intent(number, key, renews, life.now),
            rules: RenewalRules::window(WINDOW_DAYS),
        },
        Step::IssueOpen(index) if !open.is_empty() => Command::Issue(signed(index.get(open).clone())),
        Step::RepeatIssue(index) if !issued.is_empty() => Command::Issue(index.get(issued).issued.clone()),
        Step::IssueOpen(_) | Step::RepeatIssue(_) => return None,
        Step::IssueUnasked { number, key } => Command::Issue(signed(intent(number, key, None, life.now))),
        Step::Abandon(number) => {
            Command::Abandon(CertificateAbandoned { serial_number: serial(number), cause: AbandonCause::Interrupted })
        }
        Step::Use(number) => Command::NoteFirstUse { serial_number: serial(number), used_from: None },
        Step::Revoke(number) => Command::Revoke { serial_number: serial(number), reason: None },
        Step::RevokeAll => Command::RevokeAll { reason: None },
        Step::Notice { number, days } => {
            Command::NoticeExpiry(CertificateExpiryNoticed { serial_number: serial(number), threshold_days: days })
        }
        Step::AskToRenew { number, from } => Command::RequestRenewal(CertificateRenewalRequested {
            serial_number: serial(number),
            window_start: life.now.plus_days(from),
            window_end: life.now.plus_days(from + 1),
            reason: None,
        }),
        Step::Suspect { number, sign } => {
            Command::SuspectReuse { serial_number: serial(number), seen: Sighting { sign, from: None } }
        }
    })
}

fn one_is_active(set: &Certificates) -> Result<(), TestCaseError> {
    let active = set.issued().iter().filter(|certificate| certificate.standing == Standing::Active);
    prop_assert!(active.count() <= 1, "{set:?}");
    for certificate in set.issued() {
        if let Standing::Superseded { by } = certificate.standing {
            prop_assert!(set.find(by).is_some(), "superseded by one that exists");
        }
    }
    Ok(())
}

const fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Active => 0,
        Standing::Superseded { .. } => 1,
        Standing::Revoked => 2,
    }
}

fn moves_forward(before: &Certificates, after: &Certificates) -> Result<(), TestCaseError> {
    for (was, is) in before.issued().iter().zip(after.issued()) {
        prop_assert_eq!(&was.issued, &is.issued);
        prop_assert!(was.standing == is.standing || rank(was.standing) < rank(is.standing), "{was:?} -> {is:?}");
        prop_assert!(is.is_used || !was.is_used, "used stays used");
        prop_assert!(is.is_used == was.is_used || was.standing == Standing::Active, "only an active one is used");
        let is_smaller = was.noticed_days.is_none_or(|was| is.noticed_days.is_some_and(|is| is <= was));
        let is_earlier =
            was.renewal_requested.is_none_or(|was| is.renewal_requested.is_some_and(|is| is.start <= was.start));
        prop_assert!(is_earlier, "a window that was asked for opens no later: {was:?} -> {is:?}");
        prop_assert!(is.is_reuse_suspected || !was.is_reuse_suspected, "suspected stays suspected");
        let is_news = is.is_reuse_suspected && !was.is_reuse_suspected;
        prop_assert!(!is_news || matches!(was.standing, Standing::Superseded { .. }), "only a superseded one");
        prop_assert!(is_smaller, "thresholds are told downwards: {was:?} -> {is:?}");
    }
    Ok(())
}

/// A renewal was begun while the old certificate was active, within the window and before the end.
fn renewals_are_in_time(
    life: &Life<Certificates>,
    before: &Certificates,
    events: &[Event],
) -> Result<(), TestCaseError> {
    for event in events {
        if let Event::Intended(CertificateIntended { renewal_of: Some(old), .. }) = event {
            let old = before.find(*old).expect("a renewed certificate exists");
            let end = old.issued.intended.not_after;
            prop_assert_eq!(old.standing, Standing::Active);
            let window = end.plus_days(-i64::from(WINDOW_DAYS));
            let opens = old.renewal_requested.map_or(window, |requested| requested.start.min(window));
            prop_assert!(life.now >= opens && life.now < end.plus_seconds(1));
        }
    }
    Ok(())
}

/// No serial number is intended twice; each issued one was intended, and none of the abandoned ones is issued.
fn serials_are_spent_once(life: &Life<Certificates>) -> Result<(), TestCaseError> {
    let mut spent: BTreeSet<SerialNumber> = BTreeSet::new();
    let mut closed: BTreeSet<SerialNumber> = BTreeSet::new();
    for event in life.events() {
        match event {
            Event::Intended(intended) => prop_assert!(spent.insert(intended.serial_number), "intended twice"),
            Event::Issued(issued) => {
                prop_assert!(spent.contains(&issued.intended.serial_number), "issued, never intended");
                prop_assert!(closed.insert(issued.intended.serial_number), "issued twice, or after it was abandoned");
            }
            Event::Abandoned(abandoned) => {
                prop_assert!(closed.insert(abandoned.serial_number), "abandoned twice, or after it was issued");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whatever a repeated renewal hands out may authenticate, was never used and belongs to the key that asks.
fn repeats_are_harmless(set: &Certificates) -> Result<(), TestCaseError> {
    for (of, key) in (0..SERIALS).flat_map(|of| (0..KEYS).map(move |key| (serial(of), digest(key)))) {
        if let Some(Certificate { issued, standing, is_used, .. }) = set.repeated_renewal(of, key) {
            prop_assert_eq!((*standing, *is_used), (Standing::Active, false));
            prop_assert_eq!((issued.intended.renewal_of, issued.intended.public_key_sha256), (Some(of), key));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn one_certificate_is_active_and_none_was_signed_unrecorded(steps in steps(step())) {
        let mut life = Life::<Certificates>::new();
        for (hours, step) in &steps {
            life.wait(*hours);
            let Some(command) = command(step, &life) else { continue };
            let before = life.state.clone();
            let events = life.ask(command).unwrap_or_default();
            one_is_active(&life.state)?;
            moves_forward(&before, &life.state)?;
            renewals_are_in_time(&life, &before, &events)?;
            repeats_are_harmless(&life.state)?;
            if matches!(step, Step::RepeatIssue(_)) {
                prop_assert_eq!(&events, &vec![]);
            }
            if matches!(step, Step::RevokeAll) {
                prop_assert_eq!(life.state.active(), None);
            }
        }
        serials_are_spent_once(&life)?;
        life.replays()?;
    }
}

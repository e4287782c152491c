//! A device has one active certificate. It is recorded before it is signed, and a lost answer strands nobody.

use std::net::{IpAddr, Ipv4Addr};

use signalbeam_domain::certificate::{
    AbandonCause, Certificate, CertificateAbandoned, CertificateCommand as Command, CertificateError as Error,
    CertificateEvent as Event, CertificateExpiryNoticed, CertificateFirstUsed, CertificateIntended, CertificateRevoked,
    CertificateSuperseded, Certificates, RenewalRules, Standing,
};
use signalbeam_domain::{SerialNumber, Timestamp};

use crate::fixtures::{day, digest, intended, reason, serial, signed};
use crate::given::given;

mod early_renewal;
mod issuing;
mod renewal;
mod reuse;
mod revocation;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// The certificate that renews another one.
fn renewing(number: u8, old: u8) -> CertificateIntended {
    CertificateIntended { renewal_of: Some(serial(old)), ..intended(number) }
}

fn intend(intended: CertificateIntended) -> Command {
    Command::Intend { intended, rules: RenewalRules::window(30) }
}

fn issue(intended: CertificateIntended) -> Command {
    Command::Issue(signed(intended))
}

fn issued(intended: CertificateIntended) -> Event {
    signed(intended).into()
}

/// Intended and issued.
fn active(number: u8) -> Vec<Event> {
    vec![intended(number).into(), issued(intended(number))]
}

/// Certificate 1, renewed by certificate 2.
fn renewed() -> Vec<Event> {
    [active(1), vec![renewing(2, 1).into(), superseded(1, 2), issued(renewing(2, 1))]].concat()
}

fn with(history: &[Event], event: impl Into<Event>) -> Vec<Event> {
    [history, &[event.into()]].concat()
}

fn superseded(old: u8, new: u8) -> Event {
    CertificateSuperseded { serial_number: serial(old), superseded_by: serial(new) }.into()
}

fn revoked(number: u8) -> Event {
    CertificateRevoked { serial_number: serial(number), reason: Some(reason("leaked")) }.into()
}

fn revoke(number: u8) -> Command {
    Command::Revoke { serial_number: serial(number), reason: Some(reason("leaked")) }
}

fn abandoned(number: u8) -> CertificateAbandoned {
    CertificateAbandoned { serial_number: serial(number), cause: AbandonCause::SigningFailed }
}

fn used(number: u8) -> Event {
    CertificateFirstUsed { serial_number: serial(number), used_from: Some(ADDRESS) }.into()
}

fn use_certificate(number: u8) -> Command {
    Command::NoteFirstUse { serial_number: serial(number), used_from: Some(ADDRESS) }
}

fn notice(number: u8, threshold_days: u16) -> CertificateExpiryNoticed {
    CertificateExpiryNoticed { serial_number: serial(number), threshold_days }
}

fn standing(history: Vec<Event>, number: u8) -> Standing {
    given::<Certificates>(history).state().find(serial(number)).unwrap().standing
}

#[test]
fn a_first_use_is_recorded_once() {
    given::<Certificates>(active(1)).when(use_certificate(1)).then([used(1)]);
    given::<Certificates>(with(&active(1), used(1))).when(use_certificate(1)).then_nothing();
}

#[test]
fn a_certificate_that_was_replaced_or_revoked_cannot_be_used() {
    given::<Certificates>(renewed()).when(use_certificate(1)).then_refused(Error::Revoked);
    given::<Certificates>(with(&active(1), revoked(1))).when(use_certificate(1)).then_refused(Error::Revoked);
}

#[test]
fn a_certificate_that_is_not_issued_cannot_be_used() {
    given::<Certificates>([intended(1).into()]).when(use_certificate(1)).then_refused(Error::Unknown);
}

#[test]
fn each_threshold_is_noticed_once_and_a_larger_one_not_after_a_smaller() {
    let noticed = |days| Event::from(notice(1, days));
    given::<Certificates>(active(1)).when(Command::NoticeExpiry(notice(1, 14))).then([noticed(14)]);
    let told = with(&active(1), noticed(14));
    for days in [14, 30] {
        given::<Certificates>(told.clone()).when(Command::NoticeExpiry(notice(1, days))).then_nothing();
    }
    given::<Certificates>(told.clone()).when(Command::NoticeExpiry(notice(1, 7))).then([noticed(7)]);
    assert_eq!(given::<Certificates>(told).state().find(serial(1)).unwrap().noticed_days, Some(14));
}

#[test]
fn nobody_is_told_that_a_replaced_or_revoked_certificate_will_expire() {
    given::<Certificates>(renewed()).when(Command::NoticeExpiry(notice(1, 7))).then_nothing();
    given::<Certificates>(with(&active(1), revoked(1))).when(Command::NoticeExpiry(notice(1, 7))).then_nothing();
    given::<Certificates>([]).when(Command::NoticeExpiry(notice(1, 7))).then_refused(Error::Unknown);
}

#[test]
fn the_set_shows_what_is_open_what_is_active_and_what_ever_was() {
    let set = given::<Certificates>(with(&renewed(), intended(3))).state();
    assert_eq!(set.open_intents(), [intended(3)]);
    assert_eq!(set.active().unwrap().serial_number(), serial(2));
    let all: Vec<SerialNumber> = set.issued().iter().map(Certificate::serial_number).collect();
    assert_eq!(all, [serial(1), serial(2)]);
    assert_eq!(set.find(serial(3)), None, "an intent is no certificate");
}

//! A superseded certificate that turns up tells that its key is held twice. It is recorded once.

use signalbeam_domain::certificate::{CertificateReuseSuspected, ReuseSign, Sighting};

use super::*;

fn suspect(number: u8, sign: ReuseSign) -> Command {
    Command::SuspectReuse { serial_number: serial(number), seen: Sighting { sign, from: Some(ADDRESS) } }
}

fn suspected(number: u8, successor: u8, how: ReuseSign) -> Event {
    let seen_from = Some(ADDRESS);
    CertificateReuseSuspected { serial_number: serial(number), successor: serial(successor), seen_from, how }.into()
}

const SHOWN: ReuseSign = ReuseSign::PresentedAfterSuccession;
const OTHER_KEY: ReuseSign = ReuseSign::AskedForAnotherKey;

#[test]
fn what_is_shown_after_its_successor_was_used_is_suspected_once() {
    let used = with(&renewed(), used(2));
    given::<Certificates>(used.clone()).when(suspect(1, SHOWN)).then([suspected(1, 2, SHOWN)]);
    let told = with(&used, suspected(1, 2, SHOWN));
    for sign in [SHOWN, OTHER_KEY] {
        given::<Certificates>(told.clone()).when(suspect(1, sign)).then_nothing();
    }
    assert!(given::<Certificates>(told).state().find(serial(1)).unwrap().is_reuse_suspected);
}

#[test]
fn what_is_shown_while_its_successor_is_unused_may_be_a_repeat() {
    given::<Certificates>(renewed()).when(suspect(1, SHOWN)).then_nothing();
    given::<Certificates>(renewed()).when(suspect(1, OTHER_KEY)).then([suspected(1, 2, OTHER_KEY)]);
}

#[test]
fn what_took_the_place_may_itself_have_been_replaced_before_it_was_used() {
    let history = [renewed(), vec![renewing(3, 2).into(), superseded(2, 3), issued(renewing(3, 2))]].concat();
    given::<Certificates>(history.clone()).when(suspect(1, SHOWN)).then_nothing();
    let used = with(&history, used(3));
    for number in [1, 2] {
        given::<Certificates>(used.clone()).when(suspect(number, SHOWN)).then([suspected(number, 3, SHOWN)]);
    }
}

#[test]
fn nothing_is_suspected_of_a_certificate_that_was_not_replaced() {
    for sign in [SHOWN, OTHER_KEY] {
        given::<Certificates>(active(1)).when(suspect(1, sign)).then_nothing();
        given::<Certificates>(with(&active(1), revoked(1))).when(suspect(1, sign)).then_nothing();
        given::<Certificates>(with(&renewed(), used(2))).when(suspect(2, sign)).then_nothing();
        given::<Certificates>([]).when(suspect(1, sign)).then_refused(Error::Unknown);
    }
}

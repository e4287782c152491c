//! A device may be asked to renew before its certificate's end demands it, and may be let renew for a while after it.

use signalbeam_domain::certificate::CertificateRenewalRequested;

use super::*;

fn request(number: u8, from: i64) -> CertificateRenewalRequested {
    CertificateRenewalRequested {
        serial_number: serial(number),
        window_start: day(from),
        window_end: day(from + 1),
        reason: Some(reason("the authority is replaced")),
    }
}

fn ask(number: u8, from: i64) -> Command {
    Command::RequestRenewal(request(number, from))
}

#[test]
fn a_certificate_that_is_asked_to_be_renewed_may_be_from_then_on() {
    given::<Certificates>(active(1)).at(day(3)).when(ask(1, 5)).then([request(1, 5).into()]);
    let asked = with(&active(1), request(1, 5));
    given::<Certificates>(asked.clone()).at(day(5)).when(intend(renewing(2, 1))).then([renewing(2, 1).into()]);
    given::<Certificates>(asked)
        .at(day(4))
        .when(intend(renewing(2, 1)))
        .then_refused(Error::NotRenewable { renewable_from: Some(day(5)) });
}

#[test]
fn a_request_never_makes_a_certificate_renewable_later() {
    let asked = with(&active(1), request(1, 80));
    given::<Certificates>(asked).at(day(60)).when(intend(renewing(2, 1))).then([renewing(2, 1).into()]);
}

#[test]
fn it_is_asked_once_unless_the_window_is_to_open_earlier() {
    let asked = with(&active(1), request(1, 5));
    for later in [5, 6] {
        given::<Certificates>(asked.clone()).at(day(1)).when(ask(1, later)).then_nothing();
    }
    given::<Certificates>(asked).at(day(1)).when(ask(1, 4)).then([request(1, 4).into()]);
}

#[test]
fn nobody_is_asked_to_renew_what_has_ended() {
    for history in [renewed(), with(&active(1), revoked(1))] {
        given::<Certificates>(history).at(day(1)).when(ask(1, 1)).then_nothing();
    }
    given::<Certificates>(active(1)).at(day(91)).when(ask(1, 91)).then_nothing();
    given::<Certificates>([]).at(day(1)).when(ask(1, 1)).then_refused(Error::Unknown);
}

#[test]
fn the_successor_is_not_asked_for() {
    let history =
        [with(&active(1), request(1, 5)), vec![renewing(2, 1).into(), superseded(1, 2), issued(renewing(2, 1))]];
    let set = given::<Certificates>(history.concat()).state();
    assert_eq!(set.active().unwrap().renewal_requested, None);
}

#[test]
fn a_certificate_of_an_authority_that_signs_no_more_is_renewable_from_then_on() {
    let rules = RenewalRules { authority_rotated_at: Some(day(10)), ..RenewalRules::window(30) };
    let set = given::<Certificates>(active(1)).state();
    assert_eq!(set.check_renewable(serial(1), rules, day(10)), Ok(()));
    let early = set.check_renewable(serial(1), rules, day(9));
    assert_eq!(early, Err(Error::NotRenewable { renewable_from: Some(day(10)) }));
}

#[test]
fn a_grace_after_the_end_counts_whole_days_and_its_last_second_as_a_whole() {
    let set = given::<Certificates>(active(1)).state();
    let rules = RenewalRules { grace_days: 7, ..RenewalRules::window(30) };
    let over = Err(Error::NotRenewable { renewable_from: None });
    assert_eq!(set.check_renewable(serial(1), rules, day(97)), Ok(()));
    assert_eq!(set.check_renewable(serial(1), rules, day(97).plus_seconds(1)), over);
    assert_eq!(set.check_renewable(serial(1), RenewalRules::window(30), day(97)), over, "off unless it is granted");
    let replaced = given::<Certificates>(renewed()).state();
    assert_eq!(replaced.check_renewable(serial(1), rules, day(91)), over);
    let ended = given::<Certificates>(with(&active(1), revoked(1))).state();
    assert_eq!(ended.check_renewable(serial(1), rules, day(91)), Err(Error::Revoked));
}

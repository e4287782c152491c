//! A certificate is renewed within its window, by its own device; the old one authenticates nothing any more.

use super::*;

/// 30 days before the end of certificate 1.
fn window_start() -> Timestamp {
    day(60)
}

fn microsecond_before(moment: Timestamp) -> Timestamp {
    Timestamp::from_unix_microseconds(moment.unix_microseconds() - 1)
}

#[test]
fn the_window_opens_at_its_first_moment_and_not_before() {
    given::<Certificates>(active(1)).at(window_start()).when(intend(renewing(2, 1))).then([renewing(2, 1).into()]);
    given::<Certificates>(active(1))
        .at(microsecond_before(window_start()))
        .when(intend(renewing(2, 1)))
        .then_refused(Error::NotRenewable { renewable_from: Some(window_start()) });
}

#[test]
fn the_window_closes_after_the_whole_of_the_last_second() {
    let after = day(90).plus_seconds(1);
    given::<Certificates>(active(1)).at(day(90)).when(intend(renewing(2, 1))).then([renewing(2, 1).into()]);
    given::<Certificates>(active(1))
        .at(microsecond_before(after))
        .when(intend(renewing(2, 1)))
        .then([renewing(2, 1).into()]);
    given::<Certificates>(active(1))
        .at(after)
        .when(intend(renewing(2, 1)))
        .then_refused(Error::NotRenewable { renewable_from: None });
}

#[test]
fn a_window_longer_than_the_certificates_life_is_open_from_the_start() {
    let command = Command::Intend { intended: renewing(2, 1), rules: RenewalRules::window(u16::MAX) };
    given::<Certificates>(active(1)).at(day(0)).when(command).then([renewing(2, 1).into()]);
}

#[test]
fn an_unknown_certificate_and_a_mere_intent_are_not_renewed() {
    for history in [vec![], vec![intended(1).into()], with(&[intended(1).into()], abandoned(1))] {
        given::<Certificates>(history).at(day(70)).when(intend(renewing(2, 1))).then_refused(Error::Unknown);
    }
}

#[test]
fn a_superseded_certificate_is_not_renewable_and_never_will_be() {
    given::<Certificates>(renewed())
        .at(day(70))
        .when(intend(renewing(3, 1)))
        .then_refused(Error::NotRenewable { renewable_from: None });
}

#[test]
fn a_revoked_certificate_is_refused_as_revoked_in_and_out_of_the_window() {
    for now in [day(0), day(70), day(400)] {
        given::<Certificates>(with(&active(1), revoked(1)))
            .at(now)
            .when(intend(renewing(2, 1)))
            .then_refused(Error::Revoked);
    }
}

#[test]
fn a_renewal_supersedes_the_certificate_it_renews() {
    let history = with(&active(1), renewing(2, 1));
    given::<Certificates>(history).when(issue(renewing(2, 1))).then([superseded(1, 2), issued(renewing(2, 1))]);
}

#[test]
fn a_certificate_revoked_while_its_renewal_is_signed_has_no_successor() {
    let history = with(&with(&active(1), renewing(2, 1)), revoked(1));
    given::<Certificates>(history).when(issue(renewing(2, 1))).then_refused(Error::Revoked);
}

#[test]
fn of_two_renewals_at_once_the_first_to_be_recorded_wins() {
    let both = with(&with(&active(1), renewing(2, 1)), renewing(3, 1));
    let history = [both, vec![superseded(1, 2), issued(renewing(2, 1))]].concat();
    let over = Error::NotRenewable { renewable_from: None };
    given::<Certificates>(history).when(issue(renewing(3, 1))).then_refused(over);
}

fn repeat(history: Vec<Event>, of: u8, public_key: u8) -> Option<SerialNumber> {
    let set = given::<Certificates>(history).state();
    set.repeated_renewal(serial(of), digest(public_key)).map(Certificate::serial_number)
}

#[test]
fn a_repeated_renewal_gets_the_successor_again() {
    assert_eq!(repeat(renewed(), 1, 2), Some(serial(2)));
}

#[test]
fn a_repeat_with_another_public_key_gets_nothing() {
    assert_eq!(repeat(renewed(), 1, 1), None);
}

#[test]
fn a_repeat_gets_nothing_once_the_successor_was_used_revoked_or_replaced() {
    assert_eq!(repeat(with(&renewed(), used(2)), 1, 2), None);
    assert_eq!(repeat(with(&renewed(), revoked(2)), 1, 2), None);
    let replaced = [renewed(), vec![intended(3).into(), superseded(2, 3), issued(intended(3))]].concat();
    assert_eq!(repeat(replaced, 1, 2), None);
}

#[test]
fn a_repeat_gets_nothing_once_the_old_certificate_was_revoked_by_name() {
    assert_eq!(repeat(with(&renewed(), revoked(1)), 1, 2), None);
}

#[test]
fn only_a_renewal_has_a_repeat() {
    let issued_anew = [active(1), vec![intended(2).into(), superseded(1, 2), issued(intended(2))]].concat();
    assert_eq!(repeat(issued_anew, 1, 2), None, "issued anew, not renewed");
    assert_eq!(repeat(active(1), 1, 1), None, "still active");
    assert_eq!(repeat(vec![], 1, 2), None, "unknown");
}

#[test]
fn whether_a_certificate_is_renewable_can_be_asked_before_a_serial_number_is_drawn() {
    let revoked = with(&active(1), revoked(1));
    for (history, now) in [vec![], active(1), renewed(), revoked]
        .iter()
        .flat_map(|history| [day(0), window_start(), day(90), day(91)].map(|now| (history, now)))
    {
        let answer =
            given::<Certificates>(history.clone()).state().check_renewable(serial(1), RenewalRules::window(30), now);
        let outcome = given::<Certificates>(history.clone()).at(now).when(intend(renewing(9, 1)));
        match answer {
            Ok(()) => outcome.then([renewing(9, 1).into()]),
            Err(why) => outcome.then_refused(why),
        }
    }
}

//! Intended, signed, recorded: in this order, with nothing in between going unnoticed.

use super::*;

#[test]
fn what_will_be_signed_is_recorded_first() {
    given::<Certificates>([]).when(intend(intended(1))).then([intended(1).into()]);
}

#[test]
fn issuing_anew_knows_no_window() {
    for now in [day(0), day(60), day(400)] {
        given::<Certificates>(active(1)).at(now).when(intend(intended(2))).then([intended(2).into()]);
    }
}

#[test]
fn a_serial_number_is_taken_by_an_intent_an_issued_an_abandoned_and_a_revoked_certificate() {
    for history in [
        vec![intended(1).into()],
        active(1),
        with(&[intended(1).into()], abandoned(1)),
        with(&active(1), revoked(1)),
        renewed(),
    ] {
        given::<Certificates>(history).when(intend(intended(1))).then_refused(Error::SerialTaken);
    }
}

#[test]
fn what_was_intended_is_issued() {
    given::<Certificates>([intended(1).into()]).when(issue(intended(1))).then([issued(intended(1))]);
}

#[test]
fn nothing_is_issued_that_was_not_intended() {
    given::<Certificates>([]).when(issue(intended(1))).then_refused(Error::Unknown);
    given::<Certificates>([intended(2).into()]).when(issue(intended(1))).then_refused(Error::Unknown);
}

#[test]
fn what_is_issued_differs_in_nothing_from_what_was_intended() {
    let with_other = [
        CertificateIntended { profile: "server".into(), ..intended(1) },
        CertificateIntended { public_key_sha256: digest(9), ..intended(1) },
        CertificateIntended { not_after: day(91), ..intended(1) },
        CertificateIntended { renewal_of: Some(serial(9)), ..intended(1) },
    ];
    for other in with_other {
        given::<Certificates>([intended(1).into()]).when(issue(other)).then_refused(Error::NotAsIntended);
    }
}

#[test]
fn issuing_supersedes_the_active_certificate() {
    let history = with(&active(1), intended(2));
    given::<Certificates>(history).when(issue(intended(2))).then([superseded(1, 2), issued(intended(2))]);
    let history = with(&renewed(), intended(3));
    given::<Certificates>(history).when(issue(intended(3))).then([superseded(2, 3), issued(intended(3))]);
}

#[test]
fn issuing_leaves_a_revoked_certificate_revoked() {
    let history = with(&with(&active(1), revoked(1)), intended(2));
    given::<Certificates>(history).when(issue(intended(2))).then([issued(intended(2))]);
}

#[test]
fn a_certificate_that_is_recorded_already_is_not_recorded_twice() {
    given::<Certificates>(active(1)).when(issue(intended(1))).then_nothing();
    given::<Certificates>(renewed()).when(issue(renewing(2, 1))).then_nothing();
}

#[test]
fn a_recorded_certificate_that_has_ended_is_not_handed_out_again() {
    given::<Certificates>(with(&active(1), revoked(1))).when(issue(intended(1))).then_refused(Error::Revoked);
    given::<Certificates>(renewed()).when(issue(intended(1))).then_refused(Error::Revoked);
}

#[test]
fn another_certificate_does_not_take_the_place_of_a_recorded_one() {
    let mut other = signed(intended(1));
    other.certificate_pem.push('x');
    given::<Certificates>(active(1)).when(Command::Issue(other)).then_refused(Error::NotAsIntended);
}

#[test]
fn an_open_intent_is_abandoned_once() {
    let open = [Event::from(intended(1))];
    given::<Certificates>(open.clone()).when(Command::Abandon(abandoned(1))).then([abandoned(1).into()]);
    given::<Certificates>(with(&open, abandoned(1))).when(Command::Abandon(abandoned(1))).then_nothing();
    assert_eq!(given::<Certificates>(with(&open, abandoned(1))).state().open_intents(), []);
}

#[test]
fn an_issued_certificate_is_not_abandoned() {
    given::<Certificates>(active(1)).when(Command::Abandon(abandoned(1))).then_nothing();
}

#[test]
fn an_abandoned_intent_is_issued_no_more() {
    let history = with(&[intended(1).into()], abandoned(1));
    given::<Certificates>(history).when(issue(intended(1))).then_refused(Error::Revoked);
}

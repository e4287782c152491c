//! What is revoked stays revoked.

use super::*;

#[test]
fn an_active_certificate_is_revoked() {
    given::<Certificates>(active(1)).when(revoke(1)).then([revoked(1)]);
    assert_eq!(standing(with(&active(1), revoked(1)), 1), Standing::Revoked);
}

#[test]
fn an_expired_certificate_may_still_be_revoked() {
    given::<Certificates>(active(1)).at(day(400)).when(revoke(1)).then([revoked(1)]);
}

#[test]
fn a_superseded_certificate_may_still_be_revoked_and_its_successor_stays() {
    given::<Certificates>(renewed()).when(revoke(1)).then([revoked(1)]);
    assert_eq!(standing(renewed(), 1), Standing::Superseded { by: serial(2) });
    assert_eq!(standing(with(&renewed(), revoked(1)), 2), Standing::Active);
}

#[test]
fn revoking_twice_is_revoking_once() {
    given::<Certificates>(with(&active(1), revoked(1))).when(revoke(1)).then_nothing();
    let other = revoke_as(1, RevocationReason::CessationOfOperation);
    given::<Certificates>(with(&active(1), revoked(1))).when(other).then_nothing();
}

#[test]
fn what_was_never_issued_cannot_be_revoked() {
    given::<Certificates>([]).when(revoke(1)).then_refused(Error::Unknown);
    given::<Certificates>([intended(1).into()]).when(revoke(1)).then_refused(Error::Unknown);
}

#[test]
fn revoking_all_revokes_the_active_one_and_leaves_what_has_ended() {
    let command =
        Command::RevokeAll { reason: Some(reason("leaked")), reason_code: Some(RevocationReason::KeyCompromise) };
    given::<Certificates>(renewed()).when(command.clone()).then([revoked(2)]);
    given::<Certificates>(with(&active(1), revoked(1))).when(command.clone()).then_nothing();
    given::<Certificates>([intended(1).into()]).when(command).then_nothing();
}

#[test]
fn revoking_a_line_reaches_the_one_that_took_the_place_meanwhile() {
    let line = |number| {
        let (reason, reason_code) = (Some(reason("leaked")), Some(RevocationReason::KeyCompromise));
        Command::RevokeLine { serial_number: serial(number), reason, reason_code }
    };
    given::<Certificates>(active(1)).when(line(1)).then([revoked(1)]);
    given::<Certificates>(renewed()).when(line(1)).then([revoked(1), revoked(2)]);
    given::<Certificates>(renewed()).when(line(2)).then([revoked(2)]);
    let third = vec![renewing(3, 2).into(), superseded(2, 3), issued(renewing(3, 2))];
    let twice = [renewed(), third].concat();
    given::<Certificates>(twice).when(line(1)).then([revoked(1), revoked(3)]);
    given::<Certificates>(with(&renewed(), revoked(1))).when(line(1)).then_nothing();
    given::<Certificates>(with(&renewed(), revoked(2))).when(line(1)).then([revoked(1)]);
    given::<Certificates>([]).when(line(1)).then_refused(Error::Unknown);
}

#[test]
fn after_a_revocation_no_certificate_is_active() {
    assert_eq!(given::<Certificates>(with(&active(1), revoked(1))).state().active(), None);
}

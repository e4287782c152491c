//! A device has one API key in force. Losing an answer costs it nothing; an admin's word takes effect at once.

use signalbeam_domain::api_key::{
    ApiKeyCommand as Command, ApiKeyError as Error, ApiKeyEvent as Event, ApiKeys, KeyExpiryNoticed, KeyFirstUsed,
    KeyOrigin, KeyRevocationCause, KeyRevoked,
};

use crate::fixtures::{key, key_id, reason};
use crate::given::given;

use KeyOrigin::{AdminRotation, Claim, DeviceRotation};

fn issue(number: u8, origin: KeyOrigin) -> Command {
    Command::Issue(key(number, origin))
}

fn issued(number: u8, origin: KeyOrigin) -> Event {
    key(number, origin).into()
}

fn use_key(number: u8) -> Command {
    Command::NoteFirstUse { key_id: key_id(number) }
}

fn used(number: u8) -> Event {
    KeyFirstUsed { key_id: key_id(number) }.into()
}

fn superseded(number: u8) -> Event {
    KeyRevoked { key_id: key_id(number), cause: KeyRevocationCause::Superseded, reason: None }.into()
}

fn revoke_all(cause: KeyRevocationCause) -> Command {
    Command::RevokeAll { cause, reason: Some(reason("leaked")) }
}

fn revoked(number: u8, cause: KeyRevocationCause) -> Event {
    KeyRevoked { key_id: key_id(number), cause, reason: Some(reason("leaked")) }.into()
}

fn notice(number: u8, threshold_days: u16) -> KeyExpiryNoticed {
    KeyExpiryNoticed { key_id: key_id(number), threshold_days }
}

#[test]
fn the_device_claims_its_first_key() {
    given::<ApiKeys>([]).when(issue(1, Claim)).then([issued(1, Claim)]);
}

#[test]
fn a_claim_may_be_repeated_and_ends_the_key_before() {
    given::<ApiKeys>([issued(1, Claim)]).when(issue(2, Claim)).then([superseded(1), issued(2, Claim)]);
    let history = [issued(1, Claim), superseded(1), issued(2, Claim)];
    given::<ApiKeys>(history).when(issue(3, Claim)).then([superseded(2), issued(3, Claim)]);
}

#[test]
fn the_first_use_closes_the_claim() {
    given::<ApiKeys>([issued(1, Claim), used(1)]).when(issue(2, Claim)).then_refused(Error::AlreadyClaimed);
}

#[test]
fn an_admins_rotation_ends_every_key_at_once() {
    given::<ApiKeys>([issued(1, Claim), used(1)])
        .when(issue(2, AdminRotation))
        .then([superseded(1), issued(2, AdminRotation)]);
    given::<ApiKeys>([issued(1, Claim), used(1), issued(2, DeviceRotation)]).when(issue(3, AdminRotation)).then([
        superseded(1),
        superseded(2),
        issued(3, AdminRotation),
    ]);
}

#[test]
fn an_admins_rotation_opens_the_claim_again_until_the_next_first_use() {
    let rotated = vec![issued(1, Claim), used(1), superseded(1), issued(2, AdminRotation)];
    given::<ApiKeys>(rotated.clone()).when(issue(3, Claim)).then([superseded(2), issued(3, Claim)]);
    let used_then = [rotated, vec![used(2)]].concat();
    given::<ApiKeys>(used_then).when(issue(3, Claim)).then_refused(Error::AlreadyClaimed);
}

#[test]
fn a_device_may_have_its_first_key_from_an_admins_rotation() {
    given::<ApiKeys>([]).when(issue(1, AdminRotation)).then([issued(1, AdminRotation)]);
}

#[test]
fn a_devices_own_rotation_keeps_the_old_key() {
    given::<ApiKeys>([issued(1, Claim), used(1)]).when(issue(2, DeviceRotation)).then([issued(2, DeviceRotation)]);
}

#[test]
fn the_first_use_of_the_successor_ends_the_old_key() {
    let history = [issued(1, Claim), used(1), issued(2, DeviceRotation)];
    given::<ApiKeys>(history).when(use_key(2)).then([used(2), superseded(1)]);
}

#[test]
fn the_old_key_in_use_does_not_end_the_successor() {
    let history = [issued(1, Claim), used(1), issued(2, DeviceRotation)];
    given::<ApiKeys>(history).when(use_key(1)).then_nothing();
    let unused = [issued(1, Claim), issued(2, DeviceRotation)];
    given::<ApiKeys>(unused).when(use_key(1)).then([used(1)]);
}

#[test]
fn a_rotation_repeated_after_a_lost_answer_replaces_only_the_unused_successor() {
    let history = [issued(1, Claim), used(1), issued(2, DeviceRotation)];
    given::<ApiKeys>(history).when(issue(3, DeviceRotation)).then([superseded(2), issued(3, DeviceRotation)]);
}

#[test]
fn a_successor_in_use_is_kept_by_the_next_rotation() {
    let history = [issued(1, Claim), used(1), issued(2, DeviceRotation), used(2), superseded(1)];
    given::<ApiKeys>(history).when(issue(3, DeviceRotation)).then([issued(3, DeviceRotation)]);
}

#[test]
fn a_device_without_a_key_in_force_cannot_give_itself_one() {
    given::<ApiKeys>([]).when(issue(1, DeviceRotation)).then_refused(Error::NothingToRotate);
    let by_admin = KeyRevoked { key_id: key_id(1), cause: KeyRevocationCause::Admin, reason: None }.into();
    let revoked = [issued(1, Claim), used(1), by_admin];
    given::<ApiKeys>(revoked).when(issue(2, DeviceRotation)).then_refused(Error::NothingToRotate);
}

#[test]
fn a_key_that_ended_asks_for_no_successor() {
    let succeed = |presented: u8| Command::Succeed { issued: key(9, DeviceRotation), presented: key_id(presented) };
    let in_force = [issued(1, Claim), used(1)];
    given::<ApiKeys>(in_force).when(succeed(1)).then([issued(9, DeviceRotation)]);
    let rotated_by_admin = [issued(1, Claim), used(1), superseded(1), issued(2, AdminRotation)];
    given::<ApiKeys>(rotated_by_admin).when(succeed(1)).then_refused(Error::Revoked);
    let succeeded = [issued(1, Claim), used(1), issued(2, DeviceRotation), used(2), superseded(1)];
    given::<ApiKeys>(succeeded.clone()).when(succeed(1)).then_refused(Error::Revoked);
    given::<ApiKeys>(succeeded).when(succeed(2)).then([issued(9, DeviceRotation)]);
    given::<ApiKeys>([issued(1, Claim)]).when(succeed(2)).then_refused(Error::Unknown);
}

#[test]
fn a_devices_rotation_does_not_open_the_claim() {
    let history = [issued(1, Claim), used(1), issued(2, DeviceRotation)];
    given::<ApiKeys>(history).when(issue(3, Claim)).then_refused(Error::AlreadyClaimed);
}

#[test]
fn an_open_claim_ends_every_other_key() {
    let history = [issued(1, Claim), issued(2, DeviceRotation)];
    given::<ApiKeys>(history).when(issue(3, Claim)).then([superseded(1), superseded(2), issued(3, Claim)]);
}

#[test]
fn a_first_use_is_recorded_once() {
    given::<ApiKeys>([issued(1, Claim)]).when(use_key(1)).then([used(1)]);
    given::<ApiKeys>([issued(1, Claim), used(1)]).when(use_key(1)).then_nothing();
}

#[test]
fn a_key_that_ended_or_never_was_cannot_be_used() {
    for ended in [superseded(1), revoked(1, KeyRevocationCause::Admin)] {
        given::<ApiKeys>([issued(1, Claim), ended]).when(use_key(1)).then_refused(Error::Revoked);
    }
    given::<ApiKeys>([issued(1, Claim)]).when(use_key(2)).then_refused(Error::Unknown);
}

#[test]
fn revoking_ends_every_key_with_its_cause_and_reason() {
    for cause in [KeyRevocationCause::Admin, KeyRevocationCause::Decommissioned, KeyRevocationCause::Retired] {
        given::<ApiKeys>([issued(1, Claim), used(1), issued(2, DeviceRotation)])
            .when(revoke_all(cause))
            .then([revoked(1, cause), revoked(2, cause)]);
    }
}

#[test]
fn revoking_twice_is_revoking_once() {
    let history = [issued(1, Claim), revoked(1, KeyRevocationCause::Admin)];
    given::<ApiKeys>(history).when(revoke_all(KeyRevocationCause::Admin)).then_nothing();
    given::<ApiKeys>([]).when(revoke_all(KeyRevocationCause::Admin)).then_nothing();
}

#[test]
fn a_revocation_closes_the_claim_also_where_no_key_was_used() {
    for cause in [KeyRevocationCause::Admin, KeyRevocationCause::Decommissioned, KeyRevocationCause::Retired] {
        let history = [issued(1, Claim), revoked(1, cause)];
        given::<ApiKeys>(history).when(issue(2, Claim)).then_refused(Error::AlreadyClaimed);
    }
}

#[test]
fn an_admins_rotation_opens_a_claim_that_a_revocation_closed() {
    let history = [issued(1, Claim), revoked(1, KeyRevocationCause::Admin), issued(2, AdminRotation)];
    given::<ApiKeys>(history).when(issue(3, Claim)).then([superseded(2), issued(3, Claim)]);
}

#[test]
fn each_threshold_is_noticed_once_and_a_larger_one_not_after_a_smaller() {
    let noticed = |days| Event::from(notice(1, days));
    given::<ApiKeys>([issued(1, Claim)]).when(Command::NoticeExpiry(notice(1, 7))).then([noticed(7)]);
    let told = vec![issued(1, Claim), noticed(7)];
    for days in [7, 30] {
        given::<ApiKeys>(told.clone()).when(Command::NoticeExpiry(notice(1, days))).then_nothing();
    }
    given::<ApiKeys>(told).when(Command::NoticeExpiry(notice(1, 1))).then([noticed(1)]);
}

#[test]
fn nobody_is_told_that_an_ended_key_will_expire() {
    given::<ApiKeys>([issued(1, Claim), superseded(1)]).when(Command::NoticeExpiry(notice(1, 7))).then_nothing();
    given::<ApiKeys>([]).when(Command::NoticeExpiry(notice(1, 7))).then_refused(Error::Unknown);
}

#[test]
fn the_set_shows_every_key_that_ever_was() {
    let history = [issued(1, Claim), used(1), superseded(1), issued(2, AdminRotation), notice(2, 7).into()];
    let set = given::<ApiKeys>(history).state();
    let shown: Vec<_> = set.keys().iter().map(|k| (k.issued.key_id, k.is_used, k.is_revoked, k.noticed_days)).collect();
    assert_eq!(shown, [(key_id(1), true, true, None), (key_id(2), false, false, Some(7))]);
    assert!(set.is_claimable());
}

//! An admin token that was revoked stays revoked, and so does whatever was issued before a moment.

use signalbeam_domain::admin_token::{
    AdminTokenCommand as Command, AdminTokenError as Error, AdminTokenEvent as Event, AdminTokenRevoked,
    AllAdminTokensRevoked, RevokedAdminTokens,
};
use signalbeam_domain::{AdminTokenId, Timestamp, TokenIssuer};

use crate::fixtures::{day, reason};
use crate::given::given;

fn jti(text: &str) -> AdminTokenId {
    AdminTokenId::parse(text).unwrap()
}

fn revoked(text: &str) -> AdminTokenRevoked {
    AdminTokenRevoked {
        jti: jti(text),
        issuer: TokenIssuer::built_in(),
        reason: Some(reason("laptop stolen")),
        expires_at: Some(day(1)),
    }
}

fn all_before(moment: Timestamp) -> AllAdminTokensRevoked {
    AllAdminTokensRevoked { issued_before: moment, reason: None }
}

#[test]
fn a_token_is_revoked_once() {
    given::<RevokedAdminTokens>([]).when(Command::Revoke(revoked("a"))).then([revoked("a").into()]);
    let again = AdminTokenRevoked { reason: None, expires_at: None, ..revoked("a") };
    given::<RevokedAdminTokens>([revoked("a").into()]).when(Command::Revoke(again)).then_nothing();
}

#[test]
fn two_issuers_may_give_the_same_id() {
    let elsewhere = AdminTokenRevoked { issuer: TokenIssuer::parse("https://id.example").unwrap(), ..revoked("a") };
    let history: [Event; 1] = [revoked("a").into()];
    let before = given::<RevokedAdminTokens>(history.clone()).state();
    assert!(before.has(&TokenIssuer::built_in(), &jti("a")) && !before.has(&elsewhere.issuer, &jti("a")));
    given::<RevokedAdminTokens>(history).when(Command::Revoke(elsewhere.clone())).then([elsewhere.into()]);
}

#[test]
fn everything_issued_before_a_moment_is_revoked_and_the_moment_never_moves_back() {
    let now = day(10);
    let revoke = |moment| Command::RevokeAll(all_before(moment));
    given::<RevokedAdminTokens>([]).at(now).when(revoke(now)).then([all_before(now).into()]);
    let history = || [Event::from(all_before(day(5)))];
    given::<RevokedAdminTokens>(history()).at(now).when(revoke(day(6))).then([all_before(day(6)).into()]);
    for earlier in [day(5), day(4)] {
        given::<RevokedAdminTokens>(history()).at(now).when(revoke(earlier)).then_nothing();
    }
}

#[test]
fn tokens_that_nobody_has_made_yet_are_not_revoked() {
    let ahead = Command::RevokeAll(all_before(day(11)));
    given::<RevokedAdminTokens>([]).at(day(10)).when(ahead).then_refused(Error::Future { now: day(10) });
}

#[test]
fn a_token_with_the_name_of_the_stream_of_all_harms_neither() {
    let state = given::<RevokedAdminTokens>([all_before(day(5)).into(), revoked("all").into()]).state();
    assert_eq!(state.issued_before(), Some(day(5)));
    assert!(state.has(&TokenIssuer::built_in(), &jti("all")));
}

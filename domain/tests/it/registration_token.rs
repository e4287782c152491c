//! A registration token registers one device, once, for one tenant, before it expires.

use signalbeam_domain::Timestamp;
use signalbeam_domain::registration_token::{
    RegistrationToken, RegistrationTokenCommand as Command, RegistrationTokenError as Error,
    RegistrationTokenEvent as Event, TokenConsumed, TokenIssued, TokenRevoked,
};

use crate::fixtures::{day, digest, other_device_id, reason, registration, tenant, token};
use crate::given::{Given, given};

fn issued() -> Event {
    token().into()
}

fn consumed() -> Event {
    registration(1).into()
}

fn revoked() -> Event {
    TokenRevoked { reason: Some(reason("lost")) }.into()
}

fn consume(registration: TokenConsumed) -> Command {
    Command::Consume { secret_matches: true, registration }
}

fn at(now: Timestamp, history: impl IntoIterator<Item = Event>) -> Given<RegistrationToken> {
    given(history).at(now)
}

#[test]
fn a_token_is_issued_under_a_free_prefix() {
    at(day(0), []).when(Command::Issue(token())).then([issued()]);
}

#[test]
fn a_taken_prefix_is_drawn_again_whatever_became_of_its_token() {
    for history in [vec![issued()], vec![issued(), consumed()], vec![issued(), revoked()]] {
        let other = TokenIssued { tenant_id: tenant(2), ..token() };
        at(day(0), history).when(Command::Issue(other)).then_refused(Error::PrefixTaken);
    }
}

#[test]
fn the_first_registration_consumes_the_token() {
    at(day(0), [issued()]).when(consume(registration(1))).then([consumed()]);
}

#[test]
fn the_same_claim_secret_again_is_the_same_registration() {
    at(day(0), [issued(), consumed()]).when(consume(registration(1))).then_nothing();
}

#[test]
fn a_repeat_is_recognised_by_its_claim_secret_alone() {
    let redrawn = TokenConsumed { device_id: other_device_id(), ..registration(1) };
    at(day(0), [issued(), consumed()]).when(consume(redrawn)).then_nothing();
}

#[test]
fn the_same_registration_may_be_repeated_after_the_token_expired() {
    at(day(400), [issued(), consumed()]).when(consume(registration(1))).then_nothing();
}

#[test]
fn another_claim_secret_finds_the_token_used() {
    at(day(0), [issued(), consumed()]).when(consume(registration(2))).then_refused(Error::Used);
    at(day(400), [issued(), consumed()]).when(consume(registration(2))).then_refused(Error::Used);
}

#[test]
fn the_token_expires_at_the_moment_it_names_and_not_before() {
    let last = Timestamp::from_unix_microseconds(day(30).unix_microseconds() - 1);
    at(last, [issued()]).when(consume(registration(1))).then([consumed()]);
    at(day(30), [issued()]).when(consume(registration(1))).then_refused(Error::Expired(day(30)));
}

#[test]
fn a_revoked_token_registers_nothing() {
    at(day(0), [issued(), revoked()]).when(consume(registration(1))).then_refused(Error::Revoked);
    at(day(30), [issued(), revoked()]).when(consume(registration(1))).then_refused(Error::Revoked);
}

#[test]
fn an_unknown_token_is_invalid() {
    at(day(0), []).when(consume(registration(1))).then_refused(Error::Invalid);
}

#[test]
fn whoever_lacks_the_secret_or_the_tenant_learns_nothing_of_the_tokens_fate() {
    let histories = [vec![issued()], vec![issued(), consumed()], vec![issued(), revoked()]];
    for (history, now) in histories.iter().flat_map(|history| [(history, day(0)), (history, day(400))]) {
        let guess = Command::Consume { secret_matches: false, registration: registration(1) };
        at(now, history.clone()).when(guess).then_refused(Error::Invalid);
        let foreign = TokenConsumed { tenant_id: tenant(2), ..registration(1) };
        at(now, history.clone()).when(consume(foreign)).then_refused(Error::Invalid);
    }
}

#[test]
fn an_open_token_is_revoked_also_when_it_has_expired() {
    for now in [day(0), day(400)] {
        at(now, [issued()]).when(Command::Revoke { reason: Some(reason("lost")) }).then([revoked()]);
    }
}

#[test]
fn a_used_token_cannot_be_revoked() {
    at(day(0), [issued(), consumed()]).when(Command::Revoke { reason: None }).then_refused(Error::Used);
}

#[test]
fn revoking_twice_is_revoking_once() {
    at(day(0), [issued(), revoked()]).when(Command::Revoke { reason: Some(reason("again")) }).then_nothing();
}

#[test]
fn an_unknown_token_cannot_be_revoked() {
    at(day(0), []).when(Command::Revoke { reason: None }).then_refused(Error::Invalid);
}

#[test]
fn the_token_shows_how_it_was_issued_and_what_consumed_it() {
    let unknown = at(day(0), []).state();
    assert_eq!((unknown.issued(), unknown.registration()), (None, None));
    let open = at(day(0), [issued()]).state();
    assert_eq!((open.issued(), open.registration()), (Some(&token()), None));
    let used = at(day(0), [issued(), consumed()]).state();
    assert_eq!(used.registration().unwrap().claim_secret_sha256, digest(1));
    assert_eq!(at(day(0), [issued(), revoked()]).state().registration(), None);
}

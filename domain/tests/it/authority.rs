//! A certificate authority signs from its activation until another one does, and is trusted until it is retired.

use signalbeam_domain::authority::{
    Authority, AuthorityActivated, AuthorityCommand as Command, AuthorityCreated, AuthorityError as Error,
    AuthorityEvent as Event, AuthorityRetired, AuthorityRotated, AuthorityStatus as Status, ServiceCertificateIntended,
    ServicePurpose,
};
use signalbeam_domain::event::NoDetails;

use signalbeam_domain::Digest;

use crate::fixtures::{authority_id, day, fingerprint, serial};
use crate::given::{Given, given};

pub(crate) fn creation() -> AuthorityCreated {
    AuthorityCreated {
        authority_id: authority_id(1),
        subject: "CN=SignalBeam Root CA, O=SignalBeam, C=US".into(),
        serial_number: serial(1),
        fingerprint: fingerprint(1),
        key_type: "rsa-2048".into(),
        not_before: day(0),
        not_after: day(3650),
        certificate_pem: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".into(),
        issuer_id: None,
        key_slot: None,
        issuers_pem: None,
    }
}

fn activated() -> Event {
    AuthorityActivated(NoDetails {}).into()
}

fn rotated() -> Event {
    AuthorityRotated { successor_id: authority_id(2) }.into()
}

fn retired() -> Event {
    AuthorityRetired::default().into()
}

fn rotate() -> Command {
    Command::Rotate { successor_id: authority_id(2) }
}

fn intended() -> ServiceCertificateIntended {
    ServiceCertificateIntended {
        serial_number: serial(7),
        purpose: ServicePurpose::TlsServer,
        subject: "CN=SignalBeam server, O=SignalBeam".into(),
        public_key_sha256: Digest([7; 32]),
        not_before: day(1),
        not_after: day(91),
    }
}

const ALL: [Status; 4] = [Status::Prepared, Status::Active, Status::Rotated, Status::Retired];

fn that_is(status: Status) -> Given<Authority> {
    let created = Event::from(creation());
    given(match status {
        Status::Prepared => vec![created],
        Status::Active => vec![created, activated()],
        Status::Rotated => vec![created, activated(), rotated()],
        Status::Retired => vec![created, activated(), rotated(), retired()],
    })
}

#[test]
fn an_authority_is_created_once() {
    given::<Authority>([]).when(Command::Create(creation())).then([creation().into()]);
    for status in ALL {
        that_is(status).when(Command::Create(creation())).then_nothing();
    }
}

#[test]
fn an_authority_never_changes_its_certificate() {
    for status in ALL {
        let other = AuthorityCreated { fingerprint: fingerprint(2), ..creation() };
        that_is(status).when(Command::Create(other)).then_refused(Error::OtherCertificate);
    }
}

#[test]
fn nothing_can_be_done_with_an_unknown_authority() {
    for command in [Command::Activate, rotate(), Command::Retire { reason_code: None }] {
        given::<Authority>([]).when(command).then_refused(Error::Unknown);
    }
}

#[test]
fn a_prepared_authority_is_activated_once() {
    that_is(Status::Prepared).when(Command::Activate).then([activated()]);
    that_is(Status::Active).when(Command::Activate).then_nothing();
}

#[test]
fn an_authority_that_was_replaced_never_signs_again() {
    for status in [Status::Rotated, Status::Retired] {
        that_is(status).when(Command::Activate).then_refused(Error::InvalidState { status, action: "activated" });
    }
}

#[test]
fn only_the_one_that_signs_is_replaced() {
    that_is(Status::Active).when(rotate()).then([rotated()]);
    for status in [Status::Prepared, Status::Rotated, Status::Retired] {
        that_is(status).when(rotate()).then_refused(Error::InvalidState { status, action: "rotated" });
    }
}

#[test]
fn an_authority_does_not_succeed_itself() {
    for status in ALL {
        let itself = Command::Rotate { successor_id: authority_id(1) };
        that_is(status).when(itself).then_refused(Error::OwnSuccessor);
    }
}

#[test]
fn the_one_that_signs_is_replaced_before_it_is_retired() {
    let status = Status::Active;
    that_is(status)
        .when(Command::Retire { reason_code: None })
        .then_refused(Error::InvalidState { status, action: "retired" });
}

#[test]
fn one_that_does_not_sign_is_retired_once() {
    that_is(Status::Prepared).when(Command::Retire { reason_code: None }).then([retired()]);
    that_is(Status::Rotated).when(Command::Retire { reason_code: None }).then([retired()]);
    that_is(Status::Retired).when(Command::Retire { reason_code: None }).then_nothing();
}

#[test]
fn an_authority_shows_its_certificate_and_where_it_stands() {
    for status in ALL {
        let authority = that_is(status).state();
        assert_eq!((authority.created(), authority.status()), (Some(&creation()), Some(status)));
    }
    let unknown = given::<Authority>([]).state();
    assert_eq!((unknown.created(), unknown.status()), (None, None));
}

#[test]
fn a_certificate_of_our_own_is_recorded_by_an_authority_that_is_trusted() {
    let intend = || Command::IntendServiceCertificate(intended());
    for status in [Status::Prepared, Status::Active, Status::Rotated] {
        that_is(status).when(intend()).then([intended().into()]);
    }
    let status = Status::Retired;
    that_is(status).when(intend()).then_refused(Error::InvalidState { status, action: "asked for a certificate" });
    given::<Authority>([]).when(intend()).then_refused(Error::Unknown);
}

#[test]
fn a_certificate_of_our_own_changes_nothing_of_its_authority() {
    let with = given::<Authority>([creation().into(), activated(), intended().into()]).state();
    assert_eq!(with, that_is(Status::Active).state());
}

#[test]
fn purposes_are_read_as_they_are_written() {
    for purpose in ServicePurpose::ALL {
        assert_eq!(ServicePurpose::parse(purpose.as_str()), Some(purpose));
    }
    assert_eq!(ServicePurpose::parse("other"), None);
}

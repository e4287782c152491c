//! An authority moves one way: prepared, active, rotated, retired.

use proptest::prelude::*;
use signalbeam_domain::authority::{
    Authority, AuthorityCommand as Command, AuthorityCreated, AuthorityStatus as Status,
};

use super::{Life, steps};
use crate::fixtures::{authority_id, day, fingerprint, serial};

fn created(number: u8) -> AuthorityCreated {
    AuthorityCreated {
        authority_id: authority_id(1),
        subject: "CN=SignalBeam Root CA, O=SignalBeam, C=US".into(),
        serial_number: serial(number),
        fingerprint: fingerprint(number),
        key_type: "ecdsa-p256".into(),
        not_before: day(0),
        not_after: day(3_650),
        certificate_pem: String::new(),
        issuer_id: None,
        key_slot: None,
        issuers_pem: None,
    }
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (1_u8..3).prop_map(|number| Command::Create(created(number))),
        Just(Command::Activate),
        (1_u8..3).prop_map(|number| Command::Rotate { successor_id: authority_id(number) }),
        Just(Command::Retire { reason_code: None }),
    ]
}

const fn rank(status: Option<Status>) -> u8 {
    match status {
        None => 0,
        Some(Status::Prepared) => 1,
        Some(Status::Active) => 2,
        Some(Status::Rotated) => 3,
        Some(Status::Retired) => 4,
    }
}

proptest! {
    #[test]
    fn an_authority_moves_one_way_and_keeps_its_certificate(steps in steps(command())) {
        let mut life = Life::<Authority>::new();
        for (hours, command) in steps {
            life.wait(hours);
            let (was, certificate) = (life.state.status(), life.state.created().cloned());
            let events = life.ask(command).unwrap_or_default();
            let is = life.state.status();
            let prepared_is_retired = was == Some(Status::Prepared) && is == Some(Status::Retired);
            prop_assert!(rank(is) == rank(was) + u8::try_from(events.len()).unwrap() || prepared_is_retired, "{was:?} -> {is:?}");
            prop_assert!(certificate.is_none() || certificate.as_ref() == life.state.created());
        }
        life.replays()?;
    }
}

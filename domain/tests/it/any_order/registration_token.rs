//! A token has at most one consumer.

use proptest::prelude::*;
use signalbeam_domain::registration_token::{
    RegistrationToken, RegistrationTokenCommand as Command, RegistrationTokenEvent as Event, TokenConsumed,
};

use super::{Life, steps};
use crate::fixtures::{registration, tenant, token};

#[derive(Debug, Clone)]
enum Step {
    Issue,
    Register { secret_matches: bool, tenant: u8, claim_secret: u8 },
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Issue),
        6 => (prop::bool::weighted(0.8), 1_u8..3, 1_u8..4).prop_map(|(secret_matches, tenant, claim_secret)| {
            Step::Register { secret_matches, tenant, claim_secret }
        }),
        1 => Just(Step::Revoke),
    ]
}

fn command(step: &Step) -> Command {
    match *step {
        Step::Issue => Command::Issue(token()),
        Step::Register { secret_matches, tenant: number, claim_secret } => Command::Consume {
            secret_matches,
            registration: TokenConsumed { tenant_id: tenant(number), ..registration(claim_secret) },
        },
        Step::Revoke => Command::Revoke { reason: None },
    }
}

/// What an accepted registration says of the token: it is the registration that the log holds.
fn accepted_is_recorded(token: &RegistrationToken, step: &Step) -> Result<(), TestCaseError> {
    if let Step::Register { secret_matches, tenant: number, claim_secret } = *step {
        let recorded = token.registration().expect("an accepted registration is recorded");
        prop_assert!(secret_matches);
        prop_assert_eq!(recorded.tenant_id, tenant(number));
        prop_assert_eq!(recorded.claim_secret_sha256, registration(claim_secret).claim_secret_sha256);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_token_has_at_most_one_consumer(steps in steps(step())) {
        let mut life = Life::<RegistrationToken>::new();
        for (hours, step) in &steps {
            life.wait(*hours);
            if life.ask(command(step)).is_ok() {
                accepted_is_recorded(&life.state, step)?;
            }
            let consumed: Vec<_> = life.log.iter().filter(|(_, e)| matches!(e, Event::Consumed(_))).collect();
            let is_revoked = life.events().any(|e| matches!(e, Event::Revoked(_)));
            prop_assert!(consumed.len() + usize::from(is_revoked) <= 1, "{:?}", life.log);
            prop_assert!(consumed.iter().all(|(at, _)| *at < token().expires_at), "{:?}", life.log);
        }
        life.replays()?;
    }
}

//! What was revoked stays revoked, whatever is asked after it.

use proptest::prelude::*;
use signalbeam_domain::admin_token::{
    AdminTokenCommand as Command, AdminTokenRevoked, AllAdminTokensRevoked, RevokedAdminTokens,
};
use signalbeam_domain::{AdminTokenId, TokenIssuer};

use super::{Life, steps};
use crate::fixtures::day;

fn token(number: u8, is_ours: bool) -> AdminTokenRevoked {
    AdminTokenRevoked {
        jti: AdminTokenId::parse(&format!("token-{number}")).unwrap(),
        issuer: if is_ours { TokenIssuer::built_in() } else { TokenIssuer::parse("https://id.example").unwrap() },
        reason: None,
        expires_at: None,
    }
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (0_u8..4, any::<bool>()).prop_map(|(number, is_ours)| Command::Revoke(token(number, is_ours))),
        (0_i64..400).prop_map(|number| {
            Command::RevokeAll(AllAdminTokensRevoked { issued_before: day(number), reason: None })
        }),
    ]
}

proptest! {
    #[test]
    fn nothing_that_was_revoked_comes_back(steps in steps(command())) {
        let mut life = Life::<RevokedAdminTokens>::new();
        let mut asked = vec![];
        for (hours, command) in steps {
            life.wait(hours);
            let before = life.state.issued_before();
            if let Command::Revoke(token) = &command {
                asked.push((token.issuer.clone(), token.jti.clone()));
            }
            let events = life.ask(command).unwrap_or_default();
            prop_assert!(events.len() <= 1);
            prop_assert!(life.state.issued_before() >= before);
            prop_assert!(life.state.issued_before() <= Some(life.now));
            for (issuer, jti) in &asked {
                prop_assert!(life.state.has(issuer, jti));
            }
        }
        life.replays()?;
    }
}

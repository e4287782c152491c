//! No secret prints, in whatever it is wrapped, and no secret serialises.

use std::fmt::Debug;

use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeyEvent, ApiKeys, KeyIssued, KeyOrigin};
use signalbeam_domain::registration_token::{self, RegistrationTokenCommand, RegistrationTokenEvent, TokenIssued};
use signalbeam_domain::{
    Aggregate, ApiKey, ClaimSecret, Digest, Event, InvalidCredential, RegistrationToken, SecretVerifier,
};

use crate::fixtures::{key, token};

const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3A";
const BCRYPT: &str = "$2b$12$abcdefghijklmnopqrstuuJ4N1S4bH0nqJtqzJ8oYz2uX3c5W1e2K";
const MAC: [u8; 32] = [0xd7; 32];

/// A type that must have no such trait: naming the item is ambiguous, and does not compile, where it has one.
macro_rules! lacks {
    ($type:ty: $trait:path) => {{
        trait Lacks<Proof> {
            fn proof() {}
        }
        impl<T: ?Sized> Lacks<()> for T {}
        #[allow(dead_code)]
        struct Has;
        impl<T: ?Sized + $trait> Lacks<Has> for T {}
        <$type as Lacks<_>>::proof();
    }};
}

fn verifier() -> SecretVerifier {
    SecretVerifier { bcrypt: BCRYPT.into(), mac: Digest(MAC), mac_key_id: "0011223344556677".into() }
}

fn issued_token() -> TokenIssued {
    TokenIssued { verifier: verifier(), ..token() }
}

fn issued_key() -> KeyIssued {
    KeyIssued { verifier: verifier(), ..key(1, KeyOrigin::Claim) }
}

/// Neither form of `{:?}` shows the secret or what is kept of it, as text, as hex or as a list of octets.
#[track_caller]
fn prints_no_secret(value: &dyn Debug) {
    for printed in [format!("{value:?}"), format!("{value:#?}")] {
        for secret in [SECRET, &SECRET[..12], BCRYPT, &BCRYPT[7..], "d7d7", "D7D7", "215, 215", "215,\n"] {
            assert!(!printed.contains(secret), "{secret} stands in {printed}");
        }
    }
}

#[test]
fn a_credential_prints_its_public_part_alone() {
    let token = RegistrationToken::parse(&format!("sbt_a1B2c3D4_{SECRET}")).unwrap();
    let key = ApiKey::parse(&format!("sb_device_a1B2c3D4_{SECRET}")).unwrap();
    let claim = ClaimSecret::parse(&format!("sbc_{SECRET}")).unwrap();
    prints_no_secret(&token);
    prints_no_secret(&key);
    prints_no_secret(&claim);
    prints_no_secret(&Some((token.clone(), [key.clone()], Ok::<_, ()>(claim.clone()))));
    assert_eq!(format!("{token:?}"), "sbt_a1B2c3D4_[redacted]");
    assert_eq!(format!("{key:?}"), "sb_device_a1B2c3D4_[redacted]");
    assert_eq!(format!("{claim:?}"), "sbc_[redacted]");
}

#[test]
fn a_refused_credential_is_not_quoted() {
    let wrong = |literal: &str| format!("{literal}a1B2c3D4_{SECRET}x");
    let refusals: [InvalidCredential; 3] = [
        RegistrationToken::parse(&wrong("sbt_")).unwrap_err(),
        ApiKey::parse(&wrong("sb_device_")).unwrap_err(),
        ClaimSecret::parse(&wrong("sbc_")).unwrap_err(),
    ];
    for refusal in refusals {
        prints_no_secret(&refusal);
        prints_no_secret(&refusal.to_string());
    }
}

#[test]
fn a_verifier_prints_nothing_that_helps_to_guess_in_whatever_it_is_wrapped() {
    prints_no_secret(&verifier());
    prints_no_secret(&issued_token());
    prints_no_secret(&issued_key());
    prints_no_secret(&RegistrationTokenCommand::Issue(issued_token()));
    prints_no_secret(&ApiKeyCommand::Issue(issued_key()));
    let token_event = RegistrationTokenEvent::from(issued_token());
    let key_event = ApiKeyEvent::from(issued_key());
    prints_no_secret(&token_event);
    prints_no_secret(&key_event);
    prints_no_secret(&registration_token::RegistrationToken::fold([&token_event]));
    prints_no_secret(&ApiKeys::fold([&key_event]));
    prints_no_secret(&Event::from(token_event));
    prints_no_secret(&Event::from(key_event));
}

#[test]
fn no_secret_serialises_or_displays() {
    lacks!(RegistrationToken: serde::Serialize);
    lacks!(ApiKey: serde::Serialize);
    lacks!(ClaimSecret: serde::Serialize);
    lacks!(RegistrationToken: std::fmt::Display);
    lacks!(ApiKey: std::fmt::Display);
    lacks!(ClaimSecret: std::fmt::Display);
    lacks!(SecretVerifier: std::fmt::Display);
}

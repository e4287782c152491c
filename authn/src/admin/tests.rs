//! Admin tokens that must not be accepted, and the one that must.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

fn tokens() -> AdminTokens {
    AdminTokens::new(&secret())
}

fn secret() -> KeyOctets {
    KeyOctets::parse(&URL_SAFE_NO_PAD.encode([7; 32])).unwrap()
}

fn now() -> Timestamp {
    Timestamp::parse("2026-01-31T12:00:00Z").unwrap()
}

fn admin() -> AdminPrincipal {
    AdminPrincipal {
        subject: "cli".into(),
        role: Role::Operator,
        tenant_id: Some(TenantId::parse("018f3c5e-7b1a-7cc2-9d3e-0123456789ab").unwrap()),
    }
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn signed(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap());
    let message = format!("{}.{}", part(header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret().as_slice());
    let tag = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[test]
fn a_token_of_ours_is_accepted_until_it_expires() {
    let token = tokens().sign(&admin(), now(), 3_600).unwrap();
    assert_eq!(tokens().verify_built_in(&token, now()).unwrap().admin, admin());
    assert_eq!(tokens().verify_built_in(&token, now().plus_seconds(3_599)).unwrap().admin, admin());
    let expired = tokens().verify_built_in(&token, now().plus_seconds(3_600)).unwrap_err();
    assert!(expired.detail().contains("expired"));
    assert!(tokens().verify_built_in(&token, now().plus_seconds(-31)).is_err(), "issued in the future");
}

#[test]
fn a_token_has_the_documented_claims() {
    let claims = claims(&tokens().sign(&admin(), now(), 60).unwrap());
    let names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "role", "sub", "tenant_id"]);
    assert_eq!(claims["iss"], "signalbeam");
    assert_eq!(claims["aud"], "signalbeam-admin");
}

#[test]
fn nothing_that_a_stranger_can_write_is_accepted() {
    let token = tokens().sign(&admin(), now(), 3_600).unwrap();
    let good = claims(&token);
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    assert!(tokens().verify_built_in(&signed(&hs256, &good), now()).is_ok(), "the test's own signature works");
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        signed(&hs256, &changed)
    };
    let without = |name: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().unwrap().remove(name);
        signed(&hs256, &changed)
    };
    let parts: Vec<&str> = token.split('.').collect();
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), parts[1]);
    let foreign = AdminTokens::new(&KeyOctets::parse(&URL_SAFE_NO_PAD.encode([8; 32])).unwrap());
    for (what, token) in [
        ("nothing", String::new()),
        ("no parts", "abc".into()),
        ("alg none", unsigned),
        ("alg none, signed", signed(&json!({"alg": "none"}), &good)),
        ("another algorithm", signed(&json!({"alg": "HS512"}), &good)),
        ("an asymmetric algorithm", signed(&json!({"alg": "RS256"}), &good)),
        ("another key", foreign.sign(&admin(), now(), 3_600).unwrap()),
        ("another payload", format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(b"{}"), parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("another issuer", with("iss", json!("elsewhere"))),
        ("another audience", with("aud", json!("signalbeam-device"))),
        ("an unknown role", with("role", json!("root"))),
        ("a tenant that is no UUID", with("tenant_id", json!("*"))),
        ("an expiry that is no number", with("exp", json!("never"))),
        ("a subject of two lines", with("sub", json!("a\nb"))),
        ("a subject like another issuer's", with("sub", json!("https://id.example|ada"))),
        ("an id that is no text", with("jti", json!(7))),
        ("an id of two words", with("jti", json!("a b"))),
        ("a tenant that is null", with("tenant_id", json!(null))),
        ("not valid before an hour", with("nbf", json!(now().unix_seconds() + 3_600))),
        ("extensions that must be understood", signed(&json!({"alg": "HS256", "crit": ["x"]}), &good)),
        ("no expiry", without("exp")),
        ("no issuer", without("iss")),
        ("no audience", without("aud")),
        ("no subject", without("sub")),
        ("no role", without("role")),
    ] {
        let refusal = tokens().verify_built_in(&token, now()).expect_err(what);
        assert_eq!(refusal.code(), ErrorCode::InvalidToken, "{what}");
    }
}

#[test]
fn a_token_that_somebody_else_made_under_the_secret_needs_only_what_is_documented() {
    let mut claims = json!({"sub": "portal", "role": "auditor", "iss": "signalbeam", "aud": "signalbeam-admin"});
    claims["exp"] = json!(60.5 + 1_769_860_800.0);
    claims["jti"] = json!("a1b2c3");
    let token = signed(&json!({"alg": "HS256"}), &claims);
    let admin = tokens().verify_built_in(&token, now()).unwrap().admin;
    assert_eq!((admin.subject.as_str(), admin.role, admin.tenant_id), ("portal", Role::Auditor, None));
    assert!(tokens().verify_built_in(&token, now().plus_seconds(61)).is_err());
}

#[test]
fn a_header_that_brings_a_key_or_an_extension_is_refused_whatever_signed_it() {
    let good = claims(&tokens().sign(&admin(), now(), 3_600).unwrap());
    for (name, value) in [
        ("jku", json!("https://localhost/keys")),
        ("jwk", json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([9; 32])})),
        ("x5u", json!("https://localhost/chain")),
        ("x5c", json!(["AAAA"])),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("b64", json!(true)),
        ("crit", json!([])),
        ("crit", json!(["exp"])),
    ] {
        let token = signed(&json!({"alg": "HS256", name: value}), &good);
        let refusal = tokens().verify_built_in(&token, now()).expect_err(name);
        assert_eq!(refusal.code(), ErrorCode::InvalidToken, "{name}");
    }
}

#[test]
fn a_key_id_changes_nothing_since_there_is_only_one_key() {
    let good = claims(&tokens().sign(&admin(), now(), 3_600).unwrap());
    let token = signed(&json!({"alg": "HS256", "kid": "../../dev/null"}), &good);
    assert!(tokens().verify_built_in(&token, now()).is_ok(), "our key signed it, whatever it is called");
    let message = token.rsplit_once('.').unwrap().0;
    let forged = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[9; 32]), message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(forged.as_ref()));
    assert!(tokens().verify_built_in(&token, now()).is_err());
}

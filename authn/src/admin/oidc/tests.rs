//! Tokens of an issuer that must not be accepted, and those that must.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _};
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::json;

use super::super::key_cache::{FetchError, FetchedKeySet};
use super::super::{AdminTokens, KeyOctets};
use super::*;

const ISSUER: &str = "https://id.example.org/realms/fleet";
const TENANT: &str = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";

fn now() -> Timestamp {
    Timestamp::parse("2026-01-31T12:00:00Z").unwrap()
}

fn base64(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

struct Key {
    jwk: Value,
    encoding: EncodingKey,
}

fn curve_key(algorithm: SigningAlgorithm, kid: &str) -> Key {
    let (suite, curve) = match algorithm {
        SigningAlgorithm::Es256 => (&PKCS_ECDSA_P256_SHA256, "P-256"),
        SigningAlgorithm::Es384 => (&PKCS_ECDSA_P384_SHA384, "P-384"),
        _ => (&PKCS_ED25519, "Ed25519"),
    };
    let pair = KeyPair::generate_for(suite).unwrap();
    let (der, public) = (pair.serialize_der(), pair.der_bytes().to_vec());
    if algorithm == SigningAlgorithm::EdDsa {
        let jwk = json!({"kty": "OKP", "crv": curve, "kid": kid, "x": base64(&public)});
        return Key { jwk, encoding: EncodingKey::from_ed_der(&der) };
    }
    let (x, y) = public[1..].split_at((public.len() - 1) / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "kid": kid, "x": base64(x), "y": base64(y)});
    Key { jwk, encoding: EncodingKey::from_ec_der(&der) }
}

fn rsa_key(kid: &str) -> (Key, Vec<u8>) {
    let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2_048).unwrap();
    let jwk = json!({"kty": "RSA", "kid": kid, "n": base64(&private.n().to_bytes_be()), "e": base64(&private.e().to_bytes_be())});
    let public = private.to_public_key().to_pkcs1_der().unwrap().as_bytes().to_vec();
    (Key { jwk, encoding: EncodingKey::from_rsa_der(private.to_pkcs1_der().unwrap().as_bytes()) }, public)
}

struct Fixed(Option<Value>);

#[async_trait]
impl KeySetSource for Fixed {
    async fn fetch(&self) -> Result<FetchedKeySet, FetchError> {
        let keys = self.0.as_ref().ok_or("down")?;
        Ok(FetchedKeySet { json: keys.to_string().into_bytes(), max_age: None })
    }
}

fn settings() -> OidcSettings {
    let hour = Duration::from_hours(1);
    OidcSettings {
        issuer: TokenIssuer::parse(ISSUER).unwrap(),
        audience: "signalbeam".to_owned(),
        algorithms: SigningAlgorithm::ALL.to_vec(),
        role_claim: ClaimPath::new("role"),
        role_map: vec![],
        tenant_claim: ClaimPath::new("tenant_id"),
        allow_all_tenants: false,
        clock_leeway_seconds: 60,
        key_lifetimes: KeyLifetimes { longest: hour, between_fetches: hour, stale: hour },
    }
}

fn tokens_of(settings: OidcSettings, keys: &[&Key]) -> AdminTokens {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk.clone()).collect();
    let oidc = OidcTokens::new(settings, Box::new(Fixed(Some(json!({ "keys": keys })))));
    built_in().with_oidc(oidc)
}

fn built_in() -> AdminTokens {
    AdminTokens::new(&KeyOctets::parse(&base64(&[7; 32])).unwrap())
}

fn claims() -> Value {
    let now = now().unix_seconds();
    json!({
        "iss": ISSUER, "aud": "signalbeam", "sub": "ada", "role": "operator", "tenant_id": TENANT,
        "iat": now, "exp": now + 300, "jti": "onrtac:1",
    })
}

fn signed_text(header: &Value, claims: &str, key: &Key, algorithm: SigningAlgorithm) -> String {
    let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.as_bytes()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.encoding, algorithm.of_library()).unwrap();
    format!("{message}.{signature}")
}

fn signed(header: &Value, claims: &Value, key: &Key, algorithm: SigningAlgorithm) -> String {
    signed_text(header, &claims.to_string(), key, algorithm)
}

fn with(value: &Value, name: &str, member: Value) -> Value {
    let mut changed = value.clone();
    changed[name] = member;
    changed
}

fn without(value: &Value, name: &str) -> Value {
    let mut changed = value.clone();
    changed.as_object_mut().unwrap().remove(name).unwrap();
    changed
}

#[tokio::test]
async fn every_algorithm_works_with_its_own_kind_of_key_and_with_no_other() {
    use SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Rs256, Rs384, Rs512};
    let (rsa, _) = rsa_key("rsa");
    let keys = [curve_key(Es256, "p256"), curve_key(Es384, "p384"), curve_key(EdDsa, "ed"), rsa];
    let tokens = tokens_of(settings(), &keys.each_ref());
    let fitting = [(Es256, 0), (Es384, 1), (EdDsa, 2), (Rs256, 3), (Rs384, 3), (Rs512, 3), (Ps256, 3)];
    for (algorithm, at) in fitting {
        for key in &keys {
            let header = json!({"alg": algorithm.as_str(), "kid": key.jwk["kid"], "typ": "at+jwt"});
            let token = signed(&header, &claims(), &keys[at], algorithm);
            let is_its_own = key.jwk["kid"] == keys[at].jwk["kid"];
            assert_eq!(tokens.verify(&token, now()).await.is_ok(), is_its_own, "{header}");
        }
    }
    let only_es256 = tokens_of(OidcSettings { algorithms: vec![Es256], ..settings() }, &keys.each_ref());
    let rs256 = signed(&json!({"alg": "RS256", "kid": "rsa"}), &claims(), &keys[3], Rs256);
    assert!(only_es256.verify(&rs256, now()).await.is_err());
}

#[tokio::test]
async fn what_a_token_says_is_what_the_admin_is() {
    let key = curve_key(SigningAlgorithm::Es256, "k");
    let tokens = tokens_of(settings(), &[&key]);
    let token = signed(&json!({"alg": "ES256", "kid": "k"}), &claims(), &key, SigningAlgorithm::Es256);
    let session = tokens.verify(&token, now()).await.unwrap();
    assert_eq!(session.admin.subject, format!("{ISSUER}|ada"), "told apart from the built-in subject `ada`");
    assert_eq!((session.admin.role, session.admin.tenant_id), (Role::Operator, Some(TenantId::parse(TENANT).unwrap())));
    assert_eq!((session.issuer.as_str(), session.jti.unwrap().as_str()), (ISSUER, "onrtac:1"));
    assert_eq!((session.issued_at, session.expires_at), (Some(now()), now().plus_seconds(300)));
    let late = tokens.verify(&token, now().plus_seconds(359)).await;
    assert!(late.is_ok(), "within the leeway");
    assert!(tokens.verify(&token, now().plus_seconds(360)).await.unwrap_err().detail().contains("expired"));
    assert!(tokens.verify(&token, now().plus_seconds(-60)).await.is_ok());
    assert!(tokens.verify(&token, now().plus_seconds(-61)).await.is_err());
}

#[tokio::test]
async fn nothing_that_a_stranger_or_a_careless_issuer_can_write_is_accepted() {
    use SigningAlgorithm::{Es256, Rs256};
    let (key, foreign, (rsa, rsa_public)) = (curve_key(Es256, "k"), curve_key(Es256, "k"), rsa_key("rsa"));
    let tokens = tokens_of(settings(), &[&key, &rsa]);
    let header = json!({"alg": "ES256", "kid": "k"});
    let good = claims();
    let ours = |header: &Value, claims: &Value| signed(header, claims, &key, Es256);
    assert!(tokens.verify(&ours(&header, &good), now()).await.is_ok(), "the test's own signature works");
    let hmac = |header: &Value, secret: &[u8]| {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(good.to_string().as_bytes()));
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", base64(tag.as_ref()))
    };
    let token = ours(&header, &good);
    let parts: Vec<&str> = token.split('.').collect();
    let (one_hour, text) = (now().unix_seconds() + 3_600, good.to_string());
    let doubled = |more: &str| signed_text(&header, &text.replacen('{', &format!("{{{more},"), 1), &key, Es256);
    let mut bad = vec![
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{}.{}.", base64(br#"{"alg":"none"}"#), parts[1])),
        ("another key of the same id", signed(&header, &good, &foreign, Es256)),
        ("an unknown key", ours(&with(&header, "kid", json!("unknown")), &good)),
        ("no key named among two", ours(&without(&header, "kid"), &good)),
        ("a key by a path", ours(&with(&header, "kid", json!("../../dev/null")), &good)),
        ("a key id that is no text", ours(&with(&header, "kid", json!(["k"])), &good)),
        ("an endless key id", ours(&with(&header, "kid", json!("k".repeat(257))), &good)),
        ("HS256 under the public key", hmac(&json!({"alg": "HS256", "kid": "rsa"}), &rsa_public)),
        ("HS256 under the built-in secret", hmac(&json!({"alg": "HS256"}), &[7; 32])),
        ("RS256 that is HS256", hmac(&json!({"alg": "RS256", "kid": "rsa"}), &rsa_public)),
        ("another key's algorithm", signed(&json!({"alg": "RS256", "kid": "k"}), &good, &rsa, Rs256)),
        ("a logout token", ours(&with(&header, "typ", json!("logout+jwt")), &good)),
        (
            "two algorithms",
            format!("{}.{}.{}", base64(br#"{"alg":"ES256","alg":"ES256","kid":"k"}"#), parts[1], parts[2]),
        ),
        ("two audiences by two names", doubled(r#""aud":"signalbeam""#)),
        ("two roles by two names", doubled(r#""role":"admin""#)),
        ("two tenants by two names", doubled(r#""tenant_id":"018f3c5e-7b1a-7cc2-9d3e-000000000000""#)),
        ("two of a nested name", doubled(r#""x":{"a":1,"a":2}"#)),
        ("too long", ours(&header, &with(&good, "padding", json!("x".repeat(16 * 1024))))),
        ("too deep", doubled(&format!(r#""x":{}{}"#, "[".repeat(1_000), "]".repeat(1_000)))),
    ];
    for parameter in ["jku", "jwk", "x5u", "x5c", "crit", "zip", "enc", "b64"] {
        bad.push((parameter, ours(&with(&header, parameter, json!("https://127.0.0.1/keys")), &good)));
    }
    for (name, value) in [
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!([["signalbeam"]])),
        ("aud", json!(["signalbeam", 1])),
        ("aud", json!({"signalbeam": true})),
        ("aud", json!(null)),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", json!([ISSUER])),
        ("exp", json!("never")),
        ("exp", json!(null)),
        ("exp", json!([one_hour])),
        ("exp", json!(now().unix_seconds() - 61)),
        ("exp", json!(-1e300)),
        ("nbf", json!(one_hour)),
        ("nbf", json!("now")),
        ("iat", json!(one_hour)),
        ("iat", json!(1e300)),
        ("iat", json!({})),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("x".repeat(256))),
        ("sub", json!(1)),
        ("role", json!("root")),
        ("role", json!([])),
        ("role", json!([["admin"]])),
        ("role", json!(["operator", 1])),
        ("role", json!({"admin": true})),
        ("role", json!(null)),
        ("role", json!("admin operator")),
        ("tenant_id", json!("*")),
        ("tenant_id", json!(null)),
        ("tenant_id", json!([TENANT])),
        ("jti", json!(7)),
        ("jti", json!("")),
        ("jti", json!("a b")),
        ("jti", json!("x".repeat(129))),
    ] {
        bad.push((name, ours(&header, &with(&good, name, value))));
    }
    for name in ["iss", "aud", "exp", "sub", "role", "tenant_id"] {
        bad.push((name, ours(&header, &without(&good, name))));
    }
    for (what, token) in bad {
        let refusal = tokens.verify(&token, now()).await.expect_err(what);
        assert_eq!(refusal.code(), ErrorCode::InvalidToken, "{what}: {token}");
    }
}

#[tokio::test]
async fn the_two_kinds_of_tokens_never_vouch_for_each_other() {
    let key = curve_key(SigningAlgorithm::Es256, "k");
    let tokens = tokens_of(settings(), &[&key]);
    let admin = AdminPrincipal { subject: "ada".to_owned(), role: Role::Admin, tenant_id: None };
    let own = built_in().sign(&admin, now(), 60).unwrap();
    assert_eq!(tokens.verify(&own, now()).await.unwrap().admin, admin, "the built-in ones work beside");
    let mut posing = claims();
    posing["iss"] = json!("signalbeam");
    posing["aud"] = json!("signalbeam-admin");
    let posing = signed(&json!({"alg": "ES256", "kid": "k"}), &posing, &key, SigningAlgorithm::Es256);
    assert_eq!(tokens.verify(&posing, now()).await.unwrap_err().code(), ErrorCode::InvalidToken);
    let unknown = with(&claims(), "iss", json!("https://elsewhere.example"));
    let unknown = signed(&json!({"alg": "ES256", "kid": "k"}), &unknown, &key, SigningAlgorithm::Es256);
    assert_eq!(tokens.verify(&unknown, now()).await.unwrap_err().code(), ErrorCode::InvalidToken);
    let without_issuer = built_in();
    let token = signed(&json!({"alg": "ES256", "kid": "k"}), &claims(), &key, SigningAlgorithm::Es256);
    assert_eq!(without_issuer.verify(&token, now()).await.unwrap_err().code(), ErrorCode::InvalidToken);
}

async fn session(settings: OidcSettings, claims: &Value) -> Result<AdminSession, Problem> {
    let key = curve_key(SigningAlgorithm::EdDsa, "k");
    let token = signed(&json!({"alg": "EdDSA"}), claims, &key, SigningAlgorithm::EdDsa);
    tokens_of(settings, &[&key]).verify(&token, now()).await
}

#[tokio::test]
async fn roles_stand_where_the_issuer_puts_them_and_the_strongest_counts() {
    let nested = with(&claims(), "realm_access", json!({"roles": ["offline_access", "auditor", "operator"]}));
    let deeper = with(&nested, "resource_access", json!({"signalbeam": {"roles": ["admin"]}}));
    let url = with(&deeper, "https://fleet.example/roles", json!(["auditor"]));
    for (path, role) in [
        ("realm_access.roles", Role::Operator),
        ("resource_access.signalbeam.roles", Role::Admin),
        ("https://fleet.example/roles", Role::Auditor),
        ("role", Role::Operator),
    ] {
        let settings = OidcSettings { role_claim: ClaimPath::new(path), ..settings() };
        assert_eq!(session(settings, &url).await.unwrap().admin.role, role, "{path}");
    }
    for nowhere in ["realm_access", "realm_access.roles.0", "resource_access.other.roles", "", "."] {
        let settings = OidcSettings { role_claim: ClaimPath::new(nowhere), ..settings() };
        assert_eq!(session(settings, &url).await.unwrap_err().code(), ErrorCode::InvalidToken, "{nowhere}");
    }
    let role_map = vec![("Fleet Admins".to_owned(), Role::Admin), ("viewers".to_owned(), Role::Auditor)];
    let mapped = |role: Value| {
        let (settings, claims) =
            (OidcSettings { role_map: role_map.clone(), ..settings() }, with(&claims(), "role", role));
        async move { session(settings, &claims).await.map(|session| session.admin.role) }
    };
    assert_eq!(mapped(json!("viewers")).await.unwrap(), Role::Auditor);
    assert_eq!(mapped(json!(["viewers", "Fleet Admins"])).await.unwrap(), Role::Admin);
    assert!(mapped(json!("admin")).await.is_err(), "where there is a map, only what it names counts");
}

#[tokio::test]
async fn a_token_without_a_tenant_is_good_for_every_one_only_where_that_is_allowed() {
    let claims = without(&claims(), "tenant_id");
    assert!(session(settings(), &claims).await.unwrap_err().detail().contains("tenant"));
    let allowing = OidcSettings { allow_all_tenants: true, ..settings() };
    assert_eq!(session(allowing.clone(), &claims).await.unwrap().admin.tenant_id, None);
    let null = with(&claims, "tenant_id", json!(null));
    assert!(session(allowing, &null).await.is_err(), "a forgotten value does not open all of them");
}

#[tokio::test]
async fn an_audience_may_be_one_of_many() {
    let claims = with(&claims(), "aud", json!(["account", "signalbeam"]));
    assert!(session(settings(), &claims).await.is_ok());
}

#[tokio::test]
async fn without_the_issuer_s_keys_nobody_can_tell() {
    let key = curve_key(SigningAlgorithm::EdDsa, "k");
    let token = signed(&json!({"alg": "EdDSA"}), &claims(), &key, SigningAlgorithm::EdDsa);
    let tokens = built_in().with_oidc(OidcTokens::new(settings(), Box::new(Fixed(None))));
    assert_eq!(tokens.verify(&token, now()).await.unwrap_err().code(), ErrorCode::IdentityProviderUnavailable);
    let hs256 = signed(&json!({"alg": "HS256"}), &claims(), &key, SigningAlgorithm::EdDsa);
    assert_eq!(tokens.verify(&hs256, now()).await.unwrap_err().code(), ErrorCode::InvalidToken, "needs no key");
}

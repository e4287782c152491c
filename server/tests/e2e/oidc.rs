//! An OIDC issuer beside the built-in tokens: found, believed, followed through its rotation of keys, and done without.

mod issuer;

use serde_json::{Value, json};

use crate::client::Answer;
use crate::device::TENANT;
use crate::server::{Server, Site};
use crate::waiting::eventually;
use issuer::{Issuer, SigningKey};

/// A site that believes the issuer, which runs on this machine.
fn site_of(issuer: &Issuer) -> Site {
    let mut site = Site::new().with("rate_limit.enabled", "false");
    for (key, value) in [
        ("oidc.issuer", issuer.url()),
        ("oidc.audience", "signalbeam".to_owned()),
        ("oidc.role_claim", "realm_access.roles".to_owned()),
        ("oidc.role_map", "Fleet Admins=admin,viewers=auditor".to_owned()),
        ("oidc.allowed_hosts", "localhost".to_owned()),
        ("oidc.ca_certificate_file", issuer.ca_file().display().to_string()),
        ("oidc.key_fetch_interval_seconds", "1".to_owned()),
    ] {
        site.set(key, &value);
    }
    site
}

fn claims(issuer: &Issuer, jti: &str) -> Value {
    #[allow(clippy::disallowed_methods, reason = "the issuer has a clock of its own")]
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    json!({
        "iss": issuer.url(), "aud": ["account", "signalbeam"], "sub": "ada", "jti": jti, "iat": now, "exp": now + 300,
        "tenant_id": TENANT, "realm_access": {"roles": ["offline_access", "Fleet Admins"]},
    })
}

fn asks(server: &Server<'_>, token: &str) -> Answer {
    server.anonymous().bearer(token).get("/api/devices")
}

#[test]
fn the_issuers_tokens_are_believed_through_a_rotation_of_its_keys() {
    let issuer = Issuer::start();
    let site = site_of(&issuer);
    let server = site.start();
    let (first, second) = (SigningKey::new("first"), SigningKey::new("second"));
    issuer.publish(&[&first]);
    let token = first.token(&claims(&issuer, "a"));
    asks(&server, &token).expect(200);
    let body = json!({"tenantId": TENANT});
    server.anonymous().bearer(&token).post("/api/registration-tokens", &body).expect(201);
    let elsewhere = json!({"tenantId": crate::device::OTHER_TENANT});
    server.anonymous().bearer(&token).post("/api/registration-tokens", &elsewhere).refused(403, "FORBIDDEN");
    let recorded = site.export();
    let creation = recorded.iter().find(|event| event["type"] == "registration_token.issued").unwrap();
    assert_eq!(creation["actor"]["id"], format!("{}|ada", issuer.url()), "told apart from the built-in `ada`");

    // An unknown key is asked for, and a flood of them asks no more than once a second.
    let new = second.token(&claims(&issuer, "b"));
    asks(&server, &new).refused(401, "INVALID_TOKEN");
    issuer.publish(&[&first, &second]);
    eventually("the new key is found", || (asks(&server, &new).status == 200).then_some(()));
    asks(&server, &token).expect(200);
    let (begun, before) = (std::time::Instant::now(), issuer.key_fetches());
    for number in 0..200 {
        let unknown = SigningKey::renamed(&second, &format!("unknown-{number}"));
        asks(&server, &unknown.token(&claims(&issuer, "c"))).refused(401, "INVALID_TOKEN");
    }
    let allowed = begun.elapsed().as_secs() + 2;
    let fetches = issuer.key_fetches() - before;
    assert!(fetches as u64 <= allowed, "{fetches} fetches in {allowed} s");

    // A withdrawn key counts no more once its successors are known.
    issuer.publish(&[&second]);
    let unknown = SigningKey::renamed(&second, "unknown").token(&claims(&issuer, "c"));
    eventually("the old key is gone", || {
        asks(&server, &unknown).refused(401, "INVALID_TOKEN");
        (asks(&server, &token).status == 401).then_some(())
    });
    asks(&server, &new).expect(200);

    // The issuer's tokens are revoked like our own, and its absence harms nobody whose key is known.
    let session = second.token(&claims(&issuer, "session"));
    server.anonymous().bearer(&session).post("/api/admin-tokens/revoke", &json!({"jti": "session"})).expect(204);
    asks(&server, &session).refused(401, "INVALID_TOKEN");
    issuer.stop();
    asks(&server, &new).expect(200);
    server.admin().get("/api/devices").expect(200);
    assert!(server.metrics().contains("signalbeam_oidc_key_fetches_total{result=\"success\"}"));
}

#[test]
fn the_server_starts_without_its_issuer_and_finds_it_later() {
    let issuer = Issuer::start();
    let site = site_of(&issuer);
    let key = SigningKey::new("k");
    let server = site.start();
    let token = key.token(&claims(&issuer, "a"));
    // It answers, with nothing that could be a key set.
    asks(&server, &token).refused(503, "IDENTITY_PROVIDER_UNAVAILABLE");
    assert_eq!(asks(&server, &token).header("retry-after"), "10");
    server.admin().get("/api/devices").expect(200);
    let log = server.admin().get("/api/authentication-logs?failureCode=IDENTITY_PROVIDER_UNAVAILABLE").expect(200);
    assert_eq!(log["items"][0]["authenticationMethod"], "AdminToken");
    issuer.publish(&[&key]);
    eventually("the issuer is found", || (asks(&server, &token).status == 200).then_some(()));
}

#[test]
fn an_issuer_at_an_inner_address_is_never_asked_unless_it_is_named() {
    let issuer = Issuer::start();
    let key = SigningKey::new("k");
    issuer.publish(&[&key]);
    let site = site_of(&issuer).with("oidc.allowed_hosts", "id.example.org");
    let server = site.start();
    asks(&server, &key.token(&claims(&issuer, "a"))).refused(503, "IDENTITY_PROVIDER_UNAVAILABLE");
    assert_eq!(issuer.connections(), 0);
    assert!(site.said().contains("no address that may be connected to"), "the operator is told");
}

#[test]
fn a_configuration_that_could_not_work_is_refused() {
    for (settings, key) in [
        (vec![("oidc.issuer", "https://id.example.org")], "oidc.audience"),
        (vec![("oidc.issuer", "http://id.example.org"), ("oidc.audience", "x")], "oidc.issuer"),
        (vec![("oidc.issuer", "http://localhost:1"), ("oidc.audience", "x")], "oidc.issuer"),
        (vec![("oidc.audience", "x")], "oidc.issuer"),
        (vec![("oidc.algorithms", "RS256,HS256")], "oidc.algorithms"),
        (vec![("oidc.clock_leeway_seconds", "301")], "oidc.clock_leeway_seconds"),
        (vec![("oidc.role_map", "Fleet Admins=root")], "oidc.role_map"),
        (vec![("oidc.role_claims", "x")], "oidc.role_claim"),
    ] {
        let site = settings.iter().fold(Site::new(), |site, (key, value)| site.with(key, value));
        let output = site.run(&["config", "check"]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{settings:?}: {said}");
        assert!(said.contains(key), "{settings:?}: {said}");
    }
}

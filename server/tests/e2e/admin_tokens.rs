//! Admin tokens from outside: what the contract says of them is enough to make one, and nothing less is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::device::TENANT;
use crate::server::{Site, remove_projections};

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token under this key, whatever its header says of algorithm and key.
fn token(header: &Value, claims: &Value, key: &[u8]) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The claims of a token that the product made, to be varied.
fn claims(site: &Site) -> Value {
    let made = site.admin_token(&["--subject", "alice", "--tenant-id", TENANT, "--ttl", "1h"]);
    let middle = made.split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut varied = claims.clone();
    varied[name] = value;
    varied
}

fn without(claims: &Value, name: &str) -> Value {
    let mut varied = claims.clone();
    varied.as_object_mut().unwrap().remove(name).unwrap();
    varied
}

#[test]
fn a_token_is_made_of_what_the_contract_says_and_anything_else_is_refused() {
    let site = Site::new();
    let server = site.start();
    let key = std::fs::read_to_string(site.data_dir().join("admin-jwt.key")).unwrap();
    let key = URL_SAFE_NO_PAD.decode(key.trim()).unwrap();
    assert_eq!(key.len(), 32);
    let good = claims(&site);
    for (name, value) in [("sub", "alice"), ("role", "admin"), ("tenant_id", TENANT), ("iss", "signalbeam")] {
        assert_eq!(good[name], value, "{good}");
    }
    assert_eq!(good["aud"], "signalbeam-admin");
    assert_eq!(good["exp"].as_i64().unwrap() - good["iat"].as_i64().unwrap(), 3_600);
    assert!(good["jti"].is_string());
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    server.anonymous().bearer(&token(&hs256, &good, &key)).get("/api/devices").expect(200);

    let now = good["iat"].as_i64().unwrap();
    let ca_pem = site.ca_pem();
    let refused = [
        ("no signature", format!("{}.{}.", part(&json!({"alg": "none"})), part(&good))),
        ("an empty signature", format!("{}.{}.", part(&hs256), part(&good))),
        ("another key", token(&hs256, &good, &[0; 32])),
        ("the public key as the secret", token(&json!({"alg": "RS256"}), &good, ca_pem.as_bytes())),
        ("HS256 under the public key", token(&hs256, &good, ca_pem.as_bytes())),
        ("another algorithm", token(&json!({"alg": "HS512"}), &good, &key)),
        ("a key from a path", token(&json!({"alg": "HS256", "kid": "../../../dev/null"}), &good, b"")),
        ("a key from a URL", token(&json!({"alg": "HS256", "jku": "https://127.0.0.1/keys"}), &good, b"x")),
        ("a URL beside our key", token(&json!({"alg": "HS256", "jku": "https://127.0.0.1/keys"}), &good, &key)),
        ("expired", token(&hs256, &with(&good, "exp", json!(now - 3_600)), &key)),
        ("no end", token(&hs256, &without(&good, "exp"), &key)),
        ("no audience", token(&hs256, &without(&good, "aud"), &key)),
        ("another audience", token(&hs256, &with(&good, "aud", json!("signalbeam")), &key)),
        ("another issuer", token(&hs256, &with(&good, "iss", json!("evil")), &key)),
        ("another role", token(&hs256, &with(&good, "role", json!("root")), &key)),
        ("from the future", token(&hs256, &with(&good, "iat", json!(now + 3_600)), &key)),
    ];
    for (what, token) in refused {
        let answer = server.anonymous().bearer(&token).get("/api/devices");
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        answer.refused(401, "INVALID_TOKEN");
    }
}

#[test]
fn a_revoked_token_stays_revoked_through_restarts_and_a_rebuilt_index() {
    let site = Site::new();
    let stolen;
    {
        let server = site.start();
        stolen = site.admin_token(&["--subject", "mallory"]);
        let middle = URL_SAFE_NO_PAD.decode(stolen.split('.').nth(1).unwrap()).unwrap();
        let jti = serde_json::from_slice::<Value>(&middle).unwrap()["jti"].clone();
        server.anonymous().bearer(&stolen).get("/api/devices").expect(200);
        let body = json!({"jti": jti, "reason": "laptop stolen"});
        server.admin().post("/api/admin-tokens/revoke", &body).expect(204);
        server.anonymous().bearer(&stolen).get("/api/devices").refused(401, "INVALID_TOKEN");
        let listed = server.admin().get("/api/admin-tokens/revocations").expect(200);
        assert_eq!((&listed["items"][0]["jti"], &listed["items"][0]["reason"]), (&jti, &json!("laptop stolen")));
        server.stop();
    }
    for is_rebuilt in [false, true] {
        if is_rebuilt {
            remove_projections(&site.data_dir());
        }
        let server = site.start();
        server.anonymous().bearer(&stolen).get("/api/devices").refused(401, "INVALID_TOKEN");
        let log = server.admin().get("/api/authentication-logs?failureCode=INVALID_TOKEN").expect(200);
        assert_eq!(log["items"][0]["authenticationMethod"], "AdminToken");
        server.stop();
    }
}

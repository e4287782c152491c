//! The documentation: complete, and served without anything from elsewhere.

use std::collections::BTreeSet;
use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::Value;
use signalbeam_authn::{ErrorCode, access};

use crate::world::{As, World};

async fn document(world: &World) -> Value {
    world.get("/openapi.json", &As::Nobody).await.ok()
}

#[tokio::test]
async fn every_route_is_documented_with_its_name_its_callers_and_its_errors() {
    let world = World::new().await;
    let document = document(&world).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 14);
    let mut names = BTreeSet::new();
    for (path, item) in paths {
        let operation = &item["get"];
        let row = access::of_route("GET", path);
        let row = row.unwrap_or_else(|| panic!("GET {path}: add a row to authn/src/access.rs"));
        assert!(operation["description"].as_str().unwrap().ends_with(&row.sentence()), "{path}");
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{path}");
        assert!(operation["security"].is_array(), "{path}");
        for parameter in operation["parameters"].as_array().unwrap() {
            assert!(!parameter["description"].as_str().unwrap_or_default().is_empty(), "{path}: {parameter}");
        }
        for placeholder in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let is_told = |p: &Value| p["name"] == placeholder && p["in"] == "path";
            assert!(operation["parameters"].as_array().unwrap().iter().any(is_told), "{path}: {placeholder}");
        }
        let responses = operation["responses"].as_object().unwrap();
        for status in ["200", "400", "429", "default"] {
            assert!(responses.contains_key(status), "{path}: {status}");
        }
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
            let is_problem = response["content"]["application/problem+json"].is_object();
            assert!(is_problem || response["$ref"].is_string(), "{path}: {status}");
        }
    }
}

#[tokio::test]
async fn the_documented_callers_are_those_who_are_let_in() {
    let world = World::new().await;
    let document = document(&world).await;
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(
        schemes.keys().collect::<Vec<_>>(),
        ["adminToken", "apiKey", "basic", "claimSecret", "clientCertificate"]
    );
    assert_eq!(schemes["basic"]["scheme"], "basic");
    assert_eq!(schemes["adminToken"]["scheme"], "bearer");
    assert_eq!(schemes["apiKey"]["name"], "X-API-Key");
    assert_eq!(schemes["clientCertificate"]["type"], "mutualTLS");
    for (path, item) in document["paths"].as_object().unwrap() {
        let security = item["get"]["security"].as_array().unwrap();
        let is_public = security.iter().all(|alternative| alternative.as_object().unwrap().is_empty());
        let names = security.iter().flat_map(|alternative| alternative.as_object().unwrap().keys());
        assert!(names.clone().all(|name| schemes.contains_key(name)), "{path}");
        let anonymous = world.get(&path.replace(['{', '}'], ""), &As::Nobody).await.status;
        assert_eq!(anonymous == 401, !is_public, "{path}");
    }
}

/// Every `$ref` in a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_error_is_listed() {
    let world = World::new().await;
    let document = document(&world).await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(document["components"]["schemas"]["ErrorCode"]["enum"], serde_json::json!(codes));
    let problem = &document["components"]["schemas"]["Problem"]["properties"];
    assert_eq!(problem["code"]["$ref"], "#/components/schemas/ErrorCode");
    let description = document["info"]["description"].as_str().unwrap();
    assert!(codes.iter().all(|code| description.contains(&format!("| `{code}` |"))));
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    for item in document["paths"].as_object().unwrap().values() {
        assert!(tags.contains(item["get"]["tags"][0].as_str().unwrap()));
    }
}

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere() {
    let world = World::new().await;
    let page = world.get("/docs", &As::Nobody).await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    assert!(policy.contains("script-src 'self';"), "no inline script, no eval: {policy}");
    let html = std::str::from_utf8(&page.body).unwrap();
    assert!(!html.contains("://") && !html.contains("\"//"), "{html}");
    for needed in
        ["data-url=\"/openapi.json\"", "src=\"/docs/scalar.js\"", "\"withDefaultFonts\": false", "\"telemetry\": false"]
    {
        assert!(html.contains(needed), "{needed}");
    }
    let configuration = html.split("data-configuration='").nth(1).unwrap().split('\'').next().unwrap();
    serde_json::from_str::<Value>(configuration).unwrap();
}

#[tokio::test]
async fn the_script_comes_packed_or_plain_and_is_kept_by_the_browser() {
    let world = World::new().await;
    let packed = world.get_with("/docs/scalar.js", &As::Nobody, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(packed.headers["content-type"], "text/javascript; charset=utf-8");
    assert!(packed.headers["cache-control"].to_str().unwrap().contains("max-age="));
    assert_eq!(packed.headers["vary"], "accept-encoding");
    let mut unpacked = vec![];
    GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
    let plain = world.get("/docs/scalar.js", &As::Nobody).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert!(plain.body == unpacked, "the same script");
    assert_ne!(plain.headers["etag"], packed.headers["etag"]);
    let tag = packed.headers["etag"].to_str().unwrap();
    let known = [("accept-encoding", "gzip"), ("if-none-match", tag)];
    let again = world.get_with("/docs/scalar.js", &As::Nobody, &known).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.headers["etag"], tag);
}

#[tokio::test]
async fn the_document_is_sent_again_only_when_it_changed() {
    let world = World::new().await;
    let first = world.get("/openapi.json", &As::Nobody).await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    let again = world.get_with("/openapi.json", &As::Nobody, &[("if-none-match", &format!("\"x\", W/{tag}"))]).await;
    assert_eq!(again.status, 304);
    let other = world.get_with("/openapi.json", &As::Nobody, &[("if-none-match", "\"x\"")]).await;
    assert_eq!(other.body, first.body);
}

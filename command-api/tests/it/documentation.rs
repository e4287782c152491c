//! The routes' documentation: every route is in it, and every code that it names exists.

use serde_json::Value;
use signalbeam_authn::{ErrorCode, access};

use crate::world::World;

/// What stands between backticks in a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_code(text: &str) -> bool {
    text.contains('_') && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

#[tokio::test]
async fn every_route_names_the_codes_that_exist_under_their_status() {
    let documentation = serde_json::to_value(World::new().await.documentation).unwrap();
    let mut operations = 0;
    for (path, item) in documentation["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let row = access::of_route(&method.to_uppercase(), path);
            assert!(row.is_some(), "{method} {path}: add a row to authn/src/access.rs");
            assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                check(&format!("{method} {path}"), status, response);
            }
        }
    }
    assert!(operations >= 17);
}

fn check(route: &str, status: &str, response: &Value) {
    let description = response["description"].as_str().unwrap();
    for name in quoted(description).filter(|name| is_code(name)) {
        let code = ErrorCode::ALL.iter().find(|code| code.as_str() == name);
        let code = code.unwrap_or_else(|| panic!("{route}: {name} does not exist"));
        assert_eq!(code.status().as_str(), status, "{route}: {name}");
    }
}

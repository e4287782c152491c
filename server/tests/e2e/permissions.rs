//! Every operation that the served documentation names, called by every kind of caller, and held against the one table
//! that says who may: `authn/src/access.rs`. A new route needs a row there; where `{}` is no body for it, or its path has a
//! new placeholder, it also needs a line in `path` below or in `Walk::body`.

mod callers;
mod target;

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;
use signalbeam_authn::Role;
use signalbeam_authn::access::{self, Credential, Reach, RouteAccess};

use crate::client::Answer;
use crate::device::{OTHER_TENANT, TENANT};
use crate::server::Site;
use callers::{Caller, Tenants};
use target::{Target, Walk};

/// What a caller is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    LetIn,
    Refused(u16),
}

use Expected::{LetIn, Refused};

fn expected(route: &RouteAccess, caller: Caller) -> Expected {
    let takes = |wanted: &[Credential]| route.credentials.iter().any(|credential| wanted.contains(credential));
    let elsewhere = |status_of_thing: u16| match route.reach {
        Reach::Thing => Refused(status_of_thing),
        Reach::Named => Refused(403),
        Reach::Listed | Reach::Open => LetIn,
    };
    if route.credentials.is_empty() {
        return LetIn;
    }
    match caller {
        Caller::Admin(role, tenants) => {
            let judged = route.credentials.iter().find_map(|credential| match *credential {
                Credential::Admin(permission) if !role.may(permission) => Some(Refused(403)),
                Credential::Admin(_) if tenants == Tenants::Other => Some(elsewhere(404)),
                Credential::Admin(_) => Some(LetIn),
                Credential::AdminOfAllTenants(permission) if role.may(permission) && tenants == Tenants::All => {
                    Some(LetIn)
                }
                Credential::AdminOfAllTenants(_) => Some(Refused(403)),
                _ => None,
            });
            judged.unwrap_or(Refused(401))
        }
        Caller::OwnCertificate if takes(&[Credential::Device, Credential::Certificate]) => LetIn,
        Caller::OwnBasic if takes(&[Credential::BasicApiKey]) => LetIn,
        Caller::TokenBasic if takes(&[Credential::BasicRegistrationToken]) => LetIn,
        Caller::OwnKey if takes(&[Credential::Device, Credential::ApiKey]) => LetIn,
        Caller::SiblingKey | Caller::StrangerKey if takes(&[Credential::Device, Credential::ApiKey]) => elsewhere(404),
        Caller::OwnClaim if takes(&[Credential::ClaimSecret]) => LetIn,
        _ => Refused(401),
    }
}

/// Where callers fail as often as they like.
fn site() -> Site {
    Site::new().with("rate_limit.enabled", "false")
}

/// The operations of the served document.
fn operations(document: &Value) -> Vec<(Method, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.to_uppercase().parse().unwrap(), path.clone(), operation))
    });
    operations.collect()
}

#[test]
fn the_table_the_router_and_the_documentation_name_the_same_routes_and_callers() {
    let site = site();
    let server = site.start();
    let document = server.anonymous().get("/openapi.json").expect(200);
    let documented: BTreeSet<_> =
        operations(&document).into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let listed: BTreeSet<_> = access::ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let missing: Vec<_> = documented.difference(&listed).collect();
    assert!(missing.is_empty(), "add a row for each to ROUTES in authn/src/access.rs: {missing:?}");
    let gone: Vec<_> = listed.difference(&documented).collect();
    assert!(gone.is_empty(), "take these rows out of ROUTES in authn/src/access.rs: {gone:?}");
    for (method, path, operation) in operations(&document) {
        let route = access::of_route(method.as_str(), &path).unwrap();
        let described = operation["description"].as_str().unwrap();
        assert!(described.ends_with(&route.sentence()), "{method} {path}: {described}");
        let alternatives = operation["security"].as_array().unwrap().iter();
        let schemes: BTreeSet<&str> =
            alternatives.flat_map(|each| each.as_object().unwrap().keys()).map(String::as_str).collect();
        let wanted: BTreeSet<&str> = route.credentials.iter().flat_map(|each| each.schemes()).copied().collect();
        assert_eq!(schemes, wanted, "{method} {path}: `security` and the row in authn/src/access.rs differ");
        let names: Vec<_> = route.credentials.iter().map(|credential| credential.name()).collect();
        assert_eq!(operation["x-signalbeam-permission"], serde_json::json!(names), "{method} {path}");
    }
}

/// The path of an operation on a target.
fn path(template: &str, target: &Target) -> String {
    let id = if template.starts_with("/api/registration-tokens/") {
        &target.token_id
    } else if template.starts_with("/api/certificate-authorities/") {
        &target.authority_id
    } else {
        &target.device.id
    };
    let filled = template
        .replace("{id}", id)
        .replace("{deviceId}", &target.device.id)
        .replace("{serialNumber}", &target.identity.serial_number)
        .replace("{request}", "MAA")
        .replace("{authorityId}", &target.authority_id)
        .replace("{status}", "Approved");
    assert!(!filled.contains('{'), "{template}: give its placeholder a value in `path` of {}", file!());
    filled
}

fn call(walk: &Walk<'_>, caller: Caller, method: &Method, template: &str, target: &Target) -> Answer {
    let (client, token) = walk.client(caller, target);
    let body = walk.body(method, template, target, token.as_deref());
    let path = path(template, target);
    client.send(method.clone(), &path, body).unwrap_or_else(|error| panic!("{method} {path} by {caller:?}: {error}"))
}

fn check(route: &RouteAccess, caller: Caller, answer: &Answer) {
    let what = format!("{} {} by {caller:?}", route.method, route.path);
    match expected(route, caller) {
        Refused(status) => {
            let hint =
                "the row in authn/src/access.rs, the handler's `require`, or, where it is 400, the walk's `body`";
            assert_eq!(answer.status, status, "{what}: look at {hint}: {answer:?}");
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            let is_fitting = match status {
                403 => code == "FORBIDDEN",
                404 => code == "NOT_FOUND",
                _ => true,
            };
            assert!(is_fitting, "{what}: {answer:?}");
        }
        // What takes something else than JSON says so; that nobody asked who calls is what counts.
        LetIn if route.credentials.is_empty() => assert!(![401, 403].contains(&answer.status), "{what}: {answer:?}"),
        LetIn => {
            let is_in = answer.status < 300 || answer.status == 409;
            assert!(is_in, "{what} is let in, so it needs a `body` that fits in {}: {answer:?}", file!());
        }
    }
}

/// Every operation of the document with its row.
fn routes(document: &Value) -> Vec<(Method, &'static RouteAccess, &Value)> {
    let rows = operations(document).into_iter();
    rows.filter_map(|(method, path, operation)| {
        let route = access::of_route(method.as_str(), &path)?;
        Some((method, route, operation))
    })
    .collect()
}

#[test]
fn every_route_refuses_whom_the_table_does_not_name_and_nothing_comes_of_it() {
    let site = site();
    let server = site.start();
    let walk = Walk::new(&server);
    let document = server.anonymous().get("/openapi.json").expect(200);
    let target = walk.target();
    let before = walk.head().len();
    let mut refused = 0;
    for (method, route, _) in routes(&document) {
        for caller in Caller::all() {
            if let Refused(_) = expected(route, caller) {
                check(route, caller, &call(&walk, caller, &method, route.path, &target));
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "the walk was short: {refused}");
    assert_eq!(walk.head().len(), before, "refused, and recorded all the same");
    target.device.beat(&target.device.by_key(&server)).expect(200);
}

#[test]
fn every_route_lets_in_whom_the_table_names() {
    let site = site();
    let server = site.start();
    let walk = Walk::new(&server);
    let document = server.anonymous().get("/openapi.json").expect(200);
    let shared = walk.target();
    for (method, route, _) in routes(&document) {
        for caller in Caller::all() {
            if expected(route, caller) == LetIn {
                // What changes something would change the next caller's answer.
                let own = (method != Method::GET).then(|| walk.target());
                let answer = call(&walk, caller, &method, route.path, own.as_ref().unwrap_or(&shared));
                check(route, caller, &answer);
            }
        }
    }
}

/// Callers of another tenant than the target's.
const ELSEWHERE: [Caller; 4] = [
    Caller::Admin(Role::Admin, Tenants::Other),
    Caller::Admin(Role::Operator, Tenants::Other),
    Caller::Admin(Role::Auditor, Tenants::Other),
    Caller::StrangerKey,
];

#[test]
fn no_list_shows_another_tenants_things_whatever_is_asked_of_it() {
    let site = site();
    let server = site.start();
    let walk = Walk::new(&server);
    let document = server.anonymous().get("/openapi.json").expect(200);
    let target = walk.target();
    let listed = routes(&document).into_iter().filter(|(_, route, _)| route.reach == Reach::Listed);
    for (method, route, operation) in listed {
        if method != Method::GET {
            // What acts on many things acts on none of another tenant's.
            for caller in ELSEWHERE.into_iter().filter(|caller| expected(route, *caller) == LetIn) {
                let answer = call(&walk, caller, &method, route.path, &target);
                check(route, caller, &answer);
                target.device.beat(&target.device.by_key(&server)).expect(200);
            }
            continue;
        }
        let parameters = operation["parameters"].as_array();
        let has = |name: &str| parameters.is_some_and(|all| all.iter().any(|each| each["name"] == name));
        let list = path(route.path, &target);
        let mut queries = vec![String::new()];
        if has("deviceId") {
            queries.push(format!("?deviceId={}", target.device.id));
        }
        if has("stream") {
            queries.push(format!("?stream=device-{}", target.device.id));
        }
        let page = walk.admin.get(&format!("{list}?{}", if has("limit") { "limit=1" } else { "" }));
        assert_eq!(page.status, 200, "{list}: {page:?}");
        // Files have no pages. Where the list of somebody who sees everything goes on:
        if has("cursor") && page.header("content-type").starts_with("application/json") {
            let page = page.json();
            let cursor = page["nextCursor"].as_str().unwrap_or_else(|| panic!("{list}: one page is all: {page}"));
            queries.push(format!("?cursor={cursor}"));
        }
        for caller in ELSEWHERE.into_iter().filter(|caller| expected(route, *caller) == LetIn) {
            let (client, _) = walk.client(caller, &target);
            for query in &queries {
                let answer = client.get(&format!("{list}{query}"));
                assert_eq!(answer.status, 200, "{method} {list}{query} by {caller:?}: {answer:?}");
                let text = answer.text();
                let seen: Vec<_> = target.names().into_iter().filter(|name| text.contains(name)).collect();
                assert!(seen.is_empty(), "{method} {list}{query} shows {caller:?} {seen:?}");
            }
            if has("tenantId") {
                client.get(&format!("{list}?tenantId={TENANT}")).refused(403, "FORBIDDEN");
                assert_eq!(client.get(&format!("{list}?tenantId={OTHER_TENANT}")).status, 200, "{list}");
            }
        }
        let everything = walk.admin.get(&format!("{list}?{}", if has("limit") { "limit=500" } else { "" })).text();
        let is_shown = target.names().into_iter().any(|name| everything.contains(name)) || !has("cursor");
        assert!(is_shown, "{list} does not show the target to anybody: the test proves nothing");
    }
}

//! The client's address and the correlation id, as a request's context has them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Router, body};
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_authn::http::context::provide_request_context;
use signalbeam_authn::{Connection, RequestContext};
use tower::ServiceExt as _;

async fn shown(context: RequestContext) -> String {
    format!("{} {}", context.client_address, context.user_agent.unwrap_or_default())
}

/// The address that a request from `peer` is counted under.
async fn address(trusted: &[&str], peer: &str, headers: &[(&'static str, &[u8])]) -> String {
    let proxies = TrustedProxies::new(trusted.iter().map(|network| network.parse().unwrap()).collect());
    let router = Router::new().route("/", get(shown));
    let router = router.layer(from_fn_with_state(Arc::new(proxies), provide_request_context));
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request.extensions_mut().insert(Arc::new(Connection::plain(peer.parse().unwrap())));
    let response = router.oneshot(request).await.unwrap();
    assert!(response.headers().contains_key("x-correlation-id"));
    let body = body::to_bytes(response.into_body(), 10_000).await.unwrap();
    std::str::from_utf8(&body).unwrap().split(' ').next().unwrap().to_owned()
}

const PEER: &str = "10.0.0.1:4711";
const TRUSTED: &[&str] = &["10.0.0.0/8", "fd00::/8"];

#[tokio::test]
async fn a_stranger_cannot_lend_himself_an_address() {
    let forged: &[(&str, &[u8])] = &[("x-forwarded-for", b"203.0.113.9"), ("x-real-ip", b"203.0.113.10")];
    assert_eq!(address(&[], PEER, forged).await, "10.0.0.1");
    assert_eq!(address(&["192.0.2.0/24"], PEER, forged).await, "10.0.0.1");
    assert_eq!(address(TRUSTED, "198.51.100.7:1", forged).await, "198.51.100.7");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_the_hop_before_it() {
    assert_eq!(address(TRUSTED, PEER, &[("x-forwarded-for", b"6.6.6.6, 203.0.113.9")]).await, "203.0.113.9");
    let several: &[(&str, &[u8])] = &[("x-forwarded-for", b"203.0.113.9"), ("x-forwarded-for", b"10.0.0.2")];
    assert_eq!(address(TRUSTED, PEER, several).await, "203.0.113.9");
    assert_eq!(address(TRUSTED, "[fd00::1]:1", &[("x-forwarded-for", b"[2001:db8::7]:443")]).await, "2001:db8::7");
    assert_eq!(address(TRUSTED, PEER, &[("x-real-ip", b"203.0.113.10")]).await, "203.0.113.10");
    let both: &[(&str, &[u8])] = &[("x-real-ip", b"6.6.6.6"), ("x-forwarded-for", b"203.0.113.9")];
    assert_eq!(address(TRUSTED, PEER, both).await, "203.0.113.9");
}

#[tokio::test]
async fn what_stands_left_of_something_unreadable_is_not_believed() {
    for unreadable in [&b"6.6.6.6, unknown, 10.0.0.2"[..], b"6.6.6.6, , 10.0.0.2", b"6.6.6.6,10.0.0.256,10.0.0.2"] {
        assert_eq!(address(TRUSTED, PEER, &[("x-forwarded-for", unreadable)]).await, "10.0.0.2");
    }
    assert_eq!(address(TRUSTED, PEER, &[("x-forwarded-for", b"6.6.6.6\xff")]).await, "10.0.0.1");
    assert_eq!(address(TRUSTED, PEER, &[("x-forwarded-for", b"\xff, 203.0.113.9")]).await, "203.0.113.9");
    assert_eq!(address(TRUSTED, PEER, &[("x-real-ip", b"nonsense")]).await, "10.0.0.1");
    let twice: &[(&str, &[u8])] = &[("x-real-ip", b"6.6.6.6"), ("x-real-ip", b"7.7.7.7")];
    assert_eq!(address(TRUSTED, PEER, twice).await, "10.0.0.1");
}

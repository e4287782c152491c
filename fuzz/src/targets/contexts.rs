//! What every request's context is made of: correlation id, `traceparent`, user agent.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Request};
use signalbeam_authn::RequestContext;
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_authn::http::context::provide_request_context;
use signalbeam_domain::CorrelationId;
use tower::ServiceExt as _;

pub(crate) const DICTIONARY: &[&str] = &[
    "x-correlation-id: ",
    "traceparent: ",
    "user-agent: ",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "\n",
    "-",
    "00000000000000000000000000000000",
];
const MAX_USER_AGENT_CHARACTERS: usize = 256;

/// Every answer has one well-formed correlation id, the caller's where that is one; what is kept of him stays on one line.
pub(crate) fn run(input: &[u8]) {
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    for line in input.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    let given: Vec<_> = request.headers().get_all("x-correlation-id").iter().cloned().collect();
    let router = Router::new()
        .route("/", get(check))
        .layer(from_fn_with_state(Arc::new(TrustedProxies::default()), provide_request_context));
    let response = router.oneshot(request).now_or_never().expect("nothing is waited for").unwrap();
    assert!(response.status().is_success(), "{response:?}");
    let ids: Vec<_> = response.headers().get_all("x-correlation-id").iter().map(|id| id.to_str().unwrap()).collect();
    let [id] = ids[..] else { panic!("{ids:?}") };
    assert!(CorrelationId::parse(id).is_some(), "{id}");
    if let [given] = &given[..]
        && given.to_str().ok().and_then(CorrelationId::parse).is_some()
    {
        assert_eq!(given, id);
    }
}

async fn check(context: RequestContext) {
    let user_agent = context.user_agent.unwrap_or_default();
    assert!(user_agent.chars().count() <= MAX_USER_AGENT_CHARACTERS);
    assert!(!user_agent.chars().any(char::is_control), "{user_agent:?}");
    assert!(context.client_address.is_unspecified() && context.connection.certificate.is_none());
}

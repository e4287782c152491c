//! The API's documentation: `/openapi.json`, and `/docs`, a page that needs nothing but this server.

mod description;
mod examples;
mod script;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::digest;
use utoipa::openapi::OpenApi;

pub use self::description::describe;

/// The page. Its configuration is data in an attribute, so that no script stands in it.
const PAGE: &str = include_str!("documentation/page.html");

/// What the page may do: run the script that we serve, ask this server, and nothing else. Scalar writes its styles into the
/// page and shows images and fonts that it carries with it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// Serves the documentation of the routes that `api` names; [`describe`] completes it first. Public.
pub fn documentation(api: OpenApi) -> Router {
    Router::new()
        .route("/openapi.json", get(openapi).with_state(Arc::new(Document::new(&describe(api)))))
        .route("/docs", get(page))
        .route("/docs/scalar.js", get(script::scalar))
}

/// The document as it is served, written once.
struct Document {
    json: Bytes,
    tag: String,
}

impl Document {
    fn new(api: &OpenApi) -> Self {
        // All of its maps have texts for keys, so it always becomes JSON.
        let json = Bytes::from(api.to_pretty_json().unwrap_or_default());
        Self { tag: entity_tag(&json), json }
    }
}

async fn openapi(State(document): State<Arc<Document>>, headers: HeaderMap) -> Response {
    let fixed = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    unless_known(&headers, &document.tag, || (fixed, document.json.clone()).into_response())
}

async fn page() -> impl IntoResponse {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, PAGE)
}

/// A strong validator (RFC 9110, section 8.8.3) of some content.
fn entity_tag(content: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, content);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]))
}

/// 304 for those who hold this content already, otherwise the answer, tagged.
fn unless_known(headers: &HeaderMap, tag: &str, answer: impl FnOnce() -> Response) -> Response {
    use axum::http::StatusCode;
    use axum::http::header::IF_NONE_MATCH;
    let known = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { answer() };
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

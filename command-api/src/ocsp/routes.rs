//! The routes: requests in the body, or base64 in the path (RFC 6960, appendix A.1).

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use signalbeam_authn::http::problem::ProblemBody;
use signalbeam_authn::{ErrorCode, Problem, RequestContext};
use signalbeam_domain::Timestamp;
use signalbeam_pki::ocsp::{OcspFailure, OcspRequest};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::responder::{Delivery, OcspResponder, Shared};
use crate::command::X_EVENT_POSITION;

const REQUEST: &str = "application/ocsp-request";
const RESPONSE: HeaderValue = HeaderValue::from_static("application/ocsp-response");
/// How long a cache between here and a client may hand out an answer. That hides a revocation for as long, so it is much
/// shorter than the answer itself holds.
const MAX_AGE_SECONDS: i64 = 60;

/// With and without padding; `-` and `_` are turned into `+` and `/` before.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The most characters of a request in a path.
const MAX_PATH: usize = OcspRequest::MAX_OCTETS.div_ceil(3) * 4;

/// IMF-fixdate (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// The path of the second route is documented here, since a path with slashes in a parameter cannot be said in OpenAPI.
#[derive(OpenApi)]
#[openapi(paths(get_ocsp))]
struct InPath;

/// The responder's routes, with their documentation: for the API, and for the listener without TLS.
pub fn ocsp_routes(responder: OcspResponder) -> OpenApiRouter {
    let in_path = Router::new().route("/ocsp/{*request}", get(get_ocsp));
    let in_path = OpenApiRouter::with_openapi(InPath::openapi()).merge(OpenApiRouter::from(in_path));
    OpenApiRouter::new().routes(routes!(post_ocsp)).merge(in_path).with_state(responder)
}

/// Ask for the status of certificates
///
/// The body is an `OCSPRequest` (RFC 6960) about 1 to 16 certificates of one authority, in DER, at most 8 KiB; a signature
/// on it is not looked at. The answer is signed by a certificate that the authority issued for nothing else. A nonce of 1
/// to 128 octets is repeated; without one the answer may have been signed before, and still says what is known now.
///
/// What is wrong with a request is said as OCSP clients expect it, in an `OCSPResponse` without signature under status 200:
/// `malformedRequest` where it cannot be read, `unauthorized` where it is about another authority's certificates,
/// `tryLater` where nothing can be vouched for at the moment or the client has had too many answers signed.
#[utoipa::path(
    post, path = "/ocsp", tag = "Certificates", operation_id = "postOcsp",
    request_body(content = Vec<u8>, content_type = "application/ocsp-request"),
    responses(
        (status = 200, description = "An `OCSPResponse`", content_type = "application/ocsp-response", body = Vec<u8>,
            headers(("X-Event-Position" = u64, description = "The answer takes account of every event up to this one"))),
        (status = 415, body = ProblemBody, description = "`UNSUPPORTED_MEDIA_TYPE`"),
    ),
    security(()),
)]
pub(crate) async fn post_ocsp(
    State(responder): State<OcspResponder>,
    context: RequestContext,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(REQUEST) {
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, format!("send the request as {REQUEST}")));
    }
    // One that is too long, or broke off.
    let body = body.unwrap_or_default();
    Ok(match responder.answer(&body, context.client_address).await {
        Ok(delivery) => signed(delivery, None),
        Err(failure) => failed(failure),
    })
}

/// Ask for the status of certificates, in the path
///
/// As `POST /ocsp`, with the `OCSPRequest` in base64 as the rest of the path: percent-encoded or not, with or without
/// padding, in the usual or the URL-safe alphabet. An answer without nonce about a certificate that exists may be kept by
/// caches for 60 seconds, and is told again by its `ETag`.
#[utoipa::path(
    get, path = "/ocsp/{request}", tag = "Certificates", operation_id = "getOcsp",
    params(("request" = String, Path, description = "The `OCSPRequest` in base64; it may contain slashes")),
    responses(
        (status = 200, description = "An `OCSPResponse`", content_type = "application/ocsp-response", body = Vec<u8>,
            headers(("X-Event-Position" = u64, description = "The answer takes account of every event up to this one"))),
        (status = 304, description = "The answer that the client has, by `If-None-Match`, is still the one"),
    ),
    security(()),
)]
pub(crate) async fn get_ocsp(
    State(responder): State<OcspResponder>,
    context: RequestContext,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let request = path.ok().and_then(|Path(text)| decode(&text));
    // No request at all is malformed like any other.
    match responder.answer(&request.unwrap_or_default(), context.client_address).await {
        Ok(delivery) => signed(delivery, Some(&headers)),
        Err(failure) => failed(failure),
    }
}

/// The octets of a path, which has been percent-decoded.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_PATH {
        return None;
    }
    BASE64.decode(text.replace('-', "+").replace('_', "/")).ok()
}

fn signed(delivery: Delivery, asked: Option<&HeaderMap>) -> Response {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(X_EVENT_POSITION, HeaderValue::from(delivery.position.0));
    let shared = delivery.shared.filter(|shared| shared.is_known);
    if let (Some(asked), Some(shared)) = (asked, shared) {
        note_freshness(&mut headers, &shared);
        if asked.get_all(IF_NONE_MATCH).iter().any(|tags| names(tags, &shared.etag)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
    } else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(CONTENT_TYPE, RESPONSE);
    (headers, delivery.response).into_response()
}

/// RFC 5019, section 6.2.
fn note_freshness(headers: &mut HeaderMap, shared: &Shared) {
    let age = shared.next_update.unix_seconds() - shared.this_update.unix_seconds();
    let max_age = MAX_AGE_SECONDS.min(age / 2).max(0);
    let control = format!("max-age={max_age}, public, no-transform, must-revalidate");
    let dates = [(LAST_MODIFIED, shared.this_update), (EXPIRES, shared.next_update)];
    for (name, date) in dates.map(|(name, moment)| (name, http_date(moment))) {
        if let Some(date) = date {
            headers.insert(name, date);
        }
    }
    if let Ok(control) = HeaderValue::from_str(&control) {
        headers.insert(CACHE_CONTROL, control);
    }
    headers.insert(ETAG, shared.etag.clone());
}

fn http_date(moment: Timestamp) -> Option<HeaderValue> {
    HeaderValue::from_str(&moment.to_offset_date_time().format(HTTP_DATE).ok()?).ok()
}

/// Whether a list of entity tags has this one (RFC 9110, section 13.1.2: compared weakly).
fn names(tags: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(etag)) = (tags.to_str(), etag.to_str()) else { return false };
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn failed(failure: OcspFailure) -> Response {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(CONTENT_TYPE, RESPONSE);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if failure == OcspFailure::TryLater {
        headers.insert(RETRY_AFTER, HeaderValue::from(1));
    }
    (headers, failure.der()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_every_spelling_and_within_bounds() {
        for spelling in ["+/+/", "-_-_", "+_-/"] {
            assert_eq!(decode(spelling).unwrap(), [0xfb, 0xff, 0xbf], "{spelling}");
        }
        assert_eq!(decode("MA==").unwrap(), decode("MA").unwrap());
        for bad in ["M", "MA=A", "M A", "MA\n", "é", "MB=="] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert!(decode(&"A".repeat(MAX_PATH)).is_some());
        assert_eq!(decode(&"A".repeat(MAX_PATH + 4)), None);
    }

    #[test]
    fn an_answer_that_the_client_has_is_told_by_its_tag() {
        let etag = HeaderValue::from_static("\"a\"");
        let is_named = |tags: &'static str| names(&HeaderValue::from_static(tags), &etag);
        assert!(is_named("\"a\"") && is_named("\"b\", W/\"a\"") && is_named("*"));
        assert!(!is_named("\"b\"") && !is_named("a"));
    }

    #[test]
    fn dates_are_those_of_http() {
        let moment = Timestamp::parse("2026-02-01T03:04:05Z").unwrap();
        assert_eq!(http_date(moment).unwrap(), "Sun, 01 Feb 2026 03:04:05 GMT");
    }
}

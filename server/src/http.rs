//! What stands around every route: limits on time and size, a span, a measurement, and a problem for whatever goes wrong.

mod bounded_body;
mod host;
pub mod shedding;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_authn::http::context::provide_request_context;
use signalbeam_authn::limits::headers::announce_limits;
use signalbeam_authn::{ErrorCode, Problem, RequestContext};
use tokio::time::timeout;
use tracing::Instrument;

use crate::metrics::HTTP_DURATION;
use bounded_body::{BodyEnded, bound};
use host::require_host;
use shedding::{Shedding, shed};

/// The bounds of a request.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// How long answering may take, the request's body included.
    pub request_timeout: Duration,
    /// How long the request's body may take.
    pub body_timeout: Duration,
    /// The most bytes of the request's body.
    pub max_body_bytes: usize,
}

/// Puts everything around the routes that is common to them.
pub fn around(routes: Router, proxies: TrustedProxies, limits: RequestLimits, shedding: Arc<Shedding>) -> Router {
    routes
        .fallback(async || Problem::new(ErrorCode::NotFound, "there is no such route; GET /docs lists them all"))
        .method_not_allowed_fallback(async || {
            Problem::new(ErrorCode::MethodNotAllowed, "the route exists for other methods; GET /docs lists them all")
        })
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(shedding, shed))
        .layer(from_fn(require_host))
        .layer(from_fn(announce_limits))
        .layer(from_fn_with_state(Arc::new(limits), observe))
        .layer(from_fn_with_state(Arc::new(proxies), provide_request_context))
}

async fn observe(State(limits): State<Arc<RequestLimits>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let context = request.extensions().get::<Arc<RequestContext>>();
    let correlation_id = context.map(|context| context.correlation_id.as_str().to_owned()).unwrap_or_default();
    let span = tracing::info_span!("request", correlation_id, method, route);
    let response = answer(&limits, request, next).instrument(span.clone()).await;
    let status = response.status();
    let took = started.elapsed();
    let labels = [("route", route), ("method", method.to_owned()), ("status", status.as_str().to_owned())];
    metrics::histogram!(HTTP_DURATION, &labels).record(took);
    tracing::debug!(parent: &span, status = status.as_u16(), took_ms = took.as_millis(), "answered");
    response
}

async fn answer(limits: &RequestLimits, request: Request, next: Next) -> Response {
    let is_declared_too_large = declared_length(request.headers()).is_some_and(|length| length > limits.max_body_bytes);
    // Such a client sends its body only when it is told to, so nothing of an unread one is on the wire.
    let waits_for_continue = request.headers().contains_key(EXPECT);
    let (parts, body) = request.into_parts();
    let (body, rest) = bound(body, limits.max_body_bytes, limits.body_timeout);
    let response = if is_declared_too_large {
        refusal(BodyEnded::TooLarge, limits)
    } else {
        let response = run(limits, Request::from_parts(parts, Body::new(body)), next).await;
        rest.ended().map_or(response, |ended| refusal(ended, limits))
    };
    if !waits_for_continue {
        rest.discard(limits.body_timeout);
    }
    response
}

async fn run(limits: &RequestLimits, request: Request, next: Next) -> Response {
    // A panicking handler leaves nothing half done that another request could see: state is appended or it is not.
    let running = AssertUnwindSafe(next.run(request)).catch_unwind();
    match timeout(limits.request_timeout, running).await {
        Err(_) => {
            let detail = format!("answering took longer than {} s", limits.request_timeout.as_secs_f32());
            Problem::new(ErrorCode::RequestTimeout, detail).into_response()
        }
        Ok(Err(_panic)) => {
            // The panic's text went to the panic hook; it may quote a caller's data, so it goes no further.
            tracing::error!("a handler panicked");
            Problem::new(ErrorCode::InternalError, "the request met a defect of the server").into_response()
        }
        Ok(Ok(response)) => as_problem(response),
    }
}

fn refusal(ended: BodyEnded, limits: &RequestLimits) -> Response {
    let problem = match ended {
        BodyEnded::TooLarge => {
            let detail = format!("the body may have at most {} bytes", limits.max_body_bytes);
            Problem::new(ErrorCode::BodyTooLarge, detail)
        }
        BodyEnded::TooLate => {
            let detail = format!("the body took longer than {} s", limits.body_timeout.as_secs_f32());
            Problem::new(ErrorCode::RequestTimeout, detail)
        }
    };
    problem.into_response()
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Errors that axum itself answers are plain text; callers get a problem instead. Other headers stay.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    let is_plain = content_type.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !is_plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (ErrorCode::NotFound, "there is no such thing"),
        StatusCode::METHOD_NOT_ALLOWED => (ErrorCode::MethodNotAllowed, "the route exists for other methods"),
        StatusCode::PAYLOAD_TOO_LARGE => (ErrorCode::BodyTooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (ErrorCode::UnsupportedMediaType, "the body must be application/json"),
        StatusCode::REQUEST_TIMEOUT => (ErrorCode::RequestTimeout, "the request took too long"),
        _ if status.is_client_error() => (ErrorCode::InvalidRequest, "the request is malformed"),
        _ => (ErrorCode::InternalError, "something went wrong here"),
    };
    let mut problem = Problem::new(code, detail).into_response();
    for (name, value) in response.headers() {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH {
            problem.headers_mut().append(name, value.clone());
        }
    }
    problem
}

/// A method as a metric's label: strangers may send any, so unknown ones share a label.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;

//! What is known of a request before anybody looks at its credentials: its correlation id and where it came from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AsHeaderName, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use signalbeam_domain::CorrelationId;
use uuid::Uuid;

use super::problem::{CORRELATION_ID, Problem};
use crate::client_address::TrustedProxies;
use crate::code::ErrorCode;
use crate::connection::Connection;

/// The header that names a request across systems.
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The most characters of a user agent that are kept.
const MAX_USER_AGENT_CHARACTERS: usize = 256;

/// What is known of the request that is being answered.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Ties together logs, events and audit rows.
    pub correlation_id: CorrelationId,
    /// The client's address, trusted proxies looked through.
    pub client_address: IpAddr,
    /// What the client calls itself: bounded, and without control characters.
    pub user_agent: Option<String>,
    /// The connection that it came on; with the certificate that a trusted proxy hands on, where it does.
    pub connection: Arc<Connection>,
}

/// Gives every request its [`RequestContext`], and every answer the correlation id.
pub async fn provide_request_context(
    State(proxies): State<Arc<TrustedProxies>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let correlation_id = single(headers, X_CORRELATION_ID)
        .and_then(CorrelationId::parse)
        .or_else(|| single(headers, "traceparent").and_then(trace_id))
        .unwrap_or_else(|| CorrelationId::from_uuid(Uuid::now_v7()));
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let connection =
        connection.unwrap_or_else(|| Arc::new(Connection::plain(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))));
    let context = RequestContext {
        client_address: proxies.client_address(connection.peer.ip(), headers),
        user_agent: headers.get(USER_AGENT).map(printable),
        correlation_id: correlation_id.clone(),
        connection: proxies.client_connection(&connection, headers),
    };
    request.extensions_mut().insert(Arc::new(context));
    let header = HeaderValue::from_str(correlation_id.as_str());
    let mut response = CORRELATION_ID.scope(correlation_id, next.run(request)).await;
    if let Ok(header) = header {
        response.headers_mut().insert(X_CORRELATION_ID, header);
    }
    response
}

/// A header's value where it occurs exactly once and is text.
pub(crate) fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// The trace id of a `traceparent` header (W3C Trace Context, section 3.2), which then ties our logs to the caller's.
fn trace_id(traceparent: &str) -> Option<CorrelationId> {
    let mut parts = traceparent.split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_valid = version.len() == 2 && is_hex(version) && trace_id.len() == 32 && is_hex(trace_id);
    (is_valid && trace_id.bytes().any(|b| b != b'0')).then(|| CorrelationId::parse(trace_id))?
}

fn printable(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().take(MAX_USER_AGENT_CHARACTERS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let context = parts.extensions.get::<Arc<Self>>();
        context
            .map(|context| Self::clone(context))
            .ok_or_else(|| Problem::new(ErrorCode::InternalError, "the request has no context"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_names_the_request() {
        let id = trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(id.as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "00-xyz",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-1-1",
        ] {
            assert_eq!(trace_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_user_agent_stays_on_one_line_and_is_bounded() {
        let hostile = HeaderValue::from_bytes(b"a\tb\xff").unwrap();
        assert_eq!(printable(&hostile), "a\u{fffd}b\u{fffd}");
        assert_eq!(printable(&HeaderValue::from_str(&"x".repeat(5_000)).unwrap()).len(), 256);
    }
}

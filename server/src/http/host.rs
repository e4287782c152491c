//! HTTP/1.1 requests say once, and well-formed, which host they are for (RFC 9112, section 3.2).

use std::net::Ipv6Addr;

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use signalbeam_authn::Problem;

/// Refuses what proxies on the way may have understood as a request to somebody else.
pub(super) async fn require_host(request: Request, next: Next) -> Response {
    if is_fine(request.version(), request.headers()) {
        return next.run(request).await;
    }
    Problem::invalid("/header/Host", "must be there once, as the host and port of the URL").into_response()
}

/// Of HTTP/2 the HTTP layer itself judges `:authority`; HTTP/1.0 knows no `Host`, but none that is there may be malformed.
fn is_fine(version: Version, headers: &HeaderMap) -> bool {
    if version > Version::HTTP_11 {
        return true;
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        (Some(_), Some(_)) => false,
    }
}

/// Whether it is a host that is not empty, and maybe a port (RFC 9110, sections 4.2.2 and 7.2).
fn is_host(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let host = authority.host();
    let Some(port) = text.strip_prefix(host) else { return false };
    let is_literal = host
        .strip_prefix('[')
        .is_none_or(|rest| rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()));
    let is_port = |port: &str| port.is_empty() || (is_digits(port) && port.parse::<u16>().is_ok());
    !host.is_empty() && is_literal && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for fine in ["x", "localhost:8443", "fleet_1.example", "192.0.2.1", "[::1]", "[2001:db8::1]:443", "x:"] {
            assert!(is_host(fine), "{fine}");
        }
        for bad in [
            "",
            ":8443",
            "a b",
            "a/b",
            "a@b",
            "https://a",
            "a?b",
            "a#b",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:+1",
            "[::1",
            "::1]",
            "[x]",
            "[::1]x",
            "[::1]:x",
            "a\\b",
            "a\"b",
            "<a>",
            "é",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn only_the_first_versions_need_one_and_none_may_have_two() {
        let hosts = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HOST, axum::http::HeaderValue::from_static(value));
            }
            headers
        };
        for (version, values, fine) in [
            (Version::HTTP_11, &["x"][..], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &["x", "x"], false),
            (Version::HTTP_11, &["a b"], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["x", "y"], false),
            (Version::HTTP_2, &[], true),
        ] {
            assert_eq!(is_fine(version, &hosts(values)), fine, "{version:?} {values:?}");
        }
    }
}

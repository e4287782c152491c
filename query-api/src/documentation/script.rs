//! `GET /docs/scalar.js`: Scalar's script, which travels in the binary as gzip.

use std::io::Read as _;
use std::sync::LazyLock;

use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use signalbeam_authn::{ErrorCode, Problem};

use super::{entity_tag, unless_known};

static GZIPPED: &[u8] = include_bytes!("../../assets/scalar/standalone.js.gz");
static GZIPPED_TAG: LazyLock<String> = LazyLock::new(|| entity_tag(GZIPPED));
/// For the few clients that take no gzip, unpacked once.
static PLAIN: LazyLock<std::io::Result<(Bytes, String)>> = LazyLock::new(|| {
    let mut plain = vec![];
    GzDecoder::new(GZIPPED).read_to_end(&mut plain)?;
    let tag = entity_tag(&plain);
    Ok((plain.into(), tag))
});

pub(super) async fn scalar(headers: HeaderMap) -> Response {
    let fixed = [
        (CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        // A day without asking; after that one question, answered with 304 unless the server was upgraded.
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400")),
        (VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if accepts_gzip(&headers) {
        let encoding = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        return unless_known(&headers, &GZIPPED_TAG, || (fixed, encoding, Bytes::from_static(GZIPPED)).into_response());
    }
    match &*PLAIN {
        Ok((plain, tag)) => unless_known(&headers, tag, || (fixed, plain.clone()).into_response()),
        Err(error) => {
            tracing::error!(error = error as &dyn std::error::Error, "the script of the documentation is damaged");
            Problem::new(ErrorCode::InternalError, "the script is damaged; the API is described at /openapi.json")
                .into_response()
        }
    }
}

/// RFC 9110, section 12.5.3: named, or covered by `*`, and not refused with a weight of 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight_of = |wanted: &str| {
        let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
        let mut codings = values.flat_map(|value| value.split(',')).map(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
            (name.trim(), weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).unwrap_or(0.0))
        });
        codings.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, weight)| weight)
    };
    weight_of("gzip").or_else(|| weight_of("*")).is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        let accepts = |value: &'static str| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            accepts_gzip(&headers)
        };
        assert!(accepts("gzip") && accepts("br, GZIP;q=0.5") && accepts("*") && accepts("deflate, *;q=0.1"));
        assert!(!accepts("") && !accepts("br") && !accepts("gzip;q=0") && !accepts("gzip; q=0, *"));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}

//! The targets, by what they read.

pub(crate) mod addresses;
pub(crate) mod certificates;
pub(crate) mod contexts;
pub(crate) mod est_bodies;
pub(crate) mod forwarded_certificates;
pub(crate) mod ocsp_requests;
pub(crate) mod proxy_headers;
pub(crate) mod requests;
pub(crate) mod texts;

use http::{HeaderMap, HeaderValue};

/// The lines of an input as the lines of one header; what no HTTP parser would let through is left out.
fn header_lines(name: &'static str, input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

/// The same with something written behind what came, as a proxy does: at the end of the last line, or on a line of its own.
fn appended(headers: &HeaderMap, name: &'static str, more: &str) -> [HeaderMap; 2] {
    let mut on_own_line = headers.clone();
    on_own_line.append(name, HeaderValue::from_str(more).unwrap());
    let mut lines: Vec<_> = headers.get_all(name).iter().cloned().collect();
    let last = lines.pop().map_or(more.as_bytes().to_vec(), |last| [last.as_bytes(), b", ", more.as_bytes()].concat());
    lines.push(HeaderValue::from_bytes(&last).unwrap());
    let mut behind = HeaderMap::new();
    for line in lines {
        behind.append(name, line);
    }
    [on_own_line, behind]
}

//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): what the limits that a request met
//! allow, and what is left of them.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::Limit;
use super::quota::Standing;

/// The header that says what limits there are.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The header that says what is left of them.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

tokio::task_local! {
    /// The limits that the request of the current task has met.
    static MET: RefCell<Vec<(Limit, Standing)>>;
}

/// Notes a limit for the headers of the answer. Of one limit that is met twice, the tighter standing counts.
pub(super) fn note(limit: Limit, standing: Standing) {
    // Nobody answers where nobody listens: in a test of an authenticator alone.
    let _unheard = MET.try_with(|met| {
        let mut met = met.borrow_mut();
        match met.iter_mut().find(|(noted, _)| *noted == limit) {
            Some((_, noted)) if noted.remaining < standing.remaining => {}
            Some((_, noted)) => *noted = standing,
            None => met.push((limit, standing)),
        }
    });
}

/// Puts the limits that the routes note on their answers. Stands around them as a middleware.
pub async fn announce_limits(request: Request, next: Next) -> Response {
    let answering = async {
        let response = next.run(request).await;
        (response, MET.with(RefCell::take))
    };
    let (mut response, met) = MET.scope(RefCell::default(), answering).await;
    for (name, value) in [(RATE_LIMIT_POLICY, policy(&met)), (RATE_LIMIT, standing(&met))] {
        if let Some(value) = HeaderValue::try_from(value).ok().filter(|value| !value.is_empty()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn policy(met: &[(Limit, Standing)]) -> String {
    list(met, |item, standing| write!(item, ";q={};w={}", standing.quota.burst(), seconds(standing.quota.window())))
}

fn standing(met: &[(Limit, Standing)]) -> String {
    list(met, |item, standing| write!(item, ";r={};t={}", standing.remaining, seconds(standing.reset)))
}

/// A list of strings with parameters (RFC 9651, section 3.1).
fn list(met: &[(Limit, Standing)], parameters: impl Fn(&mut String, &Standing) -> std::fmt::Result) -> String {
    let mut list = String::new();
    for (limit, standing) in met {
        let separator = if list.is_empty() { "" } else { ", " };
        // Writing into a string does not fail.
        let _ = write!(list, "{separator}\"{}\"", limit.as_str());
        let _ = parameters(&mut list, standing);
    }
    list
}

/// Whole seconds, rounded up: who waits for so long does not come too early.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::super::quota::Quota;
    use super::*;

    #[test]
    fn the_headers_are_lists_of_strings_with_parameters() {
        let standing_of = |remaining, reset_milliseconds| Standing {
            quota: Quota::per_minute(1_000, 600),
            remaining,
            reset: Duration::from_millis(reset_milliseconds),
        };
        let met = [(Limit::Registrations, standing_of(999, 100)), (Limit::Issuances, standing_of(0, 2_000))];
        assert_eq!(policy(&met), r#""registrations";q=1000;w=100, "issuances";q=1000;w=100"#);
        assert_eq!(standing(&met), r#""registrations";r=999;t=1, "issuances";r=0;t=2"#);
        assert_eq!(policy(&[]), "");
    }
}

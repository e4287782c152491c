//! Conditional requests (RFC 9110, section 13): has the caller what it asks for?

use axum::http::HeaderMap;
use axum::http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use signalbeam_domain::Timestamp;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// `IMF-fixdate` (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// A moment as HTTP writes it.
pub(super) fn http_date(moment: Timestamp) -> String {
    // All components are there: nothing can be missing.
    moment.to_offset_date_time().format(HTTP_DATE).unwrap_or_default()
}

/// Whether the caller has the representation of this tag. A date counts only where no tag was sent (RFC 9110, section
/// 13.1.3).
pub(super) fn is_unchanged(request: &HeaderMap, tag: &str, modified: Timestamp) -> bool {
    let mut tags = request.get_all(IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        let tags = tags.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        // Weakly compared (RFC 9110, section 8.8.3.2).
        return tags.map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag);
    }
    let since = request.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| PrimitiveDateTime::parse(text, HTTP_DATE).ok());
    since.is_some_and(|since| modified.unix_seconds() <= since.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const MODIFIED: i64 = 784_111_777;

    fn unchanged(headers: &[(axum::http::HeaderName, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        is_unchanged(&map, "\"a\"", Timestamp::from_unix_seconds(MODIFIED))
    }

    #[test]
    fn a_moment_is_written_as_http_does() {
        assert_eq!(http_date(Timestamp::from_unix_seconds(MODIFIED)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_tag_that_the_caller_names_is_what_it_has() {
        for tags in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(unchanged(&[(IF_NONE_MATCH, tags)]), "{tags}");
        }
        for tags in ["\"b\"", "a", ""] {
            assert!(!unchanged(&[(IF_NONE_MATCH, tags)]), "{tags}");
        }
        assert!(unchanged(&[(IF_NONE_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")]));
        assert!(!unchanged(&[]));
    }

    #[test]
    fn a_date_counts_where_no_tag_is_named() {
        let (same, earlier) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT");
        assert!(unchanged(&[(IF_MODIFIED_SINCE, same)]));
        assert!(!unchanged(&[(IF_MODIFIED_SINCE, earlier)]));
        assert!(!unchanged(&[(IF_MODIFIED_SINCE, "yesterday")]));
        assert!(!unchanged(&[(IF_MODIFIED_SINCE, same), (IF_NONE_MATCH, "\"b\"")]));
    }
}

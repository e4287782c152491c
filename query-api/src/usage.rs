//! How credentials are used: counted from the authentication log a moment after the fact.

pub mod by_day;
pub mod of_device;

use serde::Serialize;
use signalbeam_authn::Problem;
use signalbeam_domain::Timestamp;
use signalbeam_projections::{DaySpan, DayUsage};
use utoipa::ToSchema;

use crate::parameters::Moment;

/// The most days that one answer covers.
const MAX_DAYS: i64 = 400;
/// How many days are shown where no first one is named.
const DEFAULT_DAYS: i64 = 30;

/// The days from the first moment's through the last moment's, whose end is exclusive.
fn span(start: Option<Moment>, end: Option<Moment>, now: Timestamp) -> Result<DaySpan, Problem> {
    let end = end.map_or(now, |end| Timestamp::from_unix_microseconds(end.0.unix_microseconds() - 1));
    let start = start.map_or_else(|| end.plus_days(-DEFAULT_DAYS), |start| start.0);
    if start > end {
        return Err(Problem::invalid("/query/endDate", "must be later than startDate"));
    }
    if start.plus_days(MAX_DAYS) < end {
        return Err(Problem::invalid("/query/startDate", format!("must be at most {MAX_DAYS} days before the end")));
    }
    Ok(DaySpan { first: day(start), last: day(end) })
}

fn day(moment: Timestamp) -> String {
    let mut text = moment.to_string();
    text.truncate("2026-01-31".len());
    text
}

/// What was done by one method on one day.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageOfDay {
    /// The day in UTC.
    #[schema(format = Date, example = "2026-01-31")]
    day: String,
    /// By what means.
    #[schema(example = "Certificate")]
    authentication_method: &'static str,
    /// How many devices tried, each counted once a day and method.
    devices: u64,
    /// How many attempts succeeded.
    successes: u64,
    /// How many failed.
    failures: u64,
}

impl From<DayUsage> for UsageOfDay {
    fn from(usage: DayUsage) -> Self {
        Self {
            day: usage.day,
            authentication_method: usage.method.as_str(),
            devices: usage.devices,
            successes: usage.successes,
            failures: usage.failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: Option<&str>, end: Option<&str>) -> Result<(String, String), String> {
        let moment = |text: &str| Moment(Timestamp::parse(text).unwrap());
        let now = Timestamp::parse("2026-03-10T12:00:00Z").unwrap();
        let span = super::span(start.map(moment), end.map(moment), now);
        span.map(|span| (span.first, span.last)).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn days_run_from_the_first_through_the_one_that_the_end_lies_in() {
        let days = |first: &str, last: &str| Ok((first.to_owned(), last.to_owned()));
        let between = |start, end| span(Some(start), Some(end));
        assert_eq!(span(None, None), days("2026-02-08", "2026-03-10"));
        let whole = between("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        assert_eq!(whole, days("2026-01-01", "2026-01-31"), "the end is exclusive");
        assert_eq!(between("2026-01-01T23:00:00Z", "2026-01-02T01:00:00Z"), days("2026-01-01", "2026-01-02"));
        assert!(between("2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z").is_err());
        assert!(span(Some("2020-01-01T00:00:00Z"), None).unwrap_err().contains("400 days"));
        assert!(between("9999-12-31T00:00:00Z", "0001-01-01T00:00:00Z").is_err());
    }
}

//! How credentials are used: counted from the authentication log a moment after the fact.

pub mod by_day;
pub mod of_device;

use serde::{Deserialize, Serialize};
use signalbeam_authn::Problem;
use signalbeam_domain::Timestamp;
use signalbeam_projections::{DaySpan, DayUsage};
use utoipa::{IntoParams, ToSchema};

use crate::parameters::Moment;

/// The most days that one answer covers.
const MAX_DAYS: i64 = 400;
/// How many days are shown where no first one is named.
const DEFAULT_DAYS: i64 = 30;

/// Which days are shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Days {
    /// The first day in UTC, or a moment of it; by default 30 days before the end.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-01-01")]
    start_date: Option<Moment>,
    /// The day, in UTC, before which to end, or a moment: its day then counts where it is not the first moment; by default now.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-02-01")]
    end_date: Option<Moment>,
    /// Answer only from this position of the log on; waits up to 2 s for it.
    #[serde(default)]
    min_position: Option<u64>,
}

impl Days {
    /// The days from the first moment's through the last moment's, whose end is exclusive.
    fn span(&self, now: Timestamp) -> Result<DaySpan, Problem> {
        let end = self.end_date.map_or(now, |end| Timestamp::from_unix_microseconds(end.0.unix_microseconds() - 1));
        let start = self.start_date.map_or_else(|| end.plus_days(-DEFAULT_DAYS), |start| start.0);
        if start > end {
            return Err(Problem::invalid("/query/endDate", "must be later than startDate"));
        }
        if start.plus_days(MAX_DAYS) < end {
            return Err(Problem::invalid(
                "/query/startDate",
                format!("must be at most {MAX_DAYS} days before the end"),
            ));
        }
        Ok(DaySpan { first: day(start), last: day(end) })
    }
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
    use serde_json::{Value, json};

    use super::*;

    fn span(days: Value) -> Result<(String, String), String> {
        let days: Days = serde_json::from_value(days).unwrap();
        let now = Timestamp::parse("2026-03-10T12:00:00Z").unwrap();
        days.span(now).map(|span| (span.first, span.last)).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn days_run_from_the_first_through_the_one_that_the_end_lies_in() {
        let days = |first: &str, last: &str| Ok((first.to_owned(), last.to_owned()));
        assert_eq!(span(json!({})), days("2026-02-08", "2026-03-10"));
        let named = json!({ "startDate": "2026-01-01", "endDate": "2026-02-01" });
        assert_eq!(span(named), days("2026-01-01", "2026-01-31"), "the end is exclusive");
        let moments = json!({ "startDate": "2026-01-01T23:00:00Z", "endDate": "2026-01-02T01:00:00Z" });
        assert_eq!(span(moments), days("2026-01-01", "2026-01-02"));
        assert!(span(json!({ "startDate": "2026-01-02", "endDate": "2026-01-02" })).is_err());
        assert!(span(json!({ "startDate": "2020-01-01" })).unwrap_err().contains("400 days"));
        assert!(span(json!({ "startDate": "9999-12-31", "endDate": "0001-01-01" })).is_err());
    }
}

//! What people and scripts read: text or JSON on standard output.

use std::io::Write;

use serde::Serialize;
use time::OffsetDateTime;

use crate::failure::Failure;

const CLOSED: &str = "cannot write the output";

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// Standard output, or a test's stand-in for it.
pub struct Output<'a> {
    format: Format,
    sink: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    /// Output of this form to this place.
    pub fn new(format: Format, sink: &'a mut dyn Write) -> Self {
        Self { format, sink }
    }

    /// Writes a remark for people; scripts get results only.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn remark(&mut self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Text => writeln!(self.sink, "{text}").map_err(|error| Failure::system(CLOSED, error)),
            Format::Json => Ok(()),
        }
    }

    /// Writes what has a form of its own, such as a script.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sink.write_all(bytes).map_err(|error| Failure::system(CLOSED, error))
    }

    /// Writes a result in the form that was asked for.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn show<J: Serialize>(&mut self, text: &str, json: &J) -> Result<(), Failure> {
        let json_line;
        let line = match self.format {
            Format::Text => text,
            Format::Json => {
                json_line = serde_json::to_string(json).map_err(|error| Failure::system(CLOSED, error))?;
                &json_line
            }
        };
        writeln!(self.sink, "{line}").map_err(|error| Failure::system(CLOSED, error))
    }
}

/// A failure as the last words of a command on standard error.
pub fn failure_text(failure: &Failure, format: Format) -> String {
    failure_text_advising(failure, failure.advice(), format)
}

/// As [`failure_text`], with another program's advice.
pub fn failure_text_advising(failure: &Failure, advice: &str, format: Format) -> String {
    match format {
        Format::Text => format!("❌ {failure}\n   {advice}"),
        Format::Json => {
            let error = serde_json::json!({
                "code": failure.code(),
                "message": failure.to_string(),
                "advice": advice,
                "exitCode": failure.exit().code(),
            });
            serde_json::json!({ "error": error }).to_string()
        }
    }
}

/// The heading of the two status reports.
pub fn heading(title: &str, width: usize) -> String {
    format!("{title}\n{}\n", "━".repeat(width))
}

/// A day, as in `2025-04-01` (UTC).
pub fn date(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).date().to_string()
}

/// Days until a time, a day that has begun counted as one; 0 and less once it is over.
pub fn days_until(now: OffsetDateTime, end: OffsetDateTime) -> i64 {
    let seconds = (end - now).whole_seconds();
    if seconds > 0 { (seconds + 86_399) / 86_400 } else { seconds / 86_400 }
}

/// `90 days`, `1 day`, `expired`.
pub fn days_phrase(now: OffsetDateTime, end: OffsetDateTime) -> String {
    match days_until(now, end) {
        _ if end <= now => "expired".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// A text from outside without what could steer the terminal or fake another line.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn days_are_counted_as_people_count_them() {
        let now = datetime!(2025-01-01 00:00:05 UTC);
        for (end, phrase) in [
            (datetime!(2025-04-01 00:00:00 UTC), "90 days"),
            (datetime!(2025-01-01 00:00:06 UTC), "1 day"),
            (datetime!(2025-01-02 00:00:06 UTC), "2 days"),
            (datetime!(2025-01-01 00:00:05 UTC), "expired"),
            (datetime!(2024-12-01 00:00:00 UTC), "expired"),
        ] {
            assert_eq!(days_phrase(now, end), phrase, "{end}");
        }
        assert_eq!(date(datetime!(2025-04-01 01:00:00 +02:00)), "2025-03-31");
    }

    #[test]
    fn a_text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(printable("bad\u{1b}[2J\nApproved"), "bad\u{fffd}[2J\u{fffd}Approved");
    }

    #[test]
    fn a_failure_is_one_json_object_for_scripts() {
        let value: serde_json::Value = serde_json::from_str(&failure_text(&Failure::NoApiKey, Format::Json)).unwrap();
        assert_eq!(value["error"]["code"], "API_KEY_MISSING");
        assert_eq!(value["error"]["exitCode"], 5);
    }
}

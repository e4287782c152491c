//! Looking a data directory over: files, authority, logs, settings, and the server that runs on it. Only reads.

mod authorities;
mod certificates;
mod files;
mod live;
mod logs;
mod settings;

use std::path::{Path, PathBuf};

use serde::Serialize;
use signalbeam_domain::Timestamp;

use crate::config::{Config, ConfigError, Sources};

/// The version of the report's shape.
const REPORT_VERSION: u32 = 1;

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// Something does not work, or is not safe.
    Error,
    /// It could not be looked at, because of something that another check tells, or does not apply.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its stable name.
    pub id: &'static str,
    /// What became of it.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// What to do about it; absent where there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

impl Check {
    fn ok(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, status: Status::Ok, message: message.into(), action: None }
    }

    fn skipped(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, status: Status::Skipped, message: message.into(), action: None }
    }

    fn warning(id: &'static str, message: impl Into<String>, action: impl Into<String>) -> Self {
        Self { id, status: Status::Warning, message: message.into(), action: Some(action.into()) }
    }

    fn error(id: &'static str, message: impl Into<String>, action: impl Into<String>) -> Self {
        Self { id, status: Status::Error, message: message.into(), action: Some(action.into()) }
    }
}

/// How many checks came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// As they should be.
    pub ok: usize,
    /// With something to look at.
    pub warning: usize,
    /// With something that does not work.
    pub error: usize,
    /// Not made.
    pub skipped: usize,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of this shape.
    pub version: u32,
    /// What was looked at.
    pub data_dir: PathBuf,
    /// When.
    pub checked_at: Timestamp,
    /// How many checks came to what.
    pub summary: Summary,
    /// The checks, in a fixed order.
    pub checks: Vec<Check>,
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// Where the configuration comes from.
    pub sources: &'a Sources,
    /// Whether to read the whole logs, however long that takes.
    pub deep: bool,
    /// The present moment.
    pub now: Timestamp,
}

/// What the checks know beside the request.
struct Subject<'a> {
    data_dir: &'a Path,
    config: Result<Config, ConfigError>,
    deep: bool,
    now: Timestamp,
}

/// Looks everything over.
pub async fn examine(request: Request<'_>) -> Report {
    let Request { data_dir, sources, deep, now } = request;
    let subject = Subject { data_dir, config: sources.load(), deep, now };
    let denied = files::denied(data_dir);
    let is_denied = denied.is_some();
    let mut checks = denied.map_or_else(|| files::checks(&subject), |denied| vec![denied]);
    if data_dir.is_dir() && !is_denied {
        checks.extend(certificates::checks(&subject));
        checks.extend(logs::checks(&subject).await);
        checks.extend(authorities::checks(&subject).await);
        checks.extend(live::checks(&subject));
    }
    // A file in a directory that cannot be read has not been looked for.
    if !is_denied || sources.file.is_some() {
        checks.extend(settings::checks(&subject, sources));
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let summary = Summary {
        ok: count(Status::Ok),
        warning: count(Status::Warning),
        error: count(Status::Error),
        skipped: count(Status::Skipped),
    };
    Report { version: REPORT_VERSION, data_dir: data_dir.to_owned(), checked_at: now, summary, checks }
}

/// How an error and its causes read in one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

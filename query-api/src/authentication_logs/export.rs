//! `GET /api/authentication-logs/export`
//!
//! However long the log is, one chunk of it is in memory: the next is read when the client has taken the one before.

mod csv;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::Timestamp;
use signalbeam_projections::{AttemptFilter, AuditError, AuditLog, RecordedAttempt};
use utoipa::ToSchema;

use super::{AuthenticationLogEntry, attempt_parameters};
use crate::reading::audit_unavailable;
use crate::state::QueryApi;

/// How many attempts are in memory at a time.
const CHUNK: usize = 500;

/// How attempts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// RFC 4180, with a row of names. A value that a spreadsheet would take for a formula has a `'` before it.
    #[default]
    Csv,
    /// One JSON object a line, as in the list.
    Ndjson,
}

impl ExportFormat {
    const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

attempt_parameters! {
    /// Which attempts are exported, and how.
    ExportAuthenticationLogs {
        /// `csv`, the default, or `ndjson`.
        #[serde(default)]
        #[param(value_type = ExportFormat, inline, required = false)]
        format: ExportFormat,
        /// Answer only from this position of the log on; waits up to 2 s for it.
        #[serde(default)]
        min_position: Option<u64>,
    }
}

/// Export authentication attempts.
///
/// All that the parameters want, the oldest first, up to the last one that was recorded when the request came. Sent while
/// it is read, so a failure in the middle ends the connection instead of the answer: an answer that has an end is complete.
/// An admin of one tenant gets the attempts with that tenant's credentials.
#[utoipa::path(
    get, path = "/api/authentication-logs/export", tag = "Authentication log",
    operation_id = "exportAuthenticationLogs",
    params(ExportAuthenticationLogs),
    responses(
        (status = 200, description = "The attempts, as a file", content(
            (String = "text/csv"),
            (String = "application/x-ndjson"),
        )),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `AUDIT_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn export_authentication_logs(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<ExportAuthenticationLogs>,
) -> Result<Response, Problem> {
    admin.require(Permission::Read)?;
    let filter = query.filter(&admin)?;
    let format = query.format;
    if let Some(position) = query.min_position {
        api.settle(Some(position)).await?;
    }
    let through = api.audit.head().await.map_err(|error| audit_unavailable(&error))?;
    let mut export = Export { audit: Arc::clone(&api.audit), filter, format, after: 0, through };
    // What fails before anything is sent can still be told.
    let mut first = match format {
        ExportFormat::Csv => csv::NAMES.to_vec(),
        ExportFormat::Ndjson => vec![],
    };
    first.extend(export.chunk().await.map_err(|error| audit_unavailable(&error))?.unwrap_or_default());
    let body = Body::from_stream(stream::try_unfold((Some(first), export), next));
    let file_name = file_name(api.now(), format);
    let headers = [
        (CONTENT_TYPE, format.content_type().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{file_name}\"")),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}

/// Such as `authentication-logs-20260131T120000Z.csv`.
fn file_name(now: Timestamp, format: ExportFormat) -> String {
    let moment: String = now.to_string().chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    format!("authentication-logs-{moment}Z.{}", format.extension())
}

/// How far an export has come.
struct Export {
    audit: Arc<dyn AuditLog>,
    filter: AttemptFilter,
    format: ExportFormat,
    after: i64,
    through: i64,
}

/// The first chunk, which has been read already, then the others.
async fn next(
    (first, mut export): (Option<Vec<u8>>, Export),
) -> Result<Option<(Bytes, (Option<Vec<u8>>, Export))>, AuditError> {
    let chunk = match first {
        Some(first) => Some(first),
        None => export.chunk().await.inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "an export ends in the middle: the authentication log could not be read");
        })?,
    };
    Ok(chunk.map(|chunk| (Bytes::from(chunk), (None, export))))
}

impl Export {
    /// The next attempts as they are sent; `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, AuditError> {
        while self.after < self.through {
            let scan = self.audit.scan(&self.filter, self.after, self.through, CHUNK).await?;
            self.after = scan.reached;
            if !scan.attempts.is_empty() {
                return Ok(Some(self.written(scan.attempts)));
            }
        }
        Ok(None)
    }

    fn written(&self, attempts: Vec<RecordedAttempt>) -> Vec<u8> {
        let mut chunk = Vec::with_capacity(attempts.len() * 512);
        for recorded in attempts {
            let entry = AuthenticationLogEntry::from(recorded.attempt);
            match self.format {
                ExportFormat::Csv => csv::write(&mut chunk, &entry),
                ExportFormat::Ndjson => {
                    // Plain values always become JSON, and memory takes them.
                    let _ = serde_json::to_writer(&mut chunk, &entry);
                    chunk.push(b'\n');
                }
            }
        }
        chunk
    }
}

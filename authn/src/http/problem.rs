//! Errors as problem JSON (RFC 9457), with a stable code, the correlation id, and pointers to what was wrong.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use signalbeam_domain::CorrelationId;

use super::echo::{shortened, with_short_echo};
use crate::code::ErrorCode;

tokio::task_local! {
    /// The correlation id of the request that the current task answers.
    pub(crate) static CORRELATION_ID: CorrelationId;
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the body; `/query/...`, `/path/...` or `/header/...` for what is not in the body.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A refusal, ready to be answered.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ErrorCode,
    detail: String,
    errors: Vec<FieldError>,
    extensions: Map<String, Value>,
    retry_after_seconds: Option<u64>,
}

/// The body of every error answer (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A URI that names the kind of error.
    #[serde(rename = "type")]
    kind: String,
    /// What the code means.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, and what to do.
    detail: String,
    /// The stable code.
    code: &'static str,
    /// The request's correlation id.
    correlation_id: Option<String>,
    /// What is wrong with the request, field by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(flatten)]
    #[schema(ignore)]
    extensions: Map<String, Value>,
}

impl Problem {
    /// A problem with its detail.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: vec![], extensions: Map::new(), retry_after_seconds: None }
    }

    /// One field of the request is wrong: 400 `INVALID_REQUEST`. What the caller sent is repeated to them in short.
    pub fn invalid(pointer: impl AsRef<str>, detail: impl AsRef<str>) -> Self {
        let pointer = shortened(pointer.as_ref()).into_owned();
        let error = FieldError { pointer, detail: with_short_echo(detail.as_ref()) };
        let problem = Self::new(ErrorCode::InvalidRequest, format!("{}: {}", error.pointer, error.detail));
        Self { errors: vec![error], ..problem }
    }

    /// There is no such thing, or it is another tenant's: the caller cannot tell which.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no such {what}"))
    }

    /// A member beside the standard ones.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// When it makes sense to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What is wrong with the request, field by field.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// What happened.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let retry_after = self.retry_after_seconds.or((status.as_u16() == 503).then_some(1));
        let body = ProblemBody {
            kind: format!("urn:signalbeam:error:{}", self.code.as_str()),
            title: self.code.title(),
            status: status.as_u16(),
            detail: self.detail,
            code: self.code.as_str(),
            correlation_id: CORRELATION_ID.try_with(|id| id.as_str().to_owned()).ok(),
            errors: self.errors,
            extensions: self.extensions,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status.as_u16() == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"signalbeam\""));
        }
        response
    }
}

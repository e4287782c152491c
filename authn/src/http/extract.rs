//! Bodies, path parameters and query strings, parsed strictly: what does not fit is answered with a pointer to it.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::value::Error as ValueError;
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use super::problem::Problem;
use crate::code::ErrorCode;

/// A JSON body. No content type or a form's is read as JSON too, since that is what plain command lines send; an empty
/// body stands for `{}`. Keeps the exact bytes, because an idempotency key is bound to them.
pub struct JsonBody<T> {
    /// The value.
    pub value: T,
    /// The bytes that it was read from.
    pub bytes: Bytes,
}

/// Without the bytes, which may hold secrets that the value does not print.
impl<T: std::fmt::Debug> std::fmt::Debug for JsonBody<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonBody").field("value", &self.value).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_content_type(&request)?;
        let bytes = read_to_end(request, state).await?;
        let value = parse_json(if bytes.iter().all(u8::is_ascii_whitespace) { b"{}" } else { &bytes })?;
        Ok(Self { value, bytes })
    }
}

/// The whole body of a request, of whatever kind.
///
/// # Errors
/// 413 `BODY_TOO_LARGE`, 408 `REQUEST_TIMEOUT`, or 400 `INVALID_REQUEST` where it ends in the middle.
pub async fn read_to_end<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| unreadable(&rejection))
}

/// The media type that a request says its body is of: in lower case, without parameters; empty where it is no text.
/// `None` where it says nothing.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?;
    Some(value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn check_content_type(request: &Request) -> Result<(), Problem> {
    let Some(essence) = media_type(request.headers()) else { return Ok(()) };
    if matches!(essence.as_str(), "application/json" | "application/x-www-form-urlencoded") {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::UnsupportedMediaType, "send the body as application/json"))
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    match rejection.status().as_u16() {
        413 => Problem::new(ErrorCode::BodyTooLarge, "the body is larger than this server takes"),
        408 => Problem::new(ErrorCode::RequestTimeout, "the body did not arrive in time"),
        _ => Problem::new(ErrorCode::InvalidRequest, "the body could not be read to its end"),
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array for a struct, field by field.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::invalid("", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        json_problem(pointer, error.inner())
    })?;
    deserializer.end().map_err(|error| json_problem(String::new(), &error))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

fn json_problem(parent: String, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let detail = message.split(" at line ").next().unwrap_or_default().to_owned();
    if error.is_data() {
        // serde names a missing field only in its message.
        let missing = detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        return match missing {
            Some(field) => Problem::invalid(format!("{parent}/{field}"), "is required"),
            None => Problem::invalid(parent, detail),
        };
    }
    Problem::invalid("", format!("not valid JSON: {message}"))
}

/// A route's only path parameter, parsed into its type; a refusal points to it by its name.
#[derive(Debug)]
pub struct PathParameter<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for PathParameter<T> {
    type Rejection = Problem;

    // axum's own extractor does not tell the name of a parameter whose type reads itself from a text.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let parameters = parameters.map_err(|rejection| Problem::invalid("/path", rejection.body_text()))?;
        let Some((name, value)) = parameters.iter().next() else {
            return Err(Problem::new(ErrorCode::InternalError, "the route has no parameter"));
        };
        let parsed: Result<T, ValueError> = T::deserialize(value.into_deserializer());
        parsed.map(Self).map_err(|error| Problem::invalid(format!("/path/{name}"), error.to_string()))
    }
}

/// The query string, parsed into one type; unknown parameters are refused where the type denies them.
#[derive(Debug)]
pub struct QueryParameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::<T>::from_request_parts(parts, state).await.map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            match text.split_once(": ") {
                Some((name, detail)) if name.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                    Problem::invalid(format!("/query/{name}"), detail)
                }
                _ => Problem::invalid("/query", text),
            }
        })?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;
    use signalbeam_domain::{DeviceName, TenantId};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Example {
        tenant_id: TenantId,
        #[serde(default)]
        device_name: Option<DeviceName>,
    }

    fn refusal(body: &str) -> (String, String) {
        let problem = parse_json::<Example>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code(), ErrorCode::InvalidRequest);
        (problem.errors()[0].pointer.clone(), problem.errors()[0].detail.clone())
    }

    #[test]
    fn a_refusal_points_to_the_field() {
        let tenant = "\"tenantId\": \"018f3c5e-7b1a-7cc2-9d3e-0123456789ab\"";
        assert_eq!(refusal("{}"), ("/tenantId".into(), "is required".into()));
        assert_eq!(refusal(r#"{"tenantId": 7}"#).0, "/tenantId");
        assert!(refusal(r#"{"tenantId": "x"}"#).1.contains("UUID"));
        assert_eq!(
            refusal(&format!("{{{tenant}, \"deviceName\": \"\"}}")),
            ("/deviceName".into(), "must not be empty".into())
        );
        assert!(refusal(&format!("{{{tenant}, \"colour\": 1}}")).1.contains("unknown field `colour`"));
        assert!(refusal(&format!("{{{tenant}, {tenant}}}")).1.contains("duplicate field"));
        assert!(refusal("{").1.starts_with("not valid JSON"));
        assert!(refusal(&format!("{{{tenant}}} trailing")).1.starts_with("not valid JSON"));
        for no_object in ["[\"018f3c5e-7b1a-7cc2-9d3e-0123456789ab\", null]", "null", "7", &"[".repeat(100_000)] {
            assert_eq!(refusal(no_object), (String::new(), "must be a JSON object".into()));
        }
    }

    #[tokio::test]
    async fn a_refusal_repeats_little_of_what_was_sent() {
        let long = "é".repeat(130_000);
        let field = serde_json::to_string(&serde_json::json!({ &long: 1 })).unwrap();
        let value = serde_json::to_string(&serde_json::json!({ "tenantId": &long })).unwrap();
        let mut problems = [field, value].map(|body| parse_json::<Example>(body.as_bytes()).unwrap_err()).to_vec();
        for query in [format!("tenantId={}", "x".repeat(10_000)), format!("{}=1", "x".repeat(10_000))] {
            let (mut parts, ()) = Request::get(format!("/?{query}")).body(()).unwrap().into_parts();
            problems.push(QueryParameters::<Example>::from_request_parts(&mut parts, &()).await.unwrap_err());
        }
        for problem in problems {
            assert_eq!(problem.code(), ErrorCode::InvalidRequest);
            let error = &problem.errors()[0];
            assert!(error.pointer.chars().count() <= 65, "{}", error.pointer);
            assert!(error.detail.chars().count() <= 200, "{}", error.detail);
            assert!(problem.detail().chars().count() <= 300, "{}", problem.detail());
        }
        let field = parse_json::<Example>(format!("{{\"{long}\": 1}}").as_bytes()).unwrap_err();
        assert!(field.errors()[0].detail.ends_with("…`, expected `tenantId` or `deviceName`"));
    }

    #[tokio::test]
    async fn a_body_is_json_whatever_a_plain_command_line_calls_it() {
        let request = |content_type: Option<&str>| {
            let mut request = Request::post("/");
            if let Some(content_type) = content_type {
                request = request.header(CONTENT_TYPE, content_type);
            }
            request.body(Body::from(r#"{"a": 1}"#)).unwrap()
        };
        for accepted in [None, Some("application/json; charset=utf-8"), Some("application/x-www-form-urlencoded")] {
            let body = JsonBody::<serde_json::Value>::from_request(request(accepted), &()).await.unwrap();
            assert_eq!(body.value["a"], 1, "{accepted:?}");
        }
        for other in ["text/xml", "application/problem+json", "application/jsonp", "multipart/form-data"] {
            let refused = JsonBody::<serde_json::Value>::from_request(request(Some(other)), &()).await.unwrap_err();
            assert_eq!(refused.code(), ErrorCode::UnsupportedMediaType, "{other}");
        }
    }
}

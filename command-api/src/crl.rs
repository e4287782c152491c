//! Revocation lists (RFC 5280, section 5): published from the log, and served to anybody.

mod conditions;
mod lists;
mod published;
mod publisher;

pub use published::{CrlStatus, PublishedCrls};
pub use publisher::{CrlError, CrlPolicy, CrlPublisher};

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use signalbeam_authn::ErrorCode;
use signalbeam_authn::http::extract::PathParameter;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::{AuthorityId, Timestamp};

use self::conditions::{http_date, is_unchanged};
use self::published::{Document, Publication};
use crate::command::internal;
use crate::state::CommandApi;

/// RFC 2585, section 4.2.
const DER: &str = "application/pkix-crl";
const PEM: &str = "application/x-pem-file";
/// How long an answer may be kept without asking again: lists are published when something happens, not only on schedule.
const MAX_AGE_SECONDS: i64 = 300;

impl CommandApi {
    /// The one that signs certificates.
    fn signing_authority(&self) -> AuthorityId {
        self.authorities.current().signing().id()
    }

    fn publication(&self, authority: AuthorityId) -> Result<Arc<Publication>, Problem> {
        self.authenticator.log_lock().require_released()?;
        if let Some(publication) = self.crls.of(authority) {
            return Ok(publication);
        }
        if self.authorities.current().by_id(authority).is_some() {
            let detail = "no revocation list has been published yet; try again";
            return Err(Problem::new(ErrorCode::SigningUnavailable, detail).retry_after(5));
        }
        if self.authorities.current().retired().iter().any(|one| one.id() == authority) {
            let detail =
                "the certificate authority is retired, and the last revocation list that it published has ended";
            return Err(Problem::new(ErrorCode::NotFound, detail));
        }
        Err(Problem::not_found("certificate authority"))
    }
}

/// Get the revocation list.
///
/// The complete list of the certificates that ended before their time, by the authority that signs today: DER, or PEM for
/// `Accept: application/x-pem-file`. A new one is published soon after a revocation, and on schedule.
#[utoipa::path(
    get, path = "/api/certificates/crl", tag = "Certificates", operation_id = "getCrl",
    params(
        ("Accept" = Option<String>, Header, description = "`application/x-pem-file` for PEM; DER otherwise"),
        ("If-None-Match" = Option<String>, Header, description = "304 where the list is still the one of this `ETag`"),
    ),
    responses(
        (status = 200, description = "The list, as DER or as PEM", content(
            (Vec<u8> = "application/pkix-crl"),
            (String = "application/x-pem-file"),
        )),
        (status = 304, description = "It is the one that the caller has"),
        (status = 503, body = ProblemBody, description = "`LOG_ROLLED_BACK`, `SIGNING_UNAVAILABLE`: none was published yet"),
    ),
    security(()),
)]
pub(crate) async fn get_crl(State(api): State<CommandApi>, headers: HeaderMap) -> Result<Response, Problem> {
    let publication = api.publication(api.signing_authority())?;
    answer(&api, &headers, &publication, &publication.complete)
}

/// Get the delta revocation list.
///
/// What has changed since the complete list that was last published on schedule, by the authority that signs today.
#[utoipa::path(
    get, path = "/api/certificates/crl/delta", tag = "Certificates", operation_id = "getDeltaCrl",
    params(
        ("Accept" = Option<String>, Header, description = "`application/x-pem-file` for PEM; DER otherwise"),
        ("If-None-Match" = Option<String>, Header, description = "304 where the list is still the one of this `ETag`"),
    ),
    responses(
        (status = 200, description = "The list, as DER or as PEM", content(
            (Vec<u8> = "application/pkix-crl"),
            (String = "application/x-pem-file"),
        )),
        (status = 304, description = "It is the one that the caller has"),
        (status = 503, body = ProblemBody, description = "`LOG_ROLLED_BACK`, `SIGNING_UNAVAILABLE`: none was published yet"),
    ),
    security(()),
)]
pub(crate) async fn get_delta_crl(State(api): State<CommandApi>, headers: HeaderMap) -> Result<Response, Problem> {
    let publication = api.publication(api.signing_authority())?;
    answer(&api, &headers, &publication, &publication.delta)
}

/// Get an authority's revocation list.
///
/// As `GET /api/certificates/crl`, of any authority that is trusted, also of one that signs no longer. Of one that is
/// retired the last list is served until its `nextUpdate`.
#[utoipa::path(
    get, path = "/api/certificates/crl/{authorityId}", tag = "Certificates", operation_id = "getCrlOfAuthority",
    params(
        ("authorityId" = Uuid, Path, description = "The authority"),
        ("Accept" = Option<String>, Header, description = "`application/x-pem-file` for PEM; DER otherwise"),
        ("If-None-Match" = Option<String>, Header, description = "304 where the list is still the one of this `ETag`"),
    ),
    responses(
        (status = 200, description = "The list, as DER or as PEM", content(
            (Vec<u8> = "application/pkix-crl"),
            (String = "application/x-pem-file"),
        )),
        (status = 304, description = "It is the one that the caller has"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: no such authority, or it is retired and its last list has ended"),
        (status = 503, body = ProblemBody, description = "`LOG_ROLLED_BACK`, `SIGNING_UNAVAILABLE`: none was published yet"),
    ),
    security(()),
)]
pub(crate) async fn get_crl_of_authority(
    State(api): State<CommandApi>,
    PathParameter(authority): PathParameter<AuthorityId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let publication = api.publication(authority)?;
    answer(&api, &headers, &publication, &publication.complete)
}

/// Get an authority's delta revocation list.
///
/// As `GET /api/certificates/crl/delta`, of any authority that is trusted, also of one that signs no longer. Of one that is
/// retired the last list is served until its `nextUpdate`.
#[utoipa::path(
    get, path = "/api/certificates/crl/{authorityId}/delta", tag = "Certificates",
    operation_id = "getDeltaCrlOfAuthority",
    params(
        ("authorityId" = Uuid, Path, description = "The authority"),
        ("Accept" = Option<String>, Header, description = "`application/x-pem-file` for PEM; DER otherwise"),
        ("If-None-Match" = Option<String>, Header, description = "304 where the list is still the one of this `ETag`"),
    ),
    responses(
        (status = 200, description = "The list, as DER or as PEM", content(
            (Vec<u8> = "application/pkix-crl"),
            (String = "application/x-pem-file"),
        )),
        (status = 304, description = "It is the one that the caller has"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: no such authority, or it is retired and its last list has ended"),
        (status = 503, body = ProblemBody, description = "`LOG_ROLLED_BACK`, `SIGNING_UNAVAILABLE`: none was published yet"),
    ),
    security(()),
)]
pub(crate) async fn get_delta_crl_of_authority(
    State(api): State<CommandApi>,
    PathParameter(authority): PathParameter<AuthorityId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let publication = api.publication(authority)?;
    answer(&api, &headers, &publication, &publication.delta)
}

/// The list, or 304 where the caller has it.
fn answer(
    api: &CommandApi,
    request: &HeaderMap,
    publication: &Publication,
    document: &Document,
) -> Result<Response, Problem> {
    let is_pem = accepts_pem(request);
    let tag = format!("\"{}{}\"", document.tag, if is_pem { "-pem" } else { "" });
    let is_unchanged = is_unchanged(request, &tag, publication.this_update);
    let (status, body) = if is_unchanged {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else if is_pem {
        (StatusCode::OK, document.pem())
    } else {
        (StatusCode::OK, document.der())
    };
    let value = |text: String| HeaderValue::try_from(text).map_err(|error| internal(&error));
    let mut response = (status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(ETAG, value(tag)?);
    headers.insert(LAST_MODIFIED, value(http_date(publication.this_update))?);
    headers.insert(CACHE_CONTROL, value(cache_control(publication, api.now()))?);
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if !is_unchanged {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(if is_pem { PEM } else { DER }));
    }
    Ok(response)
}

/// Never beyond the list's own time.
fn cache_control(publication: &Publication, now: Timestamp) -> String {
    let left = publication.next_update.unix_seconds().saturating_sub(now.unix_seconds());
    format!("public, max-age={}, no-transform, must-revalidate", left.clamp(0, MAX_AGE_SECONDS))
}

/// PEM goes only to those who ask for it by name, and before DER where they name both.
fn accepts_pem(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let types = ranges.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    let first = types.map(str::trim).find(|kind| kind.eq_ignore_ascii_case(DER) || kind.eq_ignore_ascii_case(PEM));
    first.is_some_and(|kind| kind.eq_ignore_ascii_case(PEM))
}

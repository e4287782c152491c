//! `GET /api/certificates/ca`, `GET /api/certificates/ca/{authorityId}`

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::AuthorityId;

use crate::parameters::AsOf;
use crate::state::QueryApi;

const PEM: &str = "application/x-pem-file";
/// RFC 2585, section 4.1.
const DER: &str = "application/pkix-cert";

/// Get the authorities' certificates.
///
/// What devices trust. In PEM: the root of the authority that signs first, then what leads from it to the certificates that
/// are issued, and the same of the authorities before and after it while one takes over from the other. In DER the first
/// one alone. Whoever fetches it over a connection that nothing vouches for compares the first one's fingerprint with one
/// that came another way.
#[utoipa::path(
    get, path = "/api/certificates/ca", tag = "Certificates", operation_id = "getCaCertificate",
    params(
        ("Accept" = Option<String>, Header, description = "`application/pkix-cert` for DER; PEM otherwise"),
        AsOf,
    ),
    responses(
        (status = 200, description = "The certificates, as PEM, or the first one as DER", content(
            (String = "application/x-pem-file"),
            (Vec<u8> = "application/pkix-cert"),
        )),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`"),
    ),
    security(()),
)]
pub async fn get_ca_certificate(
    State(api): State<QueryApi>,
    headers: HeaderMap,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<Response, Problem> {
    api.settle_index_for_strangers(query.min_position).await?;
    let ca = (api.ca)();
    let is_der = first_named(&headers) == Some(DER);
    Ok(if is_der { answer(DER, ca.root_der) } else { answer(PEM, ca.pem.into_bytes()) })
}

/// Get an authority's certificate.
///
/// The certificate of one authority and nothing else, also of one that is trusted no longer: where the authority information
/// access of certificates points (RFC 5280, section 4.2.2.1). DER, or PEM for `Accept: application/x-pem-file`.
#[utoipa::path(
    get, path = "/api/certificates/ca/{authorityId}", tag = "Certificates", operation_id = "getCaCertificateOfAuthority",
    params(
        ("authorityId" = Uuid, Path, description = "The authority"),
        ("Accept" = Option<String>, Header, description = "`application/x-pem-file` for PEM; DER otherwise"),
        AsOf,
    ),
    responses(
        (status = 200, description = "The certificate, as DER or as PEM", content(
            (Vec<u8> = "application/pkix-cert"),
            (String = "application/x-pem-file"),
        )),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`"),
    ),
    security(()),
)]
pub async fn get_ca_certificate_of_authority(
    State(api): State<QueryApi>,
    PathParameter(authority): PathParameter<AuthorityId>,
    headers: HeaderMap,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<Response, Problem> {
    api.settle_index_for_strangers(query.min_position).await?;
    let certificate = (api.ca)().by_authority.remove(&authority);
    let certificate = certificate.ok_or_else(|| Problem::not_found("certificate authority"))?;
    let is_pem = first_named(&headers) == Some(PEM);
    Ok(if is_pem { answer(PEM, certificate.pem.into_bytes()) } else { answer(DER, certificate.der) })
}

fn answer(content_type: &'static str, body: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
        (VARY, HeaderValue::from_static("accept")),
    ];
    (headers, body).into_response()
}

/// The first of the two encodings that the caller names.
fn first_named(headers: &HeaderMap) -> Option<&'static str> {
    let ranges = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let types = ranges.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    types.map(str::trim).find_map(|kind| [DER, PEM].into_iter().find(|known| kind.eq_ignore_ascii_case(known)))
}

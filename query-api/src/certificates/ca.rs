//! `GET /api/certificates/ca`

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};

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
    let (content_type, body) = if accepts_der(&headers) { (DER, ca.root_der) } else { (PEM, ca.pem.into_bytes()) };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
        (VARY, HeaderValue::from_static("accept")),
    ];
    Ok((headers, body).into_response())
}

/// DER goes only to those who ask for it by name, and before PEM where they name both.
fn accepts_der(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let types = ranges.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    let first = types.map(str::trim).find(|kind| kind.eq_ignore_ascii_case(DER) || kind.eq_ignore_ascii_case(PEM));
    first.is_some_and(|kind| kind.eq_ignore_ascii_case(DER))
}

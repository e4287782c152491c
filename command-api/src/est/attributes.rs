//! `GET /.well-known/est/csrattrs`

use axum::response::Response;
use signalbeam_pki::DeviceKeyAlgorithm;
use signalbeam_pki::enrolment::csr_attributes;

use super::wire::public;

/// Get what a signing request should be made of over EST.
///
/// The kind of key and signature that suits best (RFC 7030, section 4.5), as DER `CsrAttrs` in base64. What else is
/// certified stands in the documentation of the signing requests; of subjects and extensions nothing is taken.
#[utoipa::path(
    get, path = "/.well-known/est/csrattrs", tag = "EST", operation_id = "getEstCsrAttributes",
    responses((
        status = 200, body = String, content_type = "application/csrattrs",
        description = "The attributes, in base64 without line breaks",
    )),
    security(()),
)]
pub(crate) async fn get_est_csr_attributes() -> Response {
    public("application/csrattrs", csr_attributes(DeviceKeyAlgorithm::EcdsaP256))
}

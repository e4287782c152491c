//! `GET /.well-known/est/cacerts`

use axum::extract::State;
use axum::response::Response;

use signalbeam_pki::cms;

use super::wire::{CERTS_ONLY, public};
use crate::state::CommandApi;

/// Get the authority's certificates over EST.
///
/// What devices trust (RFC 7030, section 4.1), and what leads from there to their certificates, as `GET /api/certificates/ca`
/// has them: in a CMS envelope without a signature, DER in base64. Several authorities are among them while one takes over
/// from another. Whoever fetches them over a connection that nothing vouches for compares a fingerprint with one that came another way.
#[utoipa::path(
    get, path = "/.well-known/est/cacerts", tag = "EST", operation_id = "getEstCaCertificates",
    responses((
        status = 200, body = String, content_type = "application/pkcs7-mime",
        description = "The certificates, in base64 without line breaks",
    )),
    security(()),
)]
pub(crate) async fn get_est_ca_certificates(State(api): State<CommandApi>) -> Response {
    public(CERTS_ONLY, &cms::certs_only(api.authorities.current().certificates()))
}

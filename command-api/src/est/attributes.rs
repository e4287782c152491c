//! `GET /.well-known/est/csrattrs`

use axum::extract::State;
use axum::response::Response;
use signalbeam_domain::ProfileName;
use signalbeam_pki::DeviceKeyType;
use signalbeam_pki::enrolment::csr_attributes;

use super::wire::public;
use crate::state::CommandApi;

/// The cheapest for a small device first; RSA as short as allowed.
const BY_PREFERENCE: [DeviceKeyType; 6] = [
    DeviceKeyType::EcdsaP256,
    DeviceKeyType::EcdsaP384,
    DeviceKeyType::Ed25519,
    DeviceKeyType::Rsa2048,
    DeviceKeyType::Rsa3072,
    DeviceKeyType::Rsa4096,
];

/// Get what a signing request should be made of over EST.
///
/// The kind of key and signature that suits the profile `device` best (RFC 7030, section 4.5), as DER `CsrAttrs` in base64. What else is
/// certified stands in the documentation of the signing requests; of subjects and extensions nothing is taken.
#[utoipa::path(
    get, path = "/.well-known/est/csrattrs", tag = "EST", operation_id = "getEstCsrAttributes",
    responses((
        status = 200, body = String, content_type = "application/csrattrs",
        description = "The attributes, in base64 without line breaks",
    )),
    security(()),
)]
pub(crate) async fn get_est_csr_attributes(State(api): State<CommandApi>) -> Response {
    let profiles = api.profiles.current();
    let device = profiles.get(ProfileName::DEVICE);
    let is_allowed = |wanted: &DeviceKeyType| device.is_some_and(|profile| profile.key_types().contains(wanted));
    let wanted = BY_PREFERENCE.into_iter().find(is_allowed);
    public("application/csrattrs", &csr_attributes(wanted.unwrap_or_default()))
}

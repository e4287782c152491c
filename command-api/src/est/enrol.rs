//! `POST /.well-known/est/simpleenroll`

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use signalbeam_authn::RequestContext;
use signalbeam_authn::device::DevicePrincipal;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::certificate::Certificates;
use signalbeam_domain::{RegistrationToken, StreamId};
use signalbeam_pki::DevicePublicKey;

use super::wire::{self, Refusal, SigningRequest};
use super::{credentials, issue, registration, unused};
use crate::certificates::issuance::{issued_by, key_of};
use crate::certificates::renewal;
use crate::command::Cause;
use crate::state::CommandApi;

/// Enrol over EST.
///
/// With a device's id and API key: a certificate for that device. The certificate that it had is superseded; if the answer
/// is lost, the same request, with the same key, gets the same certificate again, as long as nobody has used it.
///
/// With a tenant's id and a registration token: the first request registers a device, named as the request's common name.
/// Until an admin approves it the answer is 202 with `Retry-After`; then the same token with the same key gets the
/// certificate, once, and again until it has been used. There is no claim secret in this protocol: an API key, where the
/// device needs one, comes from an admin's rotation.
///
/// Of the signing request only the public key is taken.
#[utoipa::path(
    post, path = "/.well-known/est/simpleenroll", tag = "EST", operation_id = "enrolOverEst",
    request_body(content = String, content_type = "application/pkcs10", description = "A PKCS#10 request, DER in base64; white space does not matter"),
    responses(
        (status = 200, body = String, content_type = "application/pkcs7-mime", description = "The certificate in a certs-only envelope, in base64 without line breaks"),
        (status = 202, body = String, content_type = "text/plain", description = "The device waits for an admin; come again after `Retry-After` seconds"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`: the body is not base64"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_REGISTRATION_TOKEN`, or the code of the API key or of a refused certificate"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`: rejected, suspended or decommissioned; `ADDRESS_NOT_ALLOWED`, `QUOTA_EXCEEDED`"),
        (status = 409, body = ProblemBody, description = "`REGISTRATION_TOKEN_USED`: with another key, or its certificate has been used; `REGISTRATION_TOKEN_EXPIRED`, `REGISTRATION_TOKEN_REVOKED`"),
        (status = 413, body = ProblemBody, description = "`BODY_TOO_LARGE`"),
        (status = 415, body = ProblemBody, description = "`UNSUPPORTED_MEDIA_TYPE`"),
        (status = 422, body = ProblemBody, description = "`INVALID_CSR`, `WEAK_KEY`"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`"),
    ),
    security(("basic" = [])),
)]
pub(crate) async fn enrol_over_est(
    State(api): State<CommandApi>,
    context: RequestContext,
    headers: HeaderMap,
    request: Result<SigningRequest, Problem>,
) -> Result<Response, Refusal> {
    let credentials = credentials(&headers)?;
    if credentials.expose_password().starts_with(RegistrationToken::LITERAL) {
        return Ok(registration::enrol(&api, context, &credentials, &request?).await?);
    }
    let device = api.authenticator.basic_device(&context, &credentials).await?;
    Ok(by_api_key(&api, context, device, request?.public_key()?).await?)
}

async fn by_api_key(
    api: &CommandApi,
    context: RequestContext,
    device: DevicePrincipal,
    public_key: DevicePublicKey,
) -> Result<Response, Problem> {
    let (certificates, _) = api.load::<Certificates>(&StreamId::certificates(device.device_id)).await?;
    if let Some(unused) = unused(&certificates, &public_key, api.now()) {
        return wire::certificate(&renewal::again(api, unused).await?);
    }
    let loaded = api.device(device.device_id, Some(device.tenant_id)).await?;
    api.authenticator.limits().issuance(device.device_id)?;
    let cause = Cause { actor: device.actor(), context, idempotency: None };
    let outcome = issue(api, &cause, loaded, public_key, key_of(&device)).await?;
    wire::certificate(&issued_by(&outcome)?)
}

//! `POST /.well-known/est/serverkeygen`

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use signalbeam_authn::device::DevicePrincipal;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{ErrorCode, RequestContext};
use signalbeam_pki::DeviceKeyType;

use super::wire::{self, Refusal, SigningRequest};
use super::{credentials, issue};
use crate::certificates::issuance::{issued_by, key_of};
use crate::command::{Cause, internal};
use crate::state::CommandApi;

/// Have a key made over EST.
///
/// For devices that cannot make a key themselves: a key made here and a certificate for it (RFC 7030, section 4.4), by the
/// device's id and API key. The key is in the answer and kept nowhere; where the answer is lost, ask again: each time there
/// is another key. Of the signing request nothing is taken, its key and signature are not looked at, and a wish that the
/// key be encrypted beyond TLS is refused.
#[utoipa::path(
    post, path = "/.well-known/est/serverkeygen", tag = "EST", operation_id = "generateKeyOverEst",
    request_body(content = String, content_type = "application/pkcs10", description = "A PKCS#10 request, DER in base64; white space does not matter"),
    responses(
        (status = 200, body = String, content_type = "multipart/mixed", description = "The key as `application/pkcs8` and the certificate in a certs-only envelope, both in base64 without line breaks"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`: the body is not base64"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, or the code of the API key or of a refused certificate"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`, `ADDRESS_NOT_ALLOWED`"),
        (status = 413, body = ProblemBody, description = "`BODY_TOO_LARGE`"),
        (status = 415, body = ProblemBody, description = "`UNSUPPORTED_MEDIA_TYPE`"),
        (status = 422, body = ProblemBody, description = "`INVALID_CSR`: no request, or it asks for an encrypted key"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`"),
    ),
    security(("basic" = [])),
)]
pub(crate) async fn generate_key_over_est(
    State(api): State<CommandApi>,
    context: RequestContext,
    headers: HeaderMap,
    request: Result<SigningRequest, Problem>,
) -> Result<Response, Refusal> {
    let device = api.authenticator.basic_device(&context, &credentials(&headers)?).await?;
    if request?.facts()?.wants_encrypted_key {
        let detail = "it asks that the key be encrypted beyond TLS, which is not done here; ask without";
        return Err(Problem::new(ErrorCode::InvalidCsr, detail).into());
    }
    Ok(generate(&api, context, device).await?)
}

async fn generate(api: &CommandApi, context: RequestContext, device: DevicePrincipal) -> Result<Response, Problem> {
    let loaded = api.device(device.device_id, Some(device.tenant_id)).await?;
    api.authenticator.limits().issuance(device.device_id)?;
    let made = api.device_keys.generate(DeviceKeyType::Rsa2048).await;
    let (private_key, public_key) = made.map_err(|error| internal(&error))?;
    let cause = Cause { actor: device.actor(), context, idempotency: None };
    let outcome = issue(api, &cause, loaded, public_key, key_of(&device)).await?;
    wire::key_and_certificate(&private_key, &issued_by(&outcome)?)
}

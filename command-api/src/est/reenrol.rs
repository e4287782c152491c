//! `POST /.well-known/est/simplereenroll`

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use signalbeam_authn::device::{DeviceCredential, DevicePrincipal};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{ErrorCode, RequestContext};
use signalbeam_domain::certificate::Certificates;
use signalbeam_domain::{SerialNumber, StreamId};
use signalbeam_pki::DevicePublicKey;

use super::wire::{self, Refusal, SigningRequest};
use super::{credentials, unused};
use crate::certificates::renewal::{self, Applicant, NewKey, Renewal};
use crate::command::{Cause, internal};
use crate::state::CommandApi;

/// Re-enrol over EST.
///
/// A renewal, by the rules of `POST /api/certificates/{serialNumber}/renew`: the client certificate of the connection is
/// renewed, in its renewal window, for the key of the request. Without a client certificate, by the device's id and API key:
/// then its active certificate is renewed. If the answer is lost, the same request gets the same certificate again, as long
/// as nobody has used it.
///
/// Of the signing request only the public key is taken: its subject need not be that of the certificate.
#[utoipa::path(
    post, path = "/.well-known/est/simplereenroll", tag = "EST", operation_id = "reenrolOverEst",
    request_body(content = String, content_type = "application/pkcs10", description = "A PKCS#10 request, DER in base64; white space does not matter"),
    responses(
        (status = 200, body = String, content_type = "application/pkcs7-mime", description = "The new certificate in a certs-only envelope, in base64 without line breaks"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`: the body is not base64"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, or the code of the certificate or the API key"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`, `ADDRESS_NOT_ALLOWED`"),
        (status = 409, body = ProblemBody, description = "`CERTIFICATE_NOT_RENEWABLE`, with `renewableFrom`"),
        (status = 413, body = ProblemBody, description = "`BODY_TOO_LARGE`"),
        (status = 415, body = ProblemBody, description = "`UNSUPPORTED_MEDIA_TYPE`"),
        (status = 422, body = ProblemBody, description = "`INVALID_CSR`, `WEAK_KEY`"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`"),
    ),
    security(("clientCertificate" = []), ("basic" = [])),
)]
pub(crate) async fn reenrol_over_est(
    State(api): State<CommandApi>,
    context: RequestContext,
    headers: HeaderMap,
    request: Result<SigningRequest, Problem>,
) -> Result<Response, Refusal> {
    if context.connection.certificate.is_none() {
        let device = api.authenticator.basic_device(&context, &credentials(&headers)?).await?;
        return Ok(by_api_key(&api, context, device, request?.public_key()?).await?);
    }
    Ok(by_certificate(&api, context, request).await?)
}

/// The certificate stands or falls alone: whatever else the request presents is not looked at.
async fn by_certificate(
    api: &CommandApi,
    context: RequestContext,
    request: Result<SigningRequest, Problem>,
) -> Result<Response, Problem> {
    let superseded = api.authenticator.superseded_device(&context).await?.as_ref().and_then(serial_of);
    let key = request.and_then(|request| request.public_key());
    let repeated = superseded.zip(key.as_ref().ok());
    let device = match renewal::applicant(api, &context, &HeaderMap::new(), repeated).await? {
        Applicant::Device(device) => device,
        Applicant::Repeating(issued) => return wire::certificate(&issued),
    };
    // Without other headers it can only have been the certificate.
    let serial_number = serial_of(&device).ok_or_else(nothing_to_renew)?;
    renew(api, context, device, serial_number, key).await
}

async fn by_api_key(
    api: &CommandApi,
    context: RequestContext,
    device: DevicePrincipal,
    key: DevicePublicKey,
) -> Result<Response, Problem> {
    let (certificates, _) = api.load::<Certificates>(&StreamId::certificates(device.device_id)).await?;
    let renewed = unused(&certificates, &key, api.now()).filter(|unused| unused.issued.intended.renewal_of.is_some());
    if let Some(renewed) = renewed {
        return wire::certificate(&renewal::again(api, renewed).await?);
    }
    let active = certificates.active().ok_or_else(nothing_to_renew)?;
    renew(api, context, device, active.serial_number(), Ok(key)).await
}

async fn renew(
    api: &CommandApi,
    context: RequestContext,
    device: DevicePrincipal,
    serial_number: SerialNumber,
    key: Result<DevicePublicKey, Problem>,
) -> Result<Response, Problem> {
    let renewing = async {
        let validity = api.policy.certificate_validity.judge(None).map_err(|error| internal(&error))?;
        let cause = Cause { actor: device.actor(), context, idempotency: None };
        let renewal = Renewal { device, serial_number, key: NewKey::Given(key?), validity };
        renewal::renew(api, &cause, renewal).await
    };
    let renewed = renewing.await.inspect_err(renewal::count_failure)?;
    wire::certificate(&renewed.issued)
}

fn serial_of(device: &DevicePrincipal) -> Option<SerialNumber> {
    match device.credential {
        DeviceCredential::Certificate { serial_number } => Some(serial_number),
        DeviceCredential::ApiKey { .. } => None,
    }
}

fn nothing_to_renew() -> Problem {
    Problem::new(ErrorCode::CertificateNotRenewable, "the device has no certificate that could be renewed; enrol")
        .with("renewableFrom", serde_json::Value::Null)
}

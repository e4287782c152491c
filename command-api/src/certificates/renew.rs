//! `POST /api/certificates/{serialNumber}/renew`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use signalbeam_authn::device::{DeviceCredential, DevicePrincipal};
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{ErrorCode, RequestContext};
use signalbeam_domain::certificate::{Certificate, Certificates};
use signalbeam_domain::{SerialNumber, StreamId};
use utoipa::ToSchema;

use super::issuance::{Issuance, issue, issued_before, key_of};
use super::issue::{answer, keys};
use super::{ShownCertificate, profiles, public_key};
use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// The certificate that shall follow.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RenewCertificate {
    /// A PKCS#10 signing request (RFC 2986) in PEM; required when renewing by certificate.
    csr_pem: Option<String>,
    /// How long it holds, in days: within the bounds and by the default of the device's profile, which are 1 to 397 and 90
    /// unless configured otherwise.
    validity_days: Option<i64>,
}

type Answer = Changed<Json<ShownCertificate>>;

/// Renew a certificate.
///
/// In its renewal window (30 days before its end, unless configured otherwise), by the certificate itself, with a signing
/// request, or by the device's API key. The old certificate is superseded at once. If the answer is lost, the same request,
/// with the same public key, gets the same certificate again, as long as the new one has not been used.
#[utoipa::path(
    post, path = "/api/certificates/{serialNumber}/renew", tag = "Certificates", operation_id = "renewCertificate",
    params(("serialNumber" = String, Path, description = "40 hex digits"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<RenewCertificate>,
    responses(
        (status = 201, body = ShownCertificate, description = "The new certificate"),
        (status = 200, body = ShownCertificate, description = "The new certificate again: the renewal is a repetition"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "The certificate's or the API key's code"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: not one of the device's certificates"),
        (status = 409, body = ProblemBody, description = "`CERTIFICATE_NOT_RENEWABLE`, with `renewableFrom`; `ALREADY_PROCESSED`, `IDEMPOTENCY_KEY_REUSED`"),
        (status = 422, body = ProblemBody, description = "`CSR_REQUIRED`, `INVALID_CSR`, `WEAK_KEY`"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`, `PROFILE_UNAVAILABLE`, `OVERLOADED`: too many keys are being made"),
    ),
    security(("clientCertificate" = []), ("apiKey" = [])),
)]
pub(crate) async fn renew_certificate(
    State(api): State<CommandApi>,
    context: RequestContext,
    headers: HeaderMap,
    serial_number: Result<PathParameter<SerialNumber>, Problem>,
    key: IdempotencyKey,
    body: Result<JsonBody<RenewCertificate>, Problem>,
) -> Result<Answer, Problem> {
    if let (Ok(PathParameter(serial)), Ok(body)) = (&serial_number, &body)
        && let Some(answer) = repeat_by_superseded_certificate(&api, &context, *serial, &body.value).await?
    {
        return Ok(answer);
    }
    let device = api.authenticator.any_device(&context, &headers).await?;
    let (PathParameter(serial_number), body) = (serial_number?, body?);
    let renewed = renew(&api, context, device, serial_number, &key, &body).await;
    if let Err(problem) = &renewed {
        metrics::counter!("signalbeam_certificate_renewal_failures_total", "code" => problem.code().as_str())
            .increment(1);
    }
    renewed
}

async fn renew(
    api: &CommandApi,
    context: RequestContext,
    device: DevicePrincipal,
    serial_number: SerialNumber,
    key: &IdempotencyKey,
    body: &JsonBody<RenewCertificate>,
) -> Result<Answer, Problem> {
    let request = &body.value;
    let is_by_certificate = matches!(device.credential, DeviceCredential::Certificate { .. });
    if is_by_certificate && request.csr_pem.is_none() {
        return Err(Problem::new(ErrorCode::CsrRequired, "a renewal by certificate needs a signing request in csrPem"));
    }
    let (certificates, _) = api.load::<Certificates>(&StreamId::certificates(device.device_id)).await?;
    let renewed = certificates.find(serial_number).ok_or_else(|| Problem::not_found("certificate"))?;
    let window_days = api.renewal_window_days(&renewed.issued.intended.profile);
    let cause = Cause { idempotency: key.bind(&device.actor(), None, &body.bytes), actor: device.actor(), context };
    if let Some(outcome) = api.repeated(&cause).await? {
        return answer(api, outcome, request.csr_pem.is_some(), None);
    }
    if let Some(csr_pem) = &request.csr_pem
        && let Some(successor) = certificates.repeated_renewal(serial_number, public_key(csr_pem)?.sha256())
    {
        return again(api, successor).await;
    }
    let loaded = api.device(device.device_id, Some(device.tenant_id)).await?;
    certificates.check_renewable(serial_number, window_days, api.now()).map_err(|error| super::refused(&error))?;
    // The device's profile, not that of the old certificate: so a change of profile reaches it.
    let profile = api.profile_of(&loaded.device)?;
    let validity = profiles::validity(&profile, request.validity_days)?;
    api.authenticator.limits().issuance(device.device_id)?;
    let (private_key, public_key) = keys(api, request.csr_pem.as_deref(), &profile).await?;
    let key_sha256 = public_key.sha256();
    let issuance =
        Issuance { public_key, profile, validity, renewal_of: Some(serial_number), asked_with: key_of(&device) };
    let outcome = match issue(api, &cause, loaded, issuance).await {
        Ok(outcome) => outcome,
        Err(problem) => {
            if let Some(outcome) = api.repeated(&cause).await? {
                return answer(api, outcome, request.csr_pem.is_some(), None);
            }
            // A device that asked again before it was answered: its first request renewed meanwhile.
            let (certificates, _) = api.load::<Certificates>(&StreamId::certificates(device.device_id)).await?;
            let successor = certificates.repeated_renewal(serial_number, key_sha256).ok_or(problem)?;
            return again(api, successor).await;
        }
    };
    if !outcome.is_repeat {
        metrics::counter!("signalbeam_certificates_issued_total").increment(1);
        metrics::counter!("signalbeam_certificates_renewed_total").increment(1);
    }
    answer(api, outcome, request.csr_pem.is_some(), private_key.as_ref())
}

/// The one thing that a superseded certificate may still do: repeat the renewal that superseded it, because its answer was
/// lost. Everything else about it must be in order.
async fn repeat_by_superseded_certificate(
    api: &CommandApi,
    context: &RequestContext,
    serial_number: SerialNumber,
    request: &RenewCertificate,
) -> Result<Option<Answer>, Problem> {
    let (Some(device), Some(csr_pem)) = (api.authenticator.superseded_device(context).await?, &request.csr_pem) else {
        return Ok(None);
    };
    if device.credential != (DeviceCredential::Certificate { serial_number }) {
        return Ok(None);
    }
    let Ok(public_key) = public_key(csr_pem) else { return Ok(None) };
    let (certificates, _) = api.load::<Certificates>(&StreamId::certificates(device.device_id)).await?;
    let Some(successor) = certificates.repeated_renewal(serial_number, public_key.sha256()) else { return Ok(None) };
    api.authenticator.record_repeated_renewal(context, device).await?;
    again(api, successor).await.map(Some)
}

async fn again(api: &CommandApi, successor: &Certificate) -> Result<Answer, Problem> {
    let issued = issued_before(api, &successor.issued).await?;
    api.await_head().await?;
    let shown = ShownCertificate::new(api, issued.certificate, issued.at, None);
    Ok(Changed::new(StatusCode::OK, Json(shown), issued.position))
}

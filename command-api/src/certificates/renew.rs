//! `POST /api/certificates/{serialNumber}/renew`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use signalbeam_authn::RequestContext;
use signalbeam_authn::device::DevicePrincipal;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::SerialNumber;
use signalbeam_pki::PrivateKeyPem;
use utoipa::ToSchema;

use super::issuance::Issued;
use super::renewal::{self, Applicant, NewKey, Renewal};
use super::{ShownCertificate, public_key};
use crate::command::{Cause, Changed};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// The certificate that shall follow.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RenewCertificate {
    /// A PKCS#10 signing request (RFC 2986) in PEM; required when renewing by certificate.
    csr_pem: Option<String>,
    /// How long it holds, in days: 1 to 397, 90 by default.
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
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`"),
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
    let key_asked_for = body.as_ref().ok().and_then(|body| public_key(body.value.csr_pem.as_deref()?).ok());
    let serial_asked_for = serial_number.as_ref().ok().map(|PathParameter(serial)| *serial);
    let asked_for = serial_asked_for.zip(key_asked_for.as_ref());
    let device = match renewal::applicant(&api, &context, &headers, asked_for).await? {
        Applicant::Device(device) => device,
        Applicant::Repeating(issued) => return Ok(answer(&api, StatusCode::OK, *issued, None)),
    };
    let renewing = async {
        let (PathParameter(serial_number), body) = (serial_number?, body?);
        let idempotency = key.bind(&device.actor(), None, &body.bytes);
        let cause = Cause { idempotency, actor: device.actor(), context };
        let renewal = body.value.renewal(&api, device, serial_number)?;
        renewal::renew(&api, &cause, renewal).await
    };
    let renewed = renewing.await.inspect_err(renewal::count_failure)?;
    let status = if renewed.is_again { StatusCode::OK } else { StatusCode::CREATED };
    Ok(answer(&api, status, renewed.issued, renewed.private_key.as_ref()))
}

impl RenewCertificate {
    fn renewal(
        &self,
        api: &CommandApi,
        device: DevicePrincipal,
        serial_number: SerialNumber,
    ) -> Result<Renewal, Problem> {
        let validity = api.policy.certificate_validity.judge(self.validity_days);
        let validity = validity.map_err(|error| Problem::invalid("/validityDays", error.to_string()))?;
        let key = match &self.csr_pem {
            Some(csr_pem) => NewKey::Given(public_key(csr_pem)?),
            None => NewKey::MadeHere,
        };
        Ok(Renewal { device, serial_number, key, validity })
    }
}

fn answer(api: &CommandApi, status: StatusCode, issued: Issued, private_key: Option<&PrivateKeyPem>) -> Answer {
    let shown = ShownCertificate::new(api, issued.certificate, issued.at, private_key);
    Changed::new(status, Json(shown), issued.position)
}

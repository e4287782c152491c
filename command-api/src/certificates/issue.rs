//! `POST /api/certificates/{deviceId}/issue`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Caller, KeyHolder, Permission, RequestContext};
use signalbeam_domain::DeviceId;
use signalbeam_pki::{DeviceKeyType, DevicePublicKey, PrivateKeyPem};
use utoipa::ToSchema;

use super::issuance::{DEVICE_PROFILE, Issuance, issue, issued_by, key_of};
use super::{ShownCertificate, public_key};
use crate::command::{Cause, Changed, Outcome, internal};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// The certificate that is asked for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IssueCertificate {
    /// How long it holds, in days: 1 to 397, 90 by default.
    validity_days: Option<i64>,
    /// A PKCS#10 signing request (RFC 2986) in PEM: only its public key is taken. Without one, the key is made here and
    /// shown once.
    csr_pem: Option<String>,
    /// The profile; `device`, the default, is the only one.
    profile: Option<String>,
}

/// Issue a certificate.
///
/// For an approved device, by its API key or by an admin. Its active certificate, if any, is superseded. Send a signing
/// request: then the private key never leaves the device.
#[utoipa::path(
    post, path = "/api/certificates/{deviceId}/issue", tag = "Certificates", operation_id = "issueCertificate",
    params(("deviceId" = Uuid, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<IssueCertificate>,
    responses(
        (status = 201, body = ShownCertificate, description = "The certificate"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`, or the code of the API key or of a refused certificate"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`, `DEVICE_NOT_APPROVED`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`ALREADY_PROCESSED`, `IDEMPOTENCY_KEY_REUSED`"),
        (status = 422, body = ProblemBody, description = "`INVALID_CSR`, `WEAK_KEY`"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`"),
    ),
    security(("adminToken" = []), ("apiKey" = [])),
)]
pub(crate) async fn issue_certificate(
    State(api): State<CommandApi>,
    KeyHolder(caller): KeyHolder,
    context: RequestContext,
    PathParameter(device_id): PathParameter<DeviceId>,
    key: IdempotencyKey,
    body: JsonBody<IssueCertificate>,
) -> Result<Changed<Json<ShownCertificate>>, Problem> {
    caller.require(Permission::ManageCertificates)?;
    let asked_with = match &caller {
        Caller::Admin(_) => None,
        Caller::Device(device) => {
            device.require_self(device_id)?;
            key_of(device)
        }
    };
    let request = &body.value;
    let days = api.policy.certificate_validity.judge(request.validity_days);
    let validity = days.map_err(|error| Problem::invalid("/validityDays", error.to_string()))?;
    if request.profile.as_deref().is_some_and(|profile| profile != DEVICE_PROFILE) {
        return Err(Problem::invalid(
            "/profile",
            format!("there is no such profile; `{DEVICE_PROFILE}` is the only one"),
        ));
    }
    let device = api.device(device_id, caller.tenant_id()).await?;
    let idempotency = key.bind(&caller.actor(), caller.tenant_id(), &body.bytes);
    let cause = Cause { actor: caller.actor(), context, idempotency };
    if let Some(outcome) = api.repeated(&cause).await? {
        return answer(&api, outcome, request.csr_pem.is_some(), None);
    }
    device.require_approved()?;
    if let Caller::Device(device) = &caller {
        api.authenticator.limits().issuance(device.device_id)?;
    }
    let (private_key, public_key) = keys(&api, request.csr_pem.as_deref()).await?;
    let outcome = issue(&api, &cause, device, Issuance { public_key, validity, renewing: None, asked_with }).await?;
    if !outcome.is_repeat {
        metrics::counter!("signalbeam_certificates_issued_total").increment(1);
    }
    answer(&api, outcome, request.csr_pem.is_some(), private_key.as_ref())
}

/// The answer to an issuance. A key pair that was made for the first of several equal requests was shown to that one, and
/// fits no other certificate.
fn answer(
    api: &CommandApi,
    outcome: Outcome,
    has_csr: bool,
    private_key: Option<&PrivateKeyPem>,
) -> Result<Changed<Json<ShownCertificate>>, Problem> {
    let outcome = if has_csr { outcome } else { outcome.require_first()? };
    let issued = issued_by(&outcome)?;
    let shown = ShownCertificate::new(api, issued.certificate, issued.at, private_key);
    Ok(Changed::new(StatusCode::CREATED, Json(shown), issued.position))
}

/// The public key of the signing request; without one, a key pair made here.
async fn keys(api: &CommandApi, csr_pem: Option<&str>) -> Result<(Option<PrivateKeyPem>, DevicePublicKey), Problem> {
    if let Some(csr_pem) = csr_pem {
        return Ok((None, public_key(csr_pem)?));
    }
    let made = api.device_keys.generate(DeviceKeyType::Rsa2048).await;
    let (private_key, public_key) = made.map_err(|error| internal(&error))?;
    Ok((Some(private_key), public_key))
}

//! `POST /api/certificates/{deviceId}/issue`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Caller, ErrorCode, KeyHolder, Permission, RequestContext};
use signalbeam_domain::DeviceId;
use signalbeam_pki::{DevicePublicKey, PrivateKeyPem, Profile};
use utoipa::ToSchema;

use super::issuance::{Issuance, issue, issued_by, key_of};
use super::{ShownCertificate, profiles, public_key};
use crate::command::{Cause, Changed, LoadedDevice, Outcome};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// The certificate that is asked for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IssueCertificate {
    /// How long it holds, in days: within the profile's bounds and by its default, which are 1 to 397 and 90 unless
    /// configured otherwise.
    validity_days: Option<i64>,
    /// A PKCS#10 signing request (RFC 2986) in PEM: only its public key is taken. Without one, the key is made here and
    /// shown once.
    csr_pem: Option<String>,
    /// The profile that decides its contents: by default the device's own. Only an admin may name another one.
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
        (status = 403, body = ProblemBody, description = "`FORBIDDEN` (also where a device names another profile than its own), `DEVICE_NOT_APPROVED`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 409, body = ProblemBody, description = "`ALREADY_PROCESSED`, `IDEMPOTENCY_KEY_REUSED`"),
        (status = 422, body = ProblemBody, description = "`INVALID_CSR`, `WEAK_KEY`"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`, `PROFILE_UNAVAILABLE`, `OVERLOADED`: too many keys are being made"),
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
    let device = api.device(device_id, caller.tenant_id()).await?;
    let idempotency = key.bind(&caller.actor(), caller.tenant_id(), &body.bytes);
    let cause = Cause { actor: caller.actor(), context, idempotency };
    if let Some(outcome) = api.repeated(&cause).await? {
        return answer(&api, outcome, request.csr_pem.is_some(), None);
    }
    let profile = profile(&api, &caller, &device, request.profile.as_deref())?;
    let validity = profiles::validity(&profile, request.validity_days)?;
    device.require_approved()?;
    if let Caller::Device(device) = &caller {
        api.authenticator.limits().issuance(device.device_id)?;
    }
    let (private_key, public_key) = keys(&api, request.csr_pem.as_deref(), &profile).await?;
    let issuance = Issuance { public_key, profile, validity, renewing: None, asked_with };
    let outcome = issue(&api, &cause, device, issuance).await?;
    if !outcome.is_repeat {
        metrics::counter!("signalbeam_certificates_issued_total").increment(1);
    }
    answer(&api, outcome, request.csr_pem.is_some(), private_key.as_ref())
}

/// The profile that is asked for: any where an admin asks, the device's own otherwise.
fn profile(
    api: &CommandApi,
    caller: &Caller,
    device: &LoadedDevice,
    named: Option<&str>,
) -> Result<Arc<Profile>, Problem> {
    let Some(named) = named else { return api.profile_of(&device.device) };
    let profile = api.named_profile(named, "/profile")?;
    let own = device.device.profile();
    match caller {
        Caller::Device(_) if *profile.name() != own => Err(Problem::new(
            ErrorCode::Forbidden,
            format!("the device's profile is `{own}`; another one takes an admin"),
        )),
        Caller::Admin(_) | Caller::Device(_) => Ok(profile),
    }
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

/// The public key of the signing request; without one, a key pair made here, of the profile's type.
async fn keys(
    api: &CommandApi,
    csr_pem: Option<&str>,
    profile: &Profile,
) -> Result<(Option<PrivateKeyPem>, DevicePublicKey), Problem> {
    if let Some(csr_pem) = csr_pem {
        return Ok((None, public_key(csr_pem)?));
    }
    let (private_key, public_key) = profiles::make_key(api, profile).await?;
    Ok((Some(private_key), public_key))
}

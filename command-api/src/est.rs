//! Enrolment over secure transport (EST, RFC 7030 as clarified by RFC 8951): what the JSON routes do, for devices and tools
//! that speak this protocol already.

pub(crate) mod attributes;
pub(crate) mod authorities;
pub(crate) mod enrol;
pub(crate) mod reenrol;
mod registration;
pub(crate) mod server_key;
mod wire;

use axum::http::HeaderMap;
use signalbeam_authn::basic::BasicCredentials;
use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::certificate::{Certificate, Certificates};
use signalbeam_domain::{ApiKeyId, Timestamp};
use signalbeam_pki::DevicePublicKey;

use crate::certificates::issuance::{self, Issuance};
use crate::command::{Cause, LoadedDevice, Outcome, internal};
use crate::state::CommandApi;

/// The name and password of a request.
///
/// # Errors
/// 401 `AUTHENTICATION_REQUIRED` where there are none that can be read.
fn credentials(headers: &HeaderMap) -> Result<BasicCredentials, Problem> {
    BasicCredentials::from_headers(headers).ok_or_else(|| {
        Problem::new(
            ErrorCode::AuthenticationRequired,
            "present by HTTP basic authentication the device's id with its API key; to enrol for the first time, the \
             tenant's id with a registration token",
        )
    })
}

/// The device's certificate for this key, where nobody has used it yet: whoever asks for one again has lost the answer.
fn unused<'a>(certificates: &'a Certificates, key: &DevicePublicKey, now: Timestamp) -> Option<&'a Certificate> {
    let certificate = certificates.active().filter(|certificate| !certificate.is_used)?;
    let intended = &certificate.issued.intended;
    (intended.public_key_sha256 == key.sha256() && now < intended.not_after).then_some(certificate)
}

/// Issues a certificate as it is issued where nothing is said of it but its key.
async fn issue(
    api: &CommandApi,
    cause: &Cause,
    device: LoadedDevice,
    public_key: DevicePublicKey,
    asked_with: Option<ApiKeyId>,
) -> Result<Outcome, Problem> {
    let validity = api.policy.certificate_validity.judge(None).map_err(|error| internal(&error))?;
    let issuance = Issuance { public_key, validity, renewing: None, asked_with };
    let outcome = issuance::issue(api, cause, device, issuance).await?;
    if !outcome.is_repeat {
        metrics::counter!("signalbeam_certificates_issued_total").increment(1);
    }
    Ok(outcome)
}

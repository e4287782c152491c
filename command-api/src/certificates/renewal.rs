//! Renewing a certificate, whichever protocol asks for it: who may, what a repetition gets, and the steps.

use axum::http::HeaderMap;
use signalbeam_authn::device::{DeviceCredential, DevicePrincipal};
use signalbeam_authn::{ErrorCode, Problem, RequestContext};
use signalbeam_domain::certificate::{Certificate, Certificates, RenewalRules};
use signalbeam_domain::{Days, SerialNumber, StreamId};
use signalbeam_pki::{DeviceKeyType, DevicePublicKey, PrivateKeyPem};

use super::issuance::{Issuance, Issued, Renewing, issue, issued_before, issued_by, key_of};
use crate::command::{Cause, Outcome, internal};
use crate::state::CommandApi;

/// Who asks for a renewal, and by what right.
pub(crate) enum Applicant {
    /// An authenticated device.
    Device(DevicePrincipal),
    /// The holder of a superseded certificate, who repeats the very renewal that superseded it: this is its outcome.
    Repeating(Box<Issued>),
}

/// What a device asks for.
pub(crate) struct Renewal {
    pub(crate) device: DevicePrincipal,
    /// The certificate that is renewed; another device's is not found.
    pub(crate) serial_number: SerialNumber,
    pub(crate) key: NewKey,
    pub(crate) validity: Days,
}

/// The key of the certificate to come.
pub(crate) enum NewKey {
    /// The device made it.
    Given(DevicePublicKey),
    /// It is made here and shown once.
    MadeHere,
}

/// A certificate that renews another.
pub(crate) struct Renewed {
    pub(crate) issued: Issued,
    /// Where the key was made here.
    pub(crate) private_key: Option<PrivateKeyPem>,
    /// Whether it was there already, because this is a repetition whose first answer was lost.
    pub(crate) is_again: bool,
}

impl Renewed {
    fn again(issued: Issued) -> Self {
        Self { issued, private_key: None, is_again: true }
    }
}

/// Finds out who asks to renew a certificate for a key.
///
/// The one thing that a superseded certificate may still do is to repeat the renewal that superseded it, because its answer
/// was lost. Everything else about it must be in order; for everything else it is refused as revoked.
///
/// # Errors
/// As for [`signalbeam_authn::Device`].
pub(crate) async fn applicant(
    api: &CommandApi,
    context: &RequestContext,
    headers: &HeaderMap,
    asked_for: Option<(SerialNumber, &DevicePublicKey)>,
) -> Result<Applicant, Problem> {
    let superseded = api.authenticator.superseded_device(context).await?;
    if let (Some(device), Some((serial_number, key))) = (superseded, asked_for)
        && device.credential == (DeviceCredential::Certificate { serial_number })
    {
        let (certificates, _) = api.load::<Certificates>(&StreamId::certificates(device.device_id)).await?;
        if let Some(successor) = certificates.repeated_renewal(serial_number, key.sha256()) {
            api.authenticator.record_repeated_renewal(context, device).await?;
            let issued = again(api, successor).await?;
            return Ok(Applicant::Repeating(Box::new(issued)));
        }
        api.authenticator.watch_renewal(context, device.device_id, serial_number, key.sha256()).await;
    }
    let authenticated = api.authenticator.any_device(context, headers).await;
    if let (Err(problem), Some(_)) = (&authenticated, superseded) {
        count_failure(problem);
    }
    authenticated.map(Applicant::Device)
}

/// Counts a renewal that a known device asked for and did not get.
pub(crate) fn count_failure(problem: &Problem) {
    metrics::counter!("signalbeam_certificate_renewal_failures_total", "code" => problem.code().as_str()).increment(1);
}

/// Renews a certificate of an authenticated device, or finds that this was done before.
///
/// # Errors
/// 404 where the device has no such certificate; 409 `CERTIFICATE_NOT_RENEWABLE`; 422 `CSR_REQUIRED` where the device
/// authenticated by its certificate and brings no key; and those of an issuance.
pub(crate) async fn renew(api: &CommandApi, cause: &Cause, renewal: Renewal) -> Result<Renewed, Problem> {
    let Renewal { device, serial_number, key, validity } = renewal;
    let is_by_certificate = matches!(device.credential, DeviceCredential::Certificate { .. });
    let has_key = matches!(key, NewKey::Given(_));
    if is_by_certificate && !has_key {
        return Err(Problem::new(ErrorCode::CsrRequired, "a renewal by certificate needs a signing request in csrPem"));
    }
    let stream = StreamId::certificates(device.device_id);
    let (certificates, _) = api.load::<Certificates>(&stream).await?;
    let renewed = certificates.find(serial_number).ok_or_else(|| Problem::not_found("certificate"))?;
    let rules = RenewalRules {
        window_days: api.policy.renewal_window_days,
        grace_days: 0,
        authority_rotated_at: api.index.authority_rotated_at(renewed.issued.authority_id),
    };
    if let Some(outcome) = api.repeated(cause).await? {
        return carried_out(outcome, has_key, None);
    }
    if let NewKey::Given(key) = &key
        && let Some(successor) = certificates.repeated_renewal(serial_number, key.sha256())
    {
        return again(api, successor).await.map(Renewed::again);
    }
    let loaded = api.device(device.device_id, Some(device.tenant_id)).await?;
    certificates.check_renewable(serial_number, rules, api.now()).map_err(|error| super::refused(&error))?;
    api.authenticator.limits().issuance(device.device_id)?;
    let (private_key, public_key) = match key {
        NewKey::Given(key) => (None, key),
        NewKey::MadeHere => {
            let made = api.device_keys.generate(DeviceKeyType::Rsa2048).await.map_err(|error| internal(&error))?;
            (Some(made.0), made.1)
        }
    };
    let key_sha256 = public_key.sha256();
    let renewing = Some(Renewing { serial_number, rules });
    let issuance = Issuance { public_key, validity, renewing, asked_with: key_of(&device) };
    let outcome = match issue(api, cause, loaded, issuance).await {
        Ok(outcome) => outcome,
        Err(problem) => {
            if let Some(outcome) = api.repeated(cause).await? {
                return carried_out(outcome, has_key, None);
            }
            // A device that asked again before it was answered: its first request renewed meanwhile.
            let (certificates, _) = api.load::<Certificates>(&stream).await?;
            let successor = certificates.repeated_renewal(serial_number, key_sha256).ok_or(problem)?;
            return again(api, successor).await.map(Renewed::again);
        }
    };
    if !outcome.is_repeat {
        metrics::counter!("signalbeam_certificates_issued_total").increment(1);
        metrics::counter!("signalbeam_certificates_renewed_total").increment(1);
    }
    carried_out(outcome, has_key, private_key)
}

/// A key pair that was made for the first of several equal requests was shown to that one, and fits no other certificate.
fn carried_out(outcome: Outcome, has_key: bool, private_key: Option<PrivateKeyPem>) -> Result<Renewed, Problem> {
    let outcome = if has_key { outcome } else { outcome.require_first()? };
    Ok(Renewed { issued: issued_by(&outcome)?, private_key, is_again: false })
}

async fn again(api: &CommandApi, successor: &Certificate) -> Result<Issued, Problem> {
    let issued = issued_before(api, &successor.issued).await?;
    api.await_head().await?;
    Ok(issued)
}

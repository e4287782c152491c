//! `DELETE /api/certificates/{serialNumber}`

use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, AdminPrincipal, Permission, RequestContext};
use signalbeam_domain::certificate::{CertificateCommand, Certificates, Standing};
use signalbeam_domain::{DeviceId, Reason, RevocationReason, SerialNumber, StreamId, TenantId};
use utoipa::ToSchema;

use super::refused;
use crate::command::{Cause, Changed, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// Why the certificate is revoked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokeCertificate {
    /// Why, in your own words.
    #[schema(value_type = Option<String>, max_length = 512)]
    reason: Option<Reason>,
    /// Why, in the words of RFC 5280, section 5.3.1: `unspecified`, `keyCompromise`, `cACompromise`, `affiliationChanged`,
    /// `superseded`, `cessationOfOperation`, `privilegeWithdrawn` or `aACompromise`. CRL and OCSP tell it.
    #[schema(value_type = Option<String>, example = "keyCompromise")]
    reason_code: Option<RevocationReason>,
}

/// Revoke a certificate.
///
/// Takes effect before it is answered, on open connections too. A superseded certificate may be revoked as well: it becomes
/// revoked, for the reason given. Revoking again what is revoked changes nothing, whatever the reason.
///
/// A certificate that takes its place while the revocation is on its way is revoked with it; one that had done so before is
/// not.
#[utoipa::path(
    delete, path = "/api/certificates/{serialNumber}", tag = "Certificates", operation_id = "revokeCertificate",
    params(("serialNumber" = String, Path, description = "40 hex digits"), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<RevokeCertificate>,
    responses(
        (status = 204, description = "It is revoked"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, or another tenant's"),
        (status = 409, body = ProblemBody, description = "`IDEMPOTENCY_KEY_REUSED`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn revoke_certificate(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    PathParameter(serial_number): PathParameter<SerialNumber>,
    key: IdempotencyKey,
    body: JsonBody<RevokeCertificate>,
) -> Result<Changed<()>, Problem> {
    admin.require(Permission::ManageCertificates)?;
    let (device_id, tenant_id) = owner(&api, &admin, serial_number).await?;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let stream = StreamId::certificates(device_id);
    // Whoever has the key may renew while the revocation is on its way.
    let known = api.index.certificate_by_serial(serial_number);
    let takes_successor = known.is_some_and(|entry| entry.standing == Standing::Active);
    let command = || {
        let (reason, reason_code) = (body.value.reason.clone(), body.value.reason_code);
        if takes_successor {
            CertificateCommand::RevokeLine { serial_number, reason, reason_code }
        } else {
            CertificateCommand::Revoke { serial_number, reason, reason_code }
        }
    };
    let outcome = api.execute::<Certificates>(&cause, &stream, tenant_id, command, |error| refused(&error)).await?;
    if !outcome.events.is_empty() && !outcome.is_repeat {
        metrics::counter!("signalbeam_certificates_revoked_total").increment(1);
        tracing::info!(%device_id, %serial_number, "certificate revoked");
    }
    Ok(Changed::no_content(outcome.position))
}

/// The device that a certificate was issued to. The index knows all that may still authenticate; what ended long ago only
/// the tables know.
async fn owner(
    api: &CommandApi,
    admin: &AdminPrincipal,
    serial_number: SerialNumber,
) -> Result<(DeviceId, TenantId), Problem> {
    let not_found = || Problem::not_found("certificate");
    if let Some(entry) = api.index.certificate_by_serial(serial_number) {
        let device = api.index.device(entry.device_id).filter(|device| admin.sees(device.tenant_id));
        return device.map(|device| (entry.device_id, device.tenant_id)).ok_or_else(not_found);
    }
    let found = api.tables().await?.certificate(admin.tenant_id, serial_number).await;
    let row = found.map_err(|error| store_unavailable(&error))?.ok_or_else(not_found)?;
    row.device_id.zip(row.tenant_id).ok_or_else(not_found)
}

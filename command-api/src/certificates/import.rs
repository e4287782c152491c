//! `POST /api/certificates/import`

mod item;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission, RequestContext};
use signalbeam_domain::{DeviceId, DeviceName, Fingerprint, Metadata, Position, SerialNumber, Tags, TenantId};
use tokio::task::JoinSet;
use tracing::Instrument as _;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use self::item::Import;
use crate::command::{Cause, Changed, internal, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::state::CommandApi;

/// The most certificates of one request.
const MAX_CERTIFICATES: usize = 1_000;
/// How many are imported at a time: their appends share a commit.
const CONCURRENT: usize = 32;

/// Certificates of another authority.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ImportCertificates {
    /// The tenant of the devices.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// The certificates: 1 to 1,000, as far as they fit into one request.
    #[schema(min_items = 1, max_items = 1000)]
    certificates: Vec<ImportCertificate>,
    /// Whether to only say what would become of each.
    #[serde(default)]
    dry_run: bool,
}

/// One certificate, and its device.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ImportCertificate {
    /// In PEM, or in base64 of its DER. Without its private key.
    #[schema(value_type = String, max_length = 16384)]
    certificate: Zeroizing<String>,
    /// The device that it belongs to. Without one, a new device is made for it, which is approved at once.
    #[schema(value_type = Option<Uuid>)]
    device_id: Option<DeviceId>,
    /// A new device's name; without one, the certificate's common name.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    device_name: Option<DeviceName>,
    /// What is known of a new device, as at its registration.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
    /// What a new device is found by, as at its registration.
    #[schema(value_type = Option<Vec<String>>, max_items = 32)]
    tags: Option<Tags>,
}

impl std::fmt::Debug for ImportCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportCertificate").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

/// What became of each certificate.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportedCertificates {
    /// Whether nothing was changed.
    dry_run: bool,
    /// How many were, or would be, imported.
    imported: usize,
    /// How many had been imported before.
    unchanged: usize,
    /// How many were, or would be, refused.
    failed: usize,
    /// One for each certificate, in the order of the request.
    results: Vec<ImportResult>,
}

/// What became of one certificate.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportResult {
    /// `imported`, `unchanged` or `failed`.
    outcome: ImportOutcome,
    /// Its device; absent where a new one is still to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    device_id: Option<DeviceId>,
    /// Its name here: 40 lower-case hex digits, made from its fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    serial_number: Option<SerialNumber>,
    /// `SHA256:` and 64 upper-case hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    fingerprint: Option<Fingerprint>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "INVALID_CERTIFICATE")]
    code: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Whether a certificate was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ImportOutcome {
    /// It authenticates its device from now on.
    Imported,
    /// It had been imported for this device before.
    Unchanged,
    /// It was not; the others were not held up by it.
    Failed,
}

/// Import certificates of another authority.
///
/// For devices that move over from it: each authenticates by exactly the certificate that is imported, until that expires, is
/// revoked, or is renewed, which gives the device a certificate of this installation. The other authority becomes no more
/// trusted than before: what else it issued is refused. Each certificate is taken in or refused by itself, with a `code`:
/// `INVALID_CERTIFICATE` (unreadable, expired, an authority's, not for clients, known elsewhere, or with a private key beside
/// it), `WEAK_KEY`, `NOT_FOUND`, `DEVICE_NOT_APPROVED`, `INVALID_STATE`, `QUOTA_EXCEEDED`. Importing again what is imported
/// changes nothing; what was revoked or superseded here stays so.
#[utoipa::path(
    post, path = "/api/certificates/import", tag = "Certificates", operation_id = "importCertificates",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the whole request")),
    request_body = ImportCertificates,
    responses(
        (status = 200, body = ImportedCertificates, description = "A result for each certificate; some or all may have failed"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 409, body = ProblemBody, description = "`IDEMPOTENCY_KEY_REUSED`"),
        (status = 413, body = ProblemBody, description = "`BODY_TOO_LARGE`: send fewer at a time"),
        (status = 503, body = ProblemBody, description = "`STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn import_certificates(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<ImportCertificates>,
) -> Result<Changed<Json<ImportedCertificates>>, Problem> {
    admin.require(Permission::ManageCertificates)?;
    let request = body.value;
    admin.require_tenant(request.tenant_id)?;
    request.check()?;
    let idempotency = key.bind(&admin.actor(), admin.tenant_id, &body.bytes).filter(|_| !request.dry_run);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    let running = async move { run(api, cause, request).await };
    tokio::spawn(running.in_current_span()).await.map_err(|error| internal(&error))?
}

impl ImportCertificates {
    fn check(&self) -> Result<(), Problem> {
        if !(1..=MAX_CERTIFICATES).contains(&self.certificates.len()) {
            return Err(Problem::invalid("/certificates", format!("must be 1 to {MAX_CERTIFICATES}")));
        }
        for (at, one) in self.certificates.iter().enumerate() {
            // What the type lets through is what was recorded once; what comes in today has closer bounds.
            if let Some(metadata) = &one.metadata {
                Metadata::new(metadata.entries().clone())
                    .map_err(|error| Problem::invalid(format!("/certificates/{at}/metadata"), error.to_string()))?;
            }
            let is_described = one.device_name.is_some() || one.metadata.is_some() || one.tags.is_some();
            if one.device_id.is_some() && is_described {
                let detail = "deviceName, metadata and tags are a new device's; this one has its own";
                return Err(Problem::invalid(format!("/certificates/{at}/deviceId"), detail));
            }
        }
        Ok(())
    }
}

/// Runs to its end also where the caller goes away.
async fn run(
    api: CommandApi,
    cause: Cause,
    request: ImportCertificates,
) -> Result<Changed<Json<ImportedCertificates>>, Problem> {
    let begun = match (request.dry_run, cause.idempotency) {
        // Takes the name before anything is done under it. A batch without streams has nothing to conflict with.
        (false, Some(_)) => api.append(&cause, vec![]).await?.map(|taken| taken.position).unwrap_or_default(),
        _ => api.store.head().await.map_err(|error| store_unavailable(&error))?,
    };
    let import = Import { api, cause: cause.unnamed(), tenant_id: request.tenant_id, begun, dry_run: request.dry_run };
    let mut waiting = request.certificates.into_iter().enumerate();
    let mut running = JoinSet::new();
    let (mut results, mut position) = (vec![], begun);
    loop {
        while running.len() < CONCURRENT
            && let Some((at, one)) = waiting.next()
        {
            let import = import.clone();
            running.spawn(async move { (at, import.result(one).await) }.in_current_span());
        }
        let Some(finished) = running.join_next().await else { break };
        let (at, (result, reached)) = finished.map_err(|error| internal(&error))?;
        position = position.max(reached.unwrap_or_default());
        results.push((at, result));
    }
    results.sort_unstable_by_key(|(at, _)| *at);
    let results = results.into_iter().map(|(_, result)| result).collect();
    Ok(Changed::new(StatusCode::OK, Json(ImportedCertificates::new(request.dry_run, results)), position))
}

impl ImportedCertificates {
    fn new(dry_run: bool, results: Vec<ImportResult>) -> Self {
        let count = |outcome| results.iter().filter(|result| result.outcome == outcome).count();
        Self {
            dry_run,
            imported: count(ImportOutcome::Imported),
            unchanged: count(ImportOutcome::Unchanged),
            failed: count(ImportOutcome::Failed),
            results,
        }
    }
}

/// A certificate that was taken in, or would be.
struct Taken {
    outcome: ImportOutcome,
    device_id: Option<DeviceId>,
    serial_number: SerialNumber,
    fingerprint: Fingerprint,
    position: Option<Position>,
}

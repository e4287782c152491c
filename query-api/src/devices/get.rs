//! `GET /api/devices/{id}`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Caller, Permission};
use signalbeam_domain::{DeviceId, Prefix, Timestamp};
use signalbeam_projections::{ApiKeyRow, AttemptFilter, DeviceDetail};
use utoipa::ToSchema;

use super::ListedDevice;
use crate::certificates::ListedCertificate;
use crate::parameters::AsOf;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// A device with what it authenticates by.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownDevice {
    #[serde(flatten)]
    device: ListedDevice,
    /// Whether another device of its tenant has the same name.
    name_is_duplicate: bool,
    /// Its newest API key that is not revoked, whether or not it has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<ListedApiKey>,
    /// Its certificate that is neither superseded nor revoked, whether or not it has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<ListedCertificate>,
}

/// A device's API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedApiKey {
    /// Its public prefix.
    #[schema(value_type = String)]
    key_prefix: Prefix,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The first moment at which it no longer authenticates.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it first authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    first_used_at: Option<Timestamp>,
}

impl From<ApiKeyRow> for ListedApiKey {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            key_prefix: row.prefix,
            created_at: row.created_at,
            expires_at: row.expires_at,
            first_used_at: row.first_used_at,
        }
    }
}

impl ShownDevice {
    fn new(detail: DeviceDetail, now: Timestamp) -> Self {
        Self {
            device: detail.device.into(),
            name_is_duplicate: detail.name_is_duplicate,
            api_key: detail.api_key.map(ListedApiKey::from),
            certificate: detail.certificate.map(|row| ListedCertificate::new(row, now)),
        }
    }
}

/// Get a device.
///
/// With its API key, its certificate, and when it last authenticated. A device sees itself alone.
#[utoipa::path(
    get, path = "/api/devices/{id}", tag = "Devices", operation_id = "getDevice",
    params(("id" = Uuid, Path, description = "The device"), AsOf),
    responses(
        (status = 200, body = ShownDevice, description = "The device"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`, or the device credential's code"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, another tenant's, or another device"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`, `AUTH_STATE_STALE`, `AUDIT_UNAVAILABLE`"),
    ),
    security(("adminToken" = []), ("clientCertificate" = []), ("apiKey" = [])),
)]
pub async fn get_device(
    State(api): State<QueryApi>,
    caller: Caller,
    PathParameter(id): PathParameter<DeviceId>,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<Json<ShownDevice>, Problem> {
    caller.require(Permission::Read)?;
    if let Caller::Device(device) = &caller {
        device.require_self(id)?;
    }
    api.settle(query.min_position).await?;
    let found = api.read_model.device(caller.tenant_id(), id).await.map_err(|error| store_unavailable(&error))?;
    let mut detail = found.ok_or_else(|| Problem::not_found("device"))?;
    detail.device.last_seen_at = last_seen_at(&api, id).await.or(detail.device.last_seen_at);
    Ok(Json(ShownDevice::new(detail, api.now())))
}

/// The authentication log itself is ahead of what is counted from it. Where it cannot be read, what was counted is shown.
async fn last_seen_at(api: &QueryApi, id: DeviceId) -> Option<Timestamp> {
    let filter = AttemptFilter { device_id: Some(id), success: Some(true), ..AttemptFilter::default() };
    match api.audit.query(&filter, None, 1).await {
        Ok(newest) => newest.attempts.first().map(|attempt| attempt.timestamp),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last sight of a device may be out of date");
            None
        }
    }
}

//! `GET /api/devices/{id}/usage`

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::{DeviceId, Timestamp};
use signalbeam_projections::{CredentialUsage, DeviceUsage};
use utoipa::{IntoParams, ToSchema};

use super::{UsageOfDay, span};
use crate::parameters::Moment;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Which days are shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Days {
    /// The first day in UTC, or a moment of it; by default 30 days before the end.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-01-01")]
    start_date: Option<Moment>,
    /// The day, in UTC, before which to end, or a moment: its day then counts where it is not the first moment; by default now.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-02-01")]
    end_date: Option<Moment>,
    /// Answer only from this position of the log on; waits up to 2 s for it.
    #[serde(default)]
    min_position: Option<u64>,
}

/// How a device uses its credentials.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownDeviceUsage {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// When it last authenticated; absent where it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
    /// Its address then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    last_seen_from: Option<IpAddr>,
    /// By what means.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Certificate")]
    last_authentication_method: Option<&'static str>,
    /// What it did with each credential, ever; the last used first.
    credentials: Vec<UsageOfCredential>,
    /// One entry a day and method, the newest day first.
    days: Vec<UsageOfDay>,
}

/// What a device did with one credential.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageOfCredential {
    /// `Certificate` or `ApiKey`.
    #[schema(example = "Certificate")]
    authentication_method: &'static str,
    /// The certificate's serial number, or the API key's prefix.
    #[schema(example = "55d201d6c0f3a356d7d63fd6fa6a903b09e73754")]
    credential: String,
    /// When it last authenticated; absent where it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// How many attempts succeeded.
    successes: u64,
    /// How many failed.
    failures: u64,
}

impl From<CredentialUsage> for UsageOfCredential {
    fn from(usage: CredentialUsage) -> Self {
        Self {
            authentication_method: usage.method.as_str(),
            credential: usage.credential,
            last_used_at: usage.last_used_at,
            successes: usage.successes,
            failures: usage.failures,
        }
    }
}

impl ShownDeviceUsage {
    fn new(device_id: DeviceId, usage: DeviceUsage) -> Self {
        Self {
            device_id,
            last_seen_at: usage.last_seen.map(|seen| seen.at),
            last_seen_from: usage.last_seen.map(|seen| seen.from),
            last_authentication_method: usage.last_seen.map(|seen| seen.method.as_str()),
            credentials: usage.credentials.into_iter().map(UsageOfCredential::from).collect(),
            days: usage.days.into_iter().map(UsageOfDay::from).collect(),
        }
    }
}

/// Get a device's usage.
///
/// When and from where it last authenticated, how often with each credential, and by which method on which day. Counted from
/// the authentication log, a second or so behind it.
#[utoipa::path(
    get, path = "/api/devices/{id}/usage", tag = "Devices", operation_id = "getDeviceUsage",
    params(("id" = Uuid, Path, description = "The device"), Days),
    responses(
        (status = 200, body = ShownDeviceUsage, description = "What was counted"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, or another tenant's"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn get_device_usage(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    PathParameter(id): PathParameter<DeviceId>,
    QueryParameters(query): QueryParameters<Days>,
) -> Result<Json<ShownDeviceUsage>, Problem> {
    admin.require(Permission::Read)?;
    let span = span(query.start_date, query.end_date, api.now())?;
    api.settle(query.min_position).await?;
    let device = api.read_model.device(admin.tenant_id, id).await.map_err(|error| store_unavailable(&error))?;
    device.ok_or_else(|| Problem::not_found("device"))?;
    let usage = api.read_model.device_usage(id, &span).await.map_err(|error| store_unavailable(&error))?;
    Ok(Json(ShownDeviceUsage::new(id, usage)))
}

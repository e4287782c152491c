//! `GET /api/devices/by-status/{status}`

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::Caller;
use signalbeam_authn::http::extract::PathParameter;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::{DeviceStatus, TenantId};
use signalbeam_projections::DeviceFilter;
use utoipa::IntoParams;

use super::{Asked, ListedDevice};
use crate::listing::{Limit, List};
use crate::state::QueryApi;
use crate::tagged::TaggedQuery;

/// Which devices of the status are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListDevicesByStatus {
    /// Only this tenant's.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// Only those whose name contains this; ASCII letters in either case.
    #[serde(default)]
    q: Option<String>,
    /// How many at most: 1 to 500.
    #[serde(default)]
    #[param(value_type = u16, required = false, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to continue: the `nextCursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Answer only from this position of the log on; waits up to 2 s for it.
    #[serde(default)]
    min_position: Option<u64>,
}

/// List devices by status.
///
/// The newest first; `Pending` are those that wait for an admin. A device sees itself alone.
#[utoipa::path(
    get, path = "/api/devices/by-status/{status}", tag = "Devices", operation_id = "listDevicesByStatus",
    params(
        ("status" = String, Path, description = "`Pending`, `Approved`, `Rejected`, `Suspended` or `Decommissioned`"),
        ListDevicesByStatus,
        ("tag" = Option<Vec<String>>, Query, description = "Only those that have this tag; given several times \
            (`?tag=a&tag=b`), only those that have every one of them. At most 32; case counts."),
    ),
    responses(
        (status = 200, body = List<ListedDevice>, description = "A page of devices"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`: also for an unknown status"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`, or the device credential's code"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: another tenant; `DEVICE_NOT_APPROVED`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`, `AUTH_STATE_STALE`, `AUDIT_UNAVAILABLE`"),
    ),
    security(("adminToken" = []), ("clientCertificate" = []), ("apiKey" = [])),
)]
pub async fn list_devices_by_status(
    State(api): State<QueryApi>,
    caller: Caller,
    PathParameter(status): PathParameter<DeviceStatus>,
    TaggedQuery { tags, others: query }: TaggedQuery<ListDevicesByStatus>,
) -> Result<Json<List<ListedDevice>>, Problem> {
    let filter = DeviceFilter { status: Some(status), tenant_id: query.tenant_id, name_contains: query.q, tags };
    let asked = Asked { filter, limit: query.limit, cursor: query.cursor, min_position: query.min_position };
    super::list(&api, &caller, asked).await
}

//! `GET /api/devices/{id}/history`

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::{DeviceId, Position, TenantId};
use signalbeam_projections::{Filter, Recorded};
use utoipa::IntoParams;

use crate::events::{ShownEvent, page, streams_of_device};
use crate::listing::{Limit, List, ListName};
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Which part of the history is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeviceHistory {
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

/// Get a device's history.
///
/// Every event of the device, its API keys and its certificates, oldest first.
#[utoipa::path(
    get, path = "/api/devices/{id}/history", tag = "Events", operation_id = "getDeviceHistory",
    params(("id" = Uuid, Path, description = "The device"), DeviceHistory),
    responses(
        (status = 200, body = List<ShownEvent>, description = "A page of events"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, or another tenant's"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn get_device_history(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    PathParameter(id): PathParameter<DeviceId>,
    QueryParameters(query): QueryParameters<DeviceHistory>,
) -> Result<Json<List<ShownEvent>>, Problem> {
    admin.require(Permission::Read)?;
    let after = ListName::DeviceHistory.after(query.cursor.as_deref())?.map(Position).unwrap_or_default();
    if let Some(position) = query.min_position {
        api.settle(Some(position)).await?;
    }
    require_device(&api, admin.tenant_id, id).await?;
    let filter = Filter { streams: streams_of_device(id).into(), ..Filter::default() };
    page(&api, ListName::DeviceHistory, after, query.limit, &filter).await.map(Json)
}

async fn require_device(api: &QueryApi, confined_to: Option<TenantId>, id: DeviceId) -> Result<(), Problem> {
    let [stream, ..] = streams_of_device(id);
    let events = api.events.read_stream(&stream).await.map_err(|error| store_unavailable(&error))?;
    let is_visible = |first: &Recorded| confined_to.is_none() || confined_to == first.envelope.tenant_id;
    if events.first().is_some_and(is_visible) { Ok(()) } else { Err(Problem::not_found("device")) }
}

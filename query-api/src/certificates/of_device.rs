//! `GET /api/certificates/device/{deviceId}`

use axum::Json;
use axum::extract::State;
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Caller, Permission};
use signalbeam_domain::DeviceId;

use super::ListedCertificate;
use crate::listing::List;
use crate::parameters::AsOf;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// List a device's certificates.
///
/// All that it ever had, the newest first, on one page. A device sees its own.
#[utoipa::path(
    get, path = "/api/certificates/device/{deviceId}", tag = "Certificates", operation_id = "listCertificatesOfDevice",
    params(("deviceId" = Uuid, Path, description = "The device"), AsOf),
    responses(
        (status = 200, body = List<ListedCertificate>, description = "Its certificates; `nextCursor` is `null`"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`, or the device credential's code"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, another tenant's, or another device"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`, `AUTH_STATE_STALE`, `AUDIT_UNAVAILABLE`"),
    ),
    security(("adminToken" = []), ("clientCertificate" = []), ("apiKey" = [])),
)]
pub async fn list_certificates_of_device(
    State(api): State<QueryApi>,
    caller: Caller,
    PathParameter(id): PathParameter<DeviceId>,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<Json<List<ListedCertificate>>, Problem> {
    caller.require(Permission::Read)?;
    if let Caller::Device(device) = &caller {
        device.require_self(id)?;
    }
    api.settle(query.min_position).await?;
    let confined_to = caller.tenant_id();
    let device = api.read_model.device(confined_to, id).await.map_err(|error| store_unavailable(&error))?;
    device.ok_or_else(|| Problem::not_found("device"))?;
    let rows = api.read_model.certificates_of_device(confined_to, id).await;
    let now = api.now();
    let items = rows.map_err(|error| store_unavailable(&error))?;
    let items = items.into_iter().map(|row| ListedCertificate::new(row, now)).collect();
    Ok(Json(List { items, next_cursor: None }))
}

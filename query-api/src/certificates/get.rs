//! `GET /api/certificates/{serialNumber}`

use axum::Json;
use axum::extract::State;
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::SerialNumber;

use super::ListedCertificate;
use crate::parameters::AsOf;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Get a certificate.
///
/// By its serial number, in either case, with or without colons.
#[utoipa::path(
    get, path = "/api/certificates/{serialNumber}", tag = "Certificates", operation_id = "getCertificate",
    params(("serialNumber" = String, Path, description = "40 hex digits"), AsOf),
    responses(
        (status = 200, body = ListedCertificate, description = "The certificate"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, or another tenant's"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn get_certificate(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    PathParameter(serial_number): PathParameter<SerialNumber>,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<Json<ListedCertificate>, Problem> {
    admin.require(Permission::Read)?;
    api.settle(query.min_position).await?;
    let found = api.read_model.certificate(admin.tenant_id, serial_number).await;
    let row = found.map_err(|error| store_unavailable(&error))?.ok_or_else(|| Problem::not_found("certificate"))?;
    Ok(Json(ListedCertificate::new(row, api.now())))
}

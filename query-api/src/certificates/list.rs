//! `GET /api/certificates`

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::TenantId;
use signalbeam_projections::{CertificateFilter, CertificateStatus};
use utoipa::IntoParams;

use super::ListedCertificate;
use crate::listing::{Limit, List, ListName};
use crate::parameters::certificate_status;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Which certificates are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListCertificates {
    /// Only these: `active`, `superseded`, `revoked` or `expired`.
    #[serde(default, deserialize_with = "certificate_status")]
    #[param(value_type = Option<String>, example = "active")]
    status: Option<CertificateStatus>,
    /// Only active ones that end within so many days.
    #[serde(default)]
    expiring_within_days: Option<u16>,
    /// Only this tenant's.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
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

/// List certificates.
///
/// The newest first. An admin of one tenant sees that tenant's; the authority's own are listed for admins of all tenants.
#[utoipa::path(
    get, path = "/api/certificates", tag = "Certificates", operation_id = "listCertificates",
    params(ListCertificates),
    responses(
        (status = 200, body = List<ListedCertificate>, description = "A page of certificates"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: another tenant"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn list_certificates(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<ListCertificates>,
) -> Result<Json<List<ListedCertificate>>, Problem> {
    admin.require(Permission::Read)?;
    query.tenant_id.map_or(Ok(()), |tenant_id| admin.require_tenant(tenant_id))?;
    let after = ListName::Certificates.after(query.cursor.as_deref())?;
    api.settle(query.min_position).await?;
    let now = api.now();
    let filter = CertificateFilter {
        status: query.status,
        expiring_within_days: query.expiring_within_days,
        tenant_id: query.tenant_id,
        ..CertificateFilter::default()
    };
    let certificates = api.read_model.certificates(admin.tenant_id, &filter, now, after, query.limit.get()).await;
    let certificates = certificates.map_err(|error| store_unavailable(&error))?;
    Ok(Json(List {
        items: certificates.items.into_iter().map(|row| ListedCertificate::new(row, now)).collect(),
        next_cursor: certificates.next.map(|next| ListName::Certificates.cursor(&next)),
    }))
}

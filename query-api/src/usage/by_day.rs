//! `GET /api/usage`

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::TenantId;
use utoipa::{IntoParams, ToSchema};

use super::{UsageOfDay, span};
use crate::parameters::Moment;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Whose usage is shown, and of which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Usage {
    /// Only this tenant's.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// The first day in UTC, or a moment of it; by default 30 days before the end.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-01-01")]
    start_date: Option<Moment>,
    /// Before this day, in UTC, or this moment; by default now.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-02-01")]
    end_date: Option<Moment>,
    /// Answer only from this position of the log on; waits up to 2 s for it.
    #[serde(default)]
    min_position: Option<u64>,
}

/// What devices and strangers did, day by day.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownUsage {
    /// One entry a day and method, the newest day first.
    days: Vec<UsageOfDay>,
}

/// Get usage by day.
///
/// How many devices authenticated by which method on which day, and how many attempts succeeded and failed. Attempts with
/// credentials that nobody has count for no tenant: only an admin of every tenant sees them. Counted from the authentication
/// log, a second or so behind it.
#[utoipa::path(
    get, path = "/api/usage", tag = "Authentication log", operation_id = "getUsage",
    params(Usage),
    responses(
        (status = 200, body = ShownUsage, description = "What was counted"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: another tenant"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn get_usage(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<Usage>,
) -> Result<Json<ShownUsage>, Problem> {
    admin.require(Permission::Read)?;
    query.tenant_id.map_or(Ok(()), |tenant_id| admin.require_tenant(tenant_id))?;
    let span = span(query.start_date, query.end_date, api.now())?;
    api.settle(query.min_position).await?;
    let usage = api.read_model.usage_by_day(admin.tenant_id.or(query.tenant_id), &span).await;
    let usage = usage.map_err(|error| store_unavailable(&error))?;
    Ok(Json(ShownUsage { days: usage.into_iter().map(UsageOfDay::from).collect() }))
}

//! `GET /api/registration-tokens`

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};
use signalbeam_domain::TenantId;
use signalbeam_projections::{TokenFilter, TokenStatus};
use utoipa::IntoParams;

use super::ListedRegistrationToken;
use crate::listing::{Limit, List, ListName};
use crate::parameters::token_status;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Which tokens are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRegistrationTokens {
    /// Only these: `active`, `used`, `expired` or `revoked`.
    #[serde(default, deserialize_with = "token_status")]
    #[param(value_type = Option<String>, example = "active")]
    status: Option<TokenStatus>,
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

/// List registration tokens.
///
/// The newest first. The tokens themselves were shown when they were created and are not kept.
#[utoipa::path(
    get, path = "/api/registration-tokens", tag = "Registration tokens", operation_id = "listRegistrationTokens",
    params(ListRegistrationTokens),
    responses(
        (status = 200, body = List<ListedRegistrationToken>, description = "A page of tokens"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: another tenant"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn list_registration_tokens(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<ListRegistrationTokens>,
) -> Result<Json<List<ListedRegistrationToken>>, Problem> {
    admin.require(Permission::Read)?;
    query.tenant_id.map_or(Ok(()), |tenant_id| admin.require_tenant(tenant_id))?;
    let after = ListName::RegistrationTokens.after(query.cursor.as_deref())?;
    api.settle(query.min_position).await?;
    let now = api.now();
    let filter = TokenFilter { status: query.status, tenant_id: query.tenant_id };
    let tokens = api.read_model.registration_tokens(admin.tenant_id, &filter, now, after, query.limit.get()).await;
    let tokens = tokens.map_err(|error| store_unavailable(&error))?;
    Ok(Json(List {
        items: tokens.items.into_iter().map(|row| ListedRegistrationToken::new(row, now)).collect(),
        next_cursor: tokens.next.map(|next| ListName::RegistrationTokens.cursor(&next)),
    }))
}

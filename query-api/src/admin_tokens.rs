//! `GET /api/admin-tokens/revocations`

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, ErrorCode, Permission};
use signalbeam_domain::{AdminTokenId, Timestamp, TokenIssuer};
use signalbeam_projections::{RevocationRow, RevokedTokens};
use utoipa::{IntoParams, ToSchema};

use crate::listing::{Limit, List, ListName};
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Which page is listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAdminTokenRevocations {
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

/// A revocation of admin tokens: of one by `jti` and `issuer`, or of all that were issued before a moment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminTokenRevocation {
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    jti: Option<AdminTokenId>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    issuer: Option<TokenIssuer>,
    /// When it would have expired anyway, where that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// All tokens of this installation that were issued before this moment are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    issued_before: Option<Timestamp>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When they were revoked.
    #[schema(value_type = String, format = DateTime)]
    revoked_at: Timestamp,
    /// Who did it, as `kind:id`.
    revoked_by: String,
}

impl From<RevocationRow> for AdminTokenRevocation {
    fn from(row: RevocationRow) -> Self {
        let RevocationRow { revoked, reason, revoked_at, revoked_by, .. } = row;
        let (jti, issuer, expires_at, issued_before) = match revoked {
            RevokedTokens::Single { jti, issuer, expires_at } => (Some(jti), Some(issuer), expires_at, None),
            RevokedTokens::IssuedBefore(moment) => (None, None, None, Some(moment)),
        };
        Self { jti, issuer, expires_at, issued_before, reason, revoked_at, revoked_by }
    }
}

/// List revocations of admin tokens.
///
/// The newest first.
#[utoipa::path(
    get, path = "/api/admin-tokens/revocations", tag = "Admin tokens", operation_id = "listAdminTokenRevocations",
    params(ListAdminTokenRevocations),
    responses(
        (status = 200, body = List<AdminTokenRevocation>, description = "A page of revocations"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: the admin is confined to a tenant"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn list_admin_token_revocations(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<ListAdminTokenRevocations>,
) -> Result<Json<List<AdminTokenRevocation>>, Problem> {
    admin.require(Permission::Read)?;
    if admin.tenant_id.is_some() {
        return Err(Problem::new(
            ErrorCode::Forbidden,
            "admin tokens belong to no tenant; the token is confined to one",
        ));
    }
    let after = ListName::AdminTokenRevocations.after(query.cursor.as_deref())?;
    api.settle(query.min_position).await?;
    let found = api.read_model.admin_token_revocations(after, query.limit.get()).await;
    let found = found.map_err(|error| store_unavailable(&error))?;
    Ok(Json(List {
        items: found.items.into_iter().map(Into::into).collect(),
        next_cursor: found.next.map(|next| ListName::AdminTokenRevocations.cursor(&next)),
    }))
}

//! `GET /api/authentication-logs`

use axum::Json;
use axum::extract::State;
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, Permission};

use super::{AuthenticationLogEntry, attempt_parameters};
use crate::listing::{Limit, List, ListName, invalid_cursor};
use crate::reading::audit_unavailable;
use crate::state::QueryApi;

attempt_parameters! {
    /// Which attempts are listed.
    ListAuthenticationLogs {
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
}

/// List authentication attempts.
///
/// The newest first. An admin of one tenant sees the attempts with that tenant's credentials.
///
/// Found by an index: a device's attempts, a tenant's, failures by their code, and a span of time. By other parameters alone
/// a page looks at 200,000 rows at most (20,000 where an index leads there), and may then be short, or empty, with a
/// `nextCursor`.
#[utoipa::path(
    get, path = "/api/authentication-logs", tag = "Authentication log", operation_id = "listAuthenticationLogs",
    params(ListAuthenticationLogs),
    responses(
        (status = 200, body = List<AuthenticationLogEntry>, description = "A page of attempts"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `AUDIT_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn list_authentication_logs(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<ListAuthenticationLogs>,
) -> Result<Json<List<AuthenticationLogEntry>>, Problem> {
    admin.require(Permission::Read)?;
    let filter = query.filter(&admin)?;
    let after = query.after()?;
    let limit = query.limit.get();
    if let Some(position) = query.min_position {
        api.settle(Some(position)).await?;
    }
    let page = api.audit.query(&filter, after, limit).await.map_err(|error| audit_unavailable(&error))?;
    Ok(Json(List {
        items: page.attempts.into_iter().map(AuthenticationLogEntry::from).collect(),
        next_cursor: page.next.map(|next| ListName::AuthenticationLogs.cursor(&next)),
    }))
}

impl ListAuthenticationLogs {
    fn after(&self) -> Result<Option<i64>, Problem> {
        match ListName::AuthenticationLogs.after(self.cursor.as_deref())? {
            // Rows are numbered from 1.
            Some(row) if row < 1 => Err(invalid_cursor()),
            after => Ok(after),
        }
    }
}

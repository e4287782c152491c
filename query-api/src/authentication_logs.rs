//! `GET /api/authentication-logs`

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, ErrorCode, Permission};
use signalbeam_domain::{DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use signalbeam_projections::{AttemptFilter, AuthenticationAttempt, AuthenticationMethod};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::listing::{Limit, List, ListName, invalid_cursor};
use crate::parameters::{Moment, authentication_method, failure_code};
use crate::reading::audit_unavailable;
use crate::state::QueryApi;

/// Which attempts are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAuthenticationLogs {
    /// Only this device's.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    device_id: Option<DeviceId>,
    /// From this moment on: an RFC 3339 time, or a day, which stands for its first moment in UTC.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-01-31")]
    start_date: Option<Moment>,
    /// Before this moment.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "2026-02-01T12:00:00Z")]
    end_date: Option<Moment>,
    /// Only successes; `false`, the default, shows failures too.
    #[serde(default)]
    #[param(required = false)]
    success_only: bool,
    /// Only by this means: `Certificate` or `ApiKey`; failures also by `RegistrationToken`, `ClaimSecret` or `AdminToken`.
    #[serde(default, deserialize_with = "authentication_method")]
    #[param(value_type = Option<String>, example = "Certificate")]
    method: Option<AuthenticationMethod>,
    /// Only with this code, such as `CERTIFICATE_REVOKED`.
    #[serde(default, deserialize_with = "failure_code")]
    #[param(value_type = Option<String>, example = "CERTIFICATE_REVOKED")]
    failure_code: Option<ErrorCode>,
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

/// One attempt to authenticate.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationLogEntry {
    /// Its id.
    id: Uuid,
    /// The device, where the presented credential is a known one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    device_id: Option<DeviceId>,
    /// That device's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// Where the request came from, trusted proxies looked through.
    #[schema(value_type = String, example = "192.0.2.7")]
    ip_address: IpAddr,
    /// What the client calls itself.
    user_agent: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Whether it succeeded.
    success: bool,
    /// By what means.
    #[schema(example = "Certificate")]
    authentication_method: &'static str,
    /// Why it failed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
    /// Why it failed, as a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_code: Option<String>,
    /// The public prefix of the API key or the token that was presented.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    api_key_prefix: Option<Prefix>,
    /// The serial number of the certificate that was presented, where it is a known one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    certificate_serial_number: Option<SerialNumber>,
    /// The request.
    correlation_id: String,
}

impl From<AuthenticationAttempt> for AuthenticationLogEntry {
    fn from(attempt: AuthenticationAttempt) -> Self {
        Self {
            id: attempt.id,
            device_id: attempt.device_id,
            tenant_id: attempt.tenant_id,
            ip_address: attempt.ip_address,
            user_agent: attempt.user_agent,
            timestamp: attempt.timestamp,
            success: attempt.success,
            authentication_method: attempt.method.as_str(),
            failure_reason: attempt.failure_reason,
            failure_code: attempt.failure_code,
            api_key_prefix: attempt.api_key_prefix,
            certificate_serial_number: attempt.certificate_serial_number,
            correlation_id: attempt.correlation_id.as_str().to_owned(),
        }
    }
}

/// List authentication attempts.
///
/// The newest first. An admin of one tenant sees the attempts with that tenant's credentials.
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
    let after = query.after()?;
    let limit = query.limit.get();
    if let Some(position) = query.min_position {
        api.settle(Some(position)).await?;
    }
    let filter = query.filter(admin.tenant_id);
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

    fn filter(&self, confined_to: Option<TenantId>) -> AttemptFilter {
        AttemptFilter {
            tenant_id: confined_to,
            device_id: self.device_id,
            start: self.start_date.map(|moment| moment.0),
            end: self.end_date.map(|moment| moment.0),
            success: self.success_only.then_some(true),
            method: self.method,
            failure_code: self.failure_code.map(|code| code.as_str().to_owned()),
        }
    }
}

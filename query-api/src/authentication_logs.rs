//! The authentication log: a list for people, an export for everything.

pub mod export;
pub mod list;

use std::net::IpAddr;

use serde::Serialize;
use signalbeam_domain::{DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use signalbeam_projections::AuthenticationAttempt;
use utoipa::ToSchema;
use uuid::Uuid;

/// Defines the parameters of a route that narrows attempts: what all of them take, and what only this one does.
macro_rules! attempt_parameters {
    ($(#[$doc:meta])* $name:ident { $($more:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub struct $name {
            /// Only this device's.
            #[serde(default)]
            #[param(value_type = Option<uuid::Uuid>)]
            device_id: Option<signalbeam_domain::DeviceId>,
            /// Only this tenant's.
            #[serde(default)]
            #[param(value_type = Option<uuid::Uuid>)]
            tenant_id: Option<signalbeam_domain::TenantId>,
            /// From this moment on: an RFC 3339 time, or a day, which stands for its first moment in UTC.
            #[serde(default)]
            #[param(value_type = Option<String>, example = "2026-01-31")]
            start_date: Option<crate::parameters::Moment>,
            /// Before this moment.
            #[serde(default)]
            #[param(value_type = Option<String>, example = "2026-02-01T12:00:00Z")]
            end_date: Option<crate::parameters::Moment>,
            /// Only successes; `false`, the default, shows failures too.
            #[serde(default)]
            #[param(required = false)]
            success_only: bool,
            /// Only by this means: `Certificate` or `ApiKey`; failures also by `RegistrationToken`, `ClaimSecret` or
            /// `AdminToken`.
            #[serde(default, deserialize_with = "crate::parameters::authentication_method")]
            #[param(value_type = Option<String>, example = "Certificate")]
            method: Option<signalbeam_projections::AuthenticationMethod>,
            /// Only with this code, such as `CERTIFICATE_REVOKED`.
            #[serde(default, deserialize_with = "crate::parameters::failure_code")]
            #[param(value_type = Option<String>, example = "CERTIFICATE_REVOKED")]
            failure_code: Option<signalbeam_authn::ErrorCode>,
            /// Only from this address. No index leads to it: see the route.
            #[serde(default)]
            #[param(value_type = Option<String>, example = "192.0.2.7")]
            ip_address: Option<std::net::IpAddr>,
            /// Only with the API key or the token of this public prefix. No index leads to it.
            #[serde(default)]
            #[param(value_type = Option<String>, example = "a1B2c3D4")]
            api_key_prefix: Option<signalbeam_domain::Prefix>,
            /// Only with this certificate. No index leads to it; `deviceId` beside it does.
            #[serde(default)]
            #[param(value_type = Option<String>)]
            certificate_serial_number: Option<signalbeam_domain::SerialNumber>,
            /// Only of this request. No index leads to it.
            #[serde(default, deserialize_with = "crate::parameters::correlation_id")]
            #[param(value_type = Option<String>)]
            correlation_id: Option<signalbeam_domain::CorrelationId>,
            $($more)*
        }

        impl $name {
            /// What the admin may see of what is asked for.
            ///
            /// # Errors
            /// 403 `FORBIDDEN` where it is another tenant's.
            fn filter(
                &self,
                admin: &signalbeam_authn::AdminPrincipal,
            ) -> Result<signalbeam_projections::AttemptFilter, signalbeam_authn::Problem> {
                self.tenant_id.map_or(Ok(()), |tenant_id| admin.require_tenant(tenant_id))?;
                Ok(signalbeam_projections::AttemptFilter {
                    tenant_id: admin.tenant_id.or(self.tenant_id),
                    device_id: self.device_id,
                    start: self.start_date.map(|moment| moment.0),
                    end: self.end_date.map(|moment| moment.0),
                    success: self.success_only.then_some(true),
                    method: self.method,
                    failure_code: self.failure_code.map(|code| code.as_str().to_owned()),
                    ip_address: self.ip_address.map(|address| address.to_canonical()),
                    api_key_prefix: self.api_key_prefix,
                    certificate_serial_number: self.certificate_serial_number,
                    correlation_id: self.correlation_id.clone(),
                })
            }
        }
    };
}
use attempt_parameters;

/// One attempt to authenticate, or a count of failed ones.
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
    /// Where the request came from, trusted proxies looked through. Of counted ones the address, or the first of its /64;
    /// `0.0.0.0` or `::` where there were too many.
    #[schema(value_type = String, example = "192.0.2.7")]
    ip_address: IpAddr,
    /// What the client calls itself.
    user_agent: Option<String>,
    /// When; the first of those that are counted.
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
    /// The request; of counted ones the first.
    correlation_id: String,
    /// How many attempts this stands for; absent for one. A flood of failures is counted instead of recorded one by one.
    #[serde(skip_serializing_if = "is_one")]
    #[schema(value_type = Option<u64>, minimum = 2)]
    attempts: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_one(attempts: &u64) -> bool {
    *attempts == 1
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
            attempts: attempt.attempts,
        }
    }
}

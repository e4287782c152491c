//! Writes every attempt to authenticate into the audit log, and counts it in the metrics.

use std::sync::Arc;

use signalbeam_domain::{DeviceId, Prefix, TenantId};
use signalbeam_event_store::audit::{AuthenticationAttempt, AuthenticationMethod};
use signalbeam_event_store::{AuditLog, Clock};
use uuid::Uuid;

use crate::code::ErrorCode;
use crate::device::Judgement;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;

/// Records attempts.
pub struct Recorder {
    audit: Arc<dyn AuditLog>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Records into this log, by this clock.
    pub fn new(audit: Arc<dyn AuditLog>, clock: Arc<dyn Clock>) -> Self {
        Self { audit, clock }
    }

    /// Records what was judged of one request: a row each. Answered when they count as recorded.
    ///
    /// # Errors
    /// 503 `AUDIT_UNAVAILABLE`: nobody is let in unrecorded.
    pub(crate) async fn record(&self, context: &RequestContext, judgements: Vec<Judgement>) -> Result<(), Problem> {
        let attempts = judgements.into_iter().map(|judgement| {
            let code = judgement.outcome.as_ref().err().copied();
            count(judgement.method, code);
            AuthenticationAttempt {
                device_id: judgement.device_id,
                tenant_id: judgement.tenant_id,
                api_key_prefix: judgement.prefix,
                certificate_serial_number: judgement.serial_number,
                ..self.attempt(context, judgement.method, code)
            }
        });
        self.audit.record(attempts.collect()).await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an authentication attempt could not be recorded"
            );
            Problem::new(
                ErrorCode::AuditUnavailable,
                "the audit log cannot be written, so no device is let in; try again later",
            )
        })
    }

    /// Records a failed attempt by other means than a device's credential. Where that fails, the failure is logged: the
    /// caller is refused either way.
    pub async fn record_failure(&self, context: &RequestContext, failure: FailedAttempt) {
        count(failure.method, Some(failure.code));
        let attempt = AuthenticationAttempt {
            device_id: failure.device_id,
            tenant_id: failure.tenant_id,
            api_key_prefix: failure.prefix,
            ..self.attempt(context, failure.method, Some(failure.code))
        };
        if let Err(error) = self.audit.record(vec![attempt]).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a failed attempt could not be recorded");
        }
    }

    fn attempt(
        &self,
        context: &RequestContext,
        method: AuthenticationMethod,
        code: Option<ErrorCode>,
    ) -> AuthenticationAttempt {
        AuthenticationAttempt {
            id: Uuid::now_v7(),
            device_id: None,
            tenant_id: None,
            ip_address: context.client_address,
            user_agent: context.user_agent.clone(),
            timestamp: self.clock.now(),
            success: code.is_none(),
            method,
            failure_reason: code.map(|code| code.title().to_owned()),
            failure_code: code.map(|code| code.as_str().to_owned()),
            api_key_prefix: None,
            certificate_serial_number: None,
            correlation_id: context.correlation_id.clone(),
            attempts: 1,
        }
    }
}

/// A failed attempt by other means than a device's credential.
#[derive(Debug, Clone, Copy)]
pub struct FailedAttempt {
    /// By what means.
    pub method: AuthenticationMethod,
    /// Why it failed.
    pub code: ErrorCode,
    /// The device that the attempt was for, where it exists.
    pub device_id: Option<DeviceId>,
    /// The tenant, where that is certain.
    pub tenant_id: Option<TenantId>,
    /// The token's public prefix, where one was presented.
    pub prefix: Option<Prefix>,
}

fn count(method: AuthenticationMethod, code: Option<ErrorCode>) {
    let result = if code.is_none() { "success" } else { "failure" };
    match method {
        AuthenticationMethod::Certificate => {
            metrics::counter!("signalbeam_authentication_method_total", "method" => "certificate", "result" => result)
                .increment(1);
        }
        AuthenticationMethod::ApiKey => {
            metrics::counter!("signalbeam_authentication_method_total", "method" => "apikey", "result" => result)
                .increment(1);
        }
        _ => {}
    }
    if let Some(code) = code {
        metrics::counter!("signalbeam_authentication_failures_total", "code" => code.as_str()).increment(1);
    }
}

//! Letting admins in: the token is verified, and was not revoked as far as is known for certain.

use signalbeam_event_store::audit::AuthenticationMethod;

use super::AdminSession;
use crate::authenticator::Authenticator;
use crate::code::ErrorCode;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;
use crate::recorder::FailedAttempt;

impl Authenticator {
    /// Judges an admin token, and records it where it is refused. What proves who is calling comes first, so that
    /// strangers are turned away whatever the state of this node; then what is known of revocations must be current.
    ///
    /// # Errors
    /// 401 `INVALID_TOKEN`, also where it was revoked; 429 `RATE_LIMITED`; 503 `AUTH_STATE_STALE` or
    /// `IDENTITY_PROVIDER_UNAVAILABLE` where that cannot be told.
    pub(crate) async fn admin(&self, context: &RequestContext, token: &str) -> Result<AdminSession, Problem> {
        let verified = match self.admins.verify(token, self.clock.now()).await {
            Ok(session) => {
                self.require_current_index().await?;
                self.require_unrevoked(session)
            }
            Err(problem) => Err(problem),
        };
        match verified {
            Ok(session) => {
                session.admin.tenant_id.map_or(Ok(()), |tenant_id| self.limits().tenant_request(tenant_id))?;
                Ok(session)
            }
            Err(problem) => {
                let failure = FailedAttempt {
                    method: AuthenticationMethod::AdminToken,
                    code: problem.code(),
                    device_id: None,
                    tenant_id: None,
                    prefix: None,
                };
                self.recorder().record_failure(context, failure).await;
                Err(self.limits().failed(context.client_address, None, problem))
            }
        }
    }

    fn require_unrevoked(&self, session: AdminSession) -> Result<AdminSession, Problem> {
        if self.index.has_revoked_admin_token(&session.issuer, session.jti.as_ref(), session.issued_at) {
            return Err(Problem::new(ErrorCode::InvalidToken, "the admin token was revoked; get a new one"));
        }
        Ok(session)
    }
}

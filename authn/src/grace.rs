//! The grace after a certificate's end: within it, where an operator grants one, an expired certificate may renew itself,
//! and nothing else.

use signalbeam_domain::SerialNumber;

use crate::authenticator::Authenticator;
use crate::code::ErrorCode;
use crate::device::DevicePrincipal;
use crate::device::certificate::{CertificateVerdict, judge_in_grace};
use crate::http::context::RequestContext;
use crate::http::problem::Problem;

impl Authenticator {
    /// How many days after its end a certificate may renew itself; 0 where it may not.
    pub fn renewal_grace_days(&self) -> u16 {
        self.policy.renewal_grace_days
    }

    /// The device whose certificate has expired, no longer ago than the operator grants, and is in order otherwise: the only
    /// thing that it may do is renew that certificate. Recorded as what it is, an expired certificate, and as let in.
    ///
    /// `None` where this is not such a certificate: the ordinary rules say what it is.
    ///
    /// # Errors
    /// As for [`Authenticator::any_device`].
    pub async fn device_in_grace(
        &self,
        context: &RequestContext,
        serial_number: SerialNumber,
    ) -> Result<Option<DevicePrincipal>, Problem> {
        if self.renewal_grace_days() == 0 {
            return Ok(None);
        }
        self.require_current_state().await?;
        let Some(verdict) = self.certificate_verdict(context) else { return Ok(None) };
        if verdict.refusal() != Some(ErrorCode::CertificateExpired)
            || verdict.entry.is_none_or(|entry| entry.serial_number != serial_number)
        {
            return Ok(None);
        }
        let Some(in_grace) = self.verdict_in_grace(context).filter(|in_grace| in_grace.refusal().is_none()) else {
            return Ok(None);
        };
        let judgements = vec![verdict.into_judgement(&self.index), in_grace.into_judgement(&self.index)];
        self.conclude(context, judgements).await.map(Some)
    }

    /// What the client certificate would be worth if it ended so many days later as the grace lasts.
    pub(crate) fn verdict_in_grace(&self, context: &RequestContext) -> Option<CertificateVerdict> {
        let certificate = context.connection.certificate.as_ref().filter(|_| self.policy.mtls_enabled)?;
        let grace_days = self.renewal_grace_days();
        Some(judge_in_grace(certificate, &self.authorities.current(), &self.index, self.clock.now(), grace_days))
    }
}

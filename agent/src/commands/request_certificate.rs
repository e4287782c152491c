//! `signalbeam-agent request-certificate`.

use super::{Context, Outcome};
use crate::commands::certificate_status::{CertificateReport, installed_text};
use crate::credentials::DeviceStatus;
use crate::enrolment::{KeyOrigin, issue};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// Requests a certificate and puts it in force.
pub fn execute(origin: KeyOrigin, context: &mut Context<'_>) -> Outcome {
    let now = context.clock.now();
    let mut session = Session::open(&context.locations)?;
    if session.credentials().api_key.is_none() || session.credentials().status != DeviceStatus::Approved {
        session.require_approval(now)?;
    }
    issue(&mut session, origin, now)?;
    let report =
        CertificateReport::of(&session)?.ok_or_else(|| Failure::NoCertificate(session.certs().dir().to_owned()))?;
    context.output.show(&installed_text("✅ Certificate issued successfully!", &report, now), &report)?;
    Ok(Exit::Fine)
}

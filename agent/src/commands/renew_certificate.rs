//! `signalbeam-agent renew-certificate`.

use super::{Context, Outcome};
use crate::commands::certificate_status::{CertificateReport, installed_text};
use crate::enrolment::renew;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// Renews the installed certificate.
pub fn execute(context: &mut Context<'_>) -> Outcome {
    let now = context.clock.now();
    let mut session = Session::open(&context.locations)?;
    renew(&mut session, now)?;
    let report =
        CertificateReport::of(&session)?.ok_or_else(|| Failure::NoCertificate(session.certs().dir().to_owned()))?;
    context.output.show(&installed_text("✅ Certificate renewed successfully!", &report, now), &report)?;
    Ok(Exit::Fine)
}

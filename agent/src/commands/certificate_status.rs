//! `signalbeam-agent certificate-status`: what is on disk, without asking the server.

use std::path::PathBuf;

use serde::Serialize;
use time::OffsetDateTime;

use super::{Context, Outcome};
use crate::cert_store::{CertStore, Installation};
use crate::credentials::CredentialsFile;
use crate::decision::{Age, certificate_age};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{date, days_phrase, heading, printable};
use crate::session::Session;

/// An installed certificate, as the certificate commands report it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    serial_number: String,
    subject: String,
    #[serde(with = "time::serde::rfc3339")]
    not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    certificate_path: PathBuf,
    private_key_path: PathBuf,
    ca_certificate_path: PathBuf,
}

impl CertificateReport {
    /// The report on a session's certificate; nothing where there is none.
    ///
    /// # Errors
    /// When the files are damaged.
    pub fn of(session: &Session) -> Result<Option<Self>, Failure> {
        Ok(session.installed()?.map(|installed| Self::new(session.certs(), &installed, None)))
    }

    fn new(store: &CertStore, installed: &Installation, status: Option<&'static str>) -> Self {
        let info = installed.identity.info();
        let record = store.record(installed);
        Self {
            serial_number: info.serial_number.clone(),
            subject: info.subject.clone(),
            not_before: info.not_before,
            expires_at: info.not_after,
            status,
            certificate_path: record.certificate_path,
            private_key_path: record.private_key_path,
            ca_certificate_path: record.ca_certificate_path,
        }
    }
}

/// What is said after a certificate was put in force.
pub fn installed_text(headline: &str, report: &CertificateReport, now: OffsetDateTime) -> String {
    format!(
        "{headline}\nSerial Number: {}\nExpires: {} ({})\n\nCertificate files saved:\n  - {}\n  - {}\n  - {}",
        report.serial_number,
        date(report.expires_at),
        days_phrase(now, report.expires_at),
        report.certificate_path.display(),
        report.private_key_path.display(),
        report.ca_certificate_path.display(),
    )
}

/// Reports on the installed certificate.
pub fn execute(context: &mut Context<'_>) -> Outcome {
    let now = context.clock.now();
    let credentials = if context.locations.credentials.exists() {
        CredentialsFile::open_on(context.locations.disk().clone(), &context.locations.credentials)?.load()?
    } else {
        None
    };
    let store = context.locations.cert_store(credentials.as_ref())?;
    let installed = store.installed()?.ok_or_else(|| Failure::NoCertificate(store.dir().to_owned()))?;
    let (status, symbol, exit) = match certificate_age(now, installed.identity.info()) {
        Age::Valid => ("Valid", "✅", Exit::Fine),
        Age::Expired => ("Expired", "❌", Exit::CredentialMissing),
        Age::ClockBehind => ("Not yet valid", "⚠️", Exit::Failed),
    };
    let report = CertificateReport::new(&store, &installed, Some(status));
    let mut text = format!(
        "{}\nSerial Number:  {}\nSubject:        {}\nIssued:         {}\nExpires:        {} ({})\n\
         Status:         {symbol} {status}\n\nCertificate Path: {}",
        heading("📜 Certificate Status", 42),
        report.serial_number,
        printable(&report.subject),
        date(report.not_before),
        date(report.expires_at),
        remaining(now, report.expires_at),
        report.certificate_path.display(),
    );
    text.push_str(match exit {
        Exit::CredentialMissing => {
            "\n\nRun 'signalbeam-agent renew-certificate', or 'request-certificate' if that is refused."
        }
        Exit::Failed => "\n\nThis machine's clock is behind the certificate: set it.",
        _ => "",
    });
    context.output.show(&text, &report)?;
    Ok(exit)
}

fn remaining(now: OffsetDateTime, end: OffsetDateTime) -> String {
    let phrase = days_phrase(now, end);
    if end <= now { phrase } else { format!("{phrase} remaining") }
}

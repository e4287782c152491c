//! `signalbeam-agent status`: asks the server, fetches the API key once there is one, and says where the device stands.

use std::fmt::Write as _;

use serde::Serialize;
use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

use super::{Context, Outcome};
use crate::api::RegistrationStatus;
use crate::cert_store::Installation;
use crate::credentials::{Credentials, DeviceStatus};
use crate::decision::{API_KEY_WARNING, Age, certificate_age};
use crate::exit::Exit;
use crate::output::{date, days_phrase, heading, printable};
use crate::secret::ApiKey;
use crate::session::Session;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusReport<'a> {
    device_id: Uuid,
    tenant_id: Uuid,
    device_name: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    api_key_expires_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateReport<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateReport<'a> {
    serial_number: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// Says where the device stands.
pub fn execute(context: &mut Context<'_>) -> Outcome {
    let now = context.clock.now();
    let mut session = Session::open(&context.locations)?;
    let answer = session.synchronise(now)?;
    let installed = session
        .installed()
        .inspect_err(|failure| warn!(reason = %failure, "the certificate cannot be used"))
        .unwrap_or_default();
    let exit = exit_of(session.credentials(), installed.as_ref(), now);
    let text = text(&session, &answer, installed.as_ref(), now, exit);
    let credentials = session.credentials();
    let report = StatusReport {
        device_id: session.device_id(),
        tenant_id: credentials.tenant_id,
        device_name: &credentials.device_name,
        status: credentials.status.as_str(),
        rejection_reason: answer.rejection_reason.as_deref(),
        api_key_prefix: credentials.api_key.as_ref().map(ApiKey::prefix),
        api_key_expires_at: credentials.api_key.as_ref().and(credentials.api_key_expires_at),
        certificate: installed.as_ref().map(|installed| CertificateReport {
            serial_number: &installed.identity.info().serial_number,
            expires_at: installed.identity.info().not_after,
        }),
    };
    context.output.show(&text, &report)?;
    Ok(exit)
}

/// An approved device needs one credential in force: its certificate or its API key.
fn exit_of(credentials: &Credentials, installed: Option<&Installation>, now: OffsetDateTime) -> Exit {
    let has_key = credentials.api_key.is_some() && credentials.api_key_expires_at.is_none_or(|end| end > now);
    let has_certificate =
        installed.is_some_and(|installed| certificate_age(now, installed.identity.info()) != Age::Expired);
    match credentials.status {
        DeviceStatus::Approved if has_key || has_certificate => Exit::Fine,
        DeviceStatus::Approved => Exit::CredentialMissing,
        DeviceStatus::Pending => Exit::Pending,
        _ => Exit::NotApproved,
    }
}

fn text(
    session: &Session,
    answer: &RegistrationStatus,
    installed: Option<&Installation>,
    now: OffsetDateTime,
    exit: Exit,
) -> String {
    let credentials = session.credentials();
    let mut text = heading("📋 Device Registration Status", 43);
    let symbol = match credentials.status {
        DeviceStatus::Approved => "✅",
        DeviceStatus::Pending => "⏳",
        _ => "❌",
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\nDevice ID:      {}\nTenant ID:      {}\nStatus:         {symbol} {}\n",
        session.device_id(),
        credentials.tenant_id,
        printable(credentials.status.as_str()),
    );
    if let Some(reason) = &answer.rejection_reason {
        let _ = writeln!(text, "Reason:         {}", printable(reason));
    }
    text.push_str(&credentials_text(credentials, installed, now));
    text.push_str(match exit {
        Exit::Fine => "\n✅ Device is ready!\n   Run 'signalbeam-agent run' to start the agent.",
        Exit::Pending => "\n⏳ Waiting for an administrator to approve this device.\n   Run 'signalbeam-agent status' again later.",
        Exit::CredentialMissing => {
            "\n❌ This device is approved but has no credential in force.\n   Ask an administrator to rotate its API key, then run 'signalbeam-agent status' again."
        }
        _ => "\n❌ This device may not authenticate.\n   Ask an administrator; to start over, register with a new token and --force.",
    });
    text
}

fn credentials_text(credentials: &Credentials, installed: Option<&Installation>, now: OffsetDateTime) -> String {
    let mut text = String::new();
    if let Some(key) = &credentials.api_key {
        let _ = writeln!(text, "\nAPI Key:        {}{}... (truncated for security)", ApiKey::SCHEME, key.prefix());
        if let Some(end) = credentials.api_key_expires_at {
            let _ = writeln!(text, "Expires:        {} ({})", date(end), days_phrase(now, end));
            if end > now && end - now < API_KEY_WARNING {
                text.push_str("⚠️  The API key expires soon: ask an administrator to rotate it.\n");
            }
        }
    }
    if let Some(installed) = installed {
        let info = installed.identity.info();
        let _ = writeln!(text, "\nCertificate:    {}", info.serial_number);
        let _ = writeln!(text, "Expires:        {} ({})", date(info.not_after), days_phrase(now, info.not_after));
    }
    text
}

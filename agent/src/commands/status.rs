//! `signalbeam-agent status`: asks the server, fetches the API key once there is one, and says where the device stands.

use std::fmt::Write as _;

use serde::Serialize;
use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

use super::{Context, Outcome};
use crate::api::{KnownCertificate, RegistrationStatus};
use crate::cert_store::{Installation, Purpose};
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
    let now = session.server_time().unwrap_or(now);
    let in_force = InForce::of(&session, &answer, installed.as_ref(), now);
    let exit = exit_of(&session.credentials().status, in_force);
    let mut text = text(&session, &answer);
    text.push_str(&credentials_text(session.credentials(), installed.as_ref(), in_force, now));
    let ignores_one = in_force.ignores_api_key(session.credentials(), now)
        || installed
            .as_ref()
            .is_some_and(|installed| in_force.ignores_certificate(session.credentials(), installed, now));
    text.push_str(next_step(exit, &session.credentials().status, ignores_one));
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

/// Which of the stored credentials the server would accept, as far as it says.
#[derive(Clone, Copy)]
struct InForce {
    /// It has a key of this device that is neither revoked nor over.
    api_key: bool,
    /// Its active certificate is the installed one, or the successor that is on its way.
    certificate: bool,
}

impl InForce {
    fn of(
        session: &Session,
        answer: &RegistrationStatus,
        installed: Option<&Installation>,
        now: OffsetDateTime,
    ) -> Self {
        let credentials = session.credentials();
        let is_over = |end: Option<OffsetDateTime>| end.is_some_and(|end| end <= now);
        let certificate = installed.is_some_and(|installed| {
            let info = installed.identity.info();
            let is_active = |known: &KnownCertificate| {
                known.serial_number == info.serial_number
                    || session.certs().is_pending(Purpose::Renewal(&info.serial_number))
            };
            certificate_age(now, info) != Age::Expired && answer.certificate.as_ref().is_some_and(is_active)
        });
        Self {
            api_key: credentials.api_key.is_some()
                && answer.api_key_expires_at.is_some()
                && !is_over(answer.api_key_expires_at)
                && !is_over(credentials.api_key_expires_at),
            certificate,
        }
    }
}

impl InForce {
    /// Whether the server does not accept the stored API key, though it has not ended.
    fn ignores_api_key(self, credentials: &Credentials, now: OffsetDateTime) -> bool {
        credentials.status == DeviceStatus::Approved
            && !self.api_key
            && credentials.api_key.as_ref().and(credentials.api_key_expires_at).is_some_and(|end| end > now)
    }

    /// Whether the server does not accept the installed certificate, though it has not ended.
    fn ignores_certificate(self, credentials: &Credentials, installed: &Installation, now: OffsetDateTime) -> bool {
        credentials.status == DeviceStatus::Approved && !self.certificate && installed.identity.info().not_after > now
    }
}

/// An approved device needs one credential in force: its certificate or its API key.
fn exit_of(status: &DeviceStatus, in_force: InForce) -> Exit {
    match status {
        DeviceStatus::Approved if in_force.api_key || in_force.certificate => Exit::Fine,
        DeviceStatus::Approved => Exit::CredentialMissing,
        DeviceStatus::Pending => Exit::Pending,
        _ => Exit::NotApproved,
    }
}

fn text(session: &Session, answer: &RegistrationStatus) -> String {
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
    text
}

fn next_step(exit: Exit, status: &DeviceStatus, ignores_one: bool) -> &'static str {
    match (exit, status) {
        (Exit::Fine, _) if ignores_one => {
            "\n⚠️  Device can authenticate, but not by all that it has: see above.\n   Run 'signalbeam-agent run' to start the agent."
        }
        (Exit::Fine, _) => "\n✅ Device is ready!\n   Run 'signalbeam-agent run' to start the agent.",
        (Exit::Pending, _) => {
            "\n⏳ Not approved yet. Ask an administrator to approve this device,\n   then run 'signalbeam-agent status' again."
        }
        (Exit::CredentialMissing, _) => {
            "\n❌ This device is approved but has no credential in force.\n   Ask an administrator to rotate its API key, then run 'signalbeam-agent status' again."
        }
        (_, DeviceStatus::Rejected | DeviceStatus::Decommissioned) => {
            "\n❌ This device may not authenticate.\n   Ask an administrator; to start over, register with a new token and --force."
        }
        (_, DeviceStatus::Suspended) => {
            "\n❌ This device is suspended. Only an administrator can lift that;\n   it then goes on with the identity it has."
        }
        _ => "\n❌ This device may not authenticate. Ask an administrator.",
    }
}

fn credentials_text(
    credentials: &Credentials,
    installed: Option<&Installation>,
    in_force: InForce,
    now: OffsetDateTime,
) -> String {
    // Writing to a String cannot fail.
    let mut text = String::new();
    if let Some(key) = &credentials.api_key {
        let _ = writeln!(text, "\nAPI Key:        {}{}... (truncated for security)", ApiKey::SCHEME, key.prefix());
        if let Some(end) = credentials.api_key_expires_at {
            let _ = writeln!(text, "Expires:        {} ({})", date(end), days_phrase(now, end));
            if in_force.api_key && end - now < API_KEY_WARNING {
                text.push_str("⚠️  The API key expires soon: 'signalbeam-agent run' replaces it, or an administrator rotates it.\n");
            }
            if in_force.ignores_api_key(credentials, now) {
                text.push_str("❌ The server does not accept it any more: ask an administrator to rotate it.\n");
            }
        }
    }
    if let Some(installed) = installed {
        let info = installed.identity.info();
        let _ = writeln!(text, "\nCertificate:    {}", info.serial_number);
        let _ = writeln!(text, "Expires:        {} ({})", date(info.not_after), days_phrase(now, info.not_after));
        if in_force.ignores_certificate(credentials, installed, now) {
            text.push_str(
                "❌ The server does not accept it any more: run 'signalbeam-agent request-certificate' for a new one.\n",
            );
        }
    }
    text
}

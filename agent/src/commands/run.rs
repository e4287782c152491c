//! `signalbeam-agent run`: checks before the start, then the [`Runner`].

use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

use super::{Context, Outcome};
use crate::cli::RunArgs;
use crate::clock::Pace;
use crate::credentials::DeviceStatus;
use crate::decision::{Age, certificate_age};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::date;
use crate::runner::notify::Notifier;
use crate::runner::{Pass, Runner, sound_certificate, warn_of_key_end};
use crate::session::Session;
use crate::settings::Settings;
use crate::signals::SystemPace;
use crate::transport::CallError;

/// Runs until told to stop, or one pass with `--once`.
pub fn execute(args: &RunArgs, context: &mut Context<'_>) -> Outcome {
    let pace = SystemPace::install().map_err(|error| Failure::system("cannot wait for signals", error))?;
    execute_at(args, context, &pace)
}

/// As [`execute`], at a pace of the caller's.
///
/// # Errors
/// As [`execute`].
pub fn execute_at(args: &RunArgs, context: &mut Context<'_>, pace: &dyn Pace) -> Outcome {
    let settings = with_arguments(Settings::beside(&context.locations.credentials)?, args);
    check_before_start(context)?;
    let mut runner = Runner::new(&context.locations, context.clock, pace, settings, Notifier::from_environment());
    if args.once {
        return report(runner.run_once()?, context);
    }
    runner.run();
    Ok(Exit::Fine)
}

/// What the command line says goes before what stands in the file.
fn with_arguments(mut settings: Settings, args: &RunArgs) -> Settings {
    let hooks = &mut settings.hooks;
    hooks.exec = args.exec.clone().or(hooks.exec.take());
    hooks.reload_pid_file = args.reload_pid_file.clone().or(hooks.reload_pid_file.take());
    hooks.reload_signal = args.reload_signal.unwrap_or(hooks.reload_signal);
    settings
}

/// The device must be approved and have a credential in force. A device that boots before its network starts, or with a
/// clock that stands in 1970, starts on what it knows.
fn check_before_start(context: &mut Context<'_>) -> Result<(), Failure> {
    let now = context.clock.now();
    let mut session = Session::open(&context.locations)?;
    match session.require_approval(now) {
        Err(Failure::Call(error)) if may_pass(&error) && session.credentials().status == DeviceStatus::Approved => {
            warn!(
                reason = %error,
                advice = error.advice(),
                clock = %now,
                "the server cannot be asked now; starting on the last known status"
            );
        }
        other => other?,
    }
    let now = session.server_time().unwrap_or(now);
    let certificate = sound_certificate(&session).filter(|info| certificate_age(now, info) != Age::Expired);
    let key_end = session.credentials().api_key_expires_at;
    let has_key = session.credentials().api_key.is_some();
    let key_expired = key_end.filter(|end| *end <= now);
    match (&certificate, has_key, key_expired) {
        (None, false, _) => return Err(Failure::NoApiKey),
        (None, true, Some(end)) => return Err(Failure::ApiKeyExpired(end)),
        (Some(_), true, Some(end)) => {
            warn!(expired = %date(end), "the API key, which backs up the certificate, has expired");
        }
        _ => {}
    }
    if has_key && key_expired.is_none() {
        warn_of_key_end(now, key_end);
    }
    context.output.remark(match certificate {
        Some(_) => "Authenticating with mTLS certificate...",
        None => "Authenticating with API key...",
    })
}

/// Whether a failure may be gone a little later, as far as can be told.
pub fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::Refused(problem) => problem.status >= 500 || problem.status == 429,
        CallError::Unreachable { .. }
        | CallError::AnswerLost { .. }
        | CallError::ServerNotTrusted { .. }
        | CallError::ClientCertificateRefused { .. }
        | CallError::NotOurServer { .. } => true,
    }
}

fn report(pass: Pass, context: &mut Context<'_>) -> Outcome {
    let Some(heartbeat) = pass.heartbeat else { return Ok(Exit::Fine) };
    let (renewed, rotated) = match (pass.renewed, pass.rotated) {
        (Ok(renewed), Ok(rotated)) => (renewed, rotated),
        (Err(failure), _) | (_, Err(failure)) => {
            return Err(heartbeat.err().unwrap_or(failure));
        }
    };
    let (heartbeat, method) = heartbeat?;
    let received_at =
        heartbeat.received_at.format(&Rfc3339).map_err(|error| Failure::system("cannot write a time", error))?;
    let method = method.as_str();
    let mut text = format!("✅ Heartbeat accepted at {received_at} (authenticated by {method})");
    if renewed {
        text.push_str("\n✅ Certificate renewed");
    }
    if rotated {
        text.push_str("\n✅ API key rotated");
    }
    let json = json!({
        "receivedAt": received_at,
        "authenticationMethod": method,
        "certificateRenewed": renewed,
        "apiKeyRotated": rotated,
    });
    context.output.show(&text, &json)?;
    Ok(Exit::Fine)
}

//! `signalbeam-agent run`: heartbeats, and the certificate renewed in time.

use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use time::OffsetDateTime;
use tracing::{error, info, warn};

use super::{Context, Outcome};
use crate::api::{self, HeartbeatReceived};
use crate::cert_store::Purpose;
use crate::certificate::CertificateInfo;
use crate::cli::RunArgs;
use crate::credentials::DeviceStatus;
use crate::decision::{API_KEY_WARNING, Age, RenewalSchedule, certificate_age, pause, renewal_is_due};
use crate::enrolment::renew_or_replace;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{date, days_phrase};
use crate::session::{Method, Session};
use crate::settings::Settings;
use crate::signals::StopSignal;
use crate::transport::CallError;

/// What one round did.
struct Round {
    heartbeat: HeartbeatReceived,
    method: Method,
    renewed: Result<bool, Failure>,
}

/// Runs until told to stop, or one round with `--once`.
pub fn execute(args: &RunArgs, context: &mut Context<'_>) -> Outcome {
    let settings = Settings::beside(&context.locations.credentials)?;
    let stop = StopSignal::install().map_err(|error| Failure::system("cannot wait for signals", error))?;
    check_before_start(context)?;
    let check_interval = Duration::from_secs(u64::from(settings.certificates.auto_renewal.check_interval_hours) * 3600);
    let mut schedule = RenewalSchedule::new(check_interval, Instant::now());
    if args.once {
        let round = round(context, &settings, &mut schedule)?;
        return report(round, context);
    }
    let interval = Duration::from_secs(u64::from(settings.heartbeat.interval_seconds));
    let mut failures = 0;
    loop {
        let mut retry_after = None;
        match round(context, &settings, &mut schedule) {
            Ok(round) => {
                failures = 0;
                // A renewal has its own pauses; heartbeats go on.
                if let Err(failure) = &round.renewed {
                    log(failure);
                }
            }
            Err(failure) => {
                failures += 1;
                retry_after = retry_after_of(&failure);
                log(&failure);
            }
        }
        if stop.wait(pause(interval, failures, retry_after, random_byte())) {
            info!("stopped");
            return Ok(Exit::Fine);
        }
    }
}

/// The device must be approved and have a credential in force. A device that boots before its network starts on what it knows.
fn check_before_start(context: &mut Context<'_>) -> Result<(), Failure> {
    let now = context.clock.now();
    let mut session = Session::open(&context.locations)?;
    match session.require_approval(now) {
        Err(Failure::Call(error)) if may_pass(&error) && session.credentials().status == DeviceStatus::Approved => {
            warn!(reason = %error, "the server cannot be asked now; starting on the last known status");
        }
        other => other?,
    }
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
        CallError::ServerNotTrusted { .. } => false,
        CallError::Unreachable { .. }
        | CallError::AnswerLost { .. }
        | CallError::ClientCertificateRefused { .. }
        | CallError::NotOurServer { .. } => true,
    }
}

fn warn_of_key_end(now: OffsetDateTime, end: Option<OffsetDateTime>) {
    if let Some(end) = end.filter(|end| *end > now && *end - now < API_KEY_WARNING) {
        warn!(
            expires = %date(end),
            left = %days_phrase(now, end),
            "the API key expires soon: ask an administrator to rotate it"
        );
    }
}

/// A heartbeat, and the certificate renewed if it is time. A renewal whose answer was lost comes first: the certificate it
/// supersedes authenticates nothing but its repetition.
fn round(context: &mut Context<'_>, settings: &Settings, schedule: &mut RenewalSchedule) -> Result<Round, Failure> {
    let now = context.clock.now();
    let mut session = Session::open(&context.locations)?;
    let resumed = if has_pending_renewal(&session) && schedule.allows(Instant::now(), true) {
        renew(&mut session, now, schedule)
    } else {
        Ok(false)
    };
    let heartbeat = beat(&mut session, now);
    let hint = matches!(&heartbeat, Ok((answer, _)) if wants_renewal(answer));
    let renewed = match resumed {
        Ok(false) => renew_if_due(&mut session, now, hint, settings, schedule),
        finished => finished,
    };
    let (heartbeat, method) = heartbeat?;
    Ok(Round { heartbeat, method, renewed })
}

fn beat(session: &mut Session, now: OffsetDateTime) -> Result<(HeartbeatReceived, Method), Failure> {
    let call = api::heartbeat(session.device_id())?;
    let (answer, method): (HeartbeatReceived, _) = session.send_as_device(&call, now)?;
    info!(method = method.as_str(), "heartbeat accepted");
    warn_of_key_end(now, answer.api_key_expires_at);
    Ok((answer, method))
}

fn wants_renewal(answer: &HeartbeatReceived) -> bool {
    answer.certificate.as_ref().is_some_and(|certificate| certificate.renewal_required)
}

/// Files that are damaged have nothing to resume or renew; the heartbeat, which falls back to the API key, tells of them.
fn sound_certificate(session: &Session) -> Option<CertificateInfo> {
    session.installed().ok().flatten().map(|installed| installed.identity.info().clone())
}

fn has_pending_renewal(session: &Session) -> bool {
    sound_certificate(session).is_some_and(|info| session.certs().is_pending(Purpose::Renewal(&info.serial_number)))
}

fn renew_if_due(
    session: &mut Session,
    now: OffsetDateTime,
    hint: bool,
    settings: &Settings,
    schedule: &mut RenewalSchedule,
) -> Result<bool, Failure> {
    let settings = &settings.certificates.auto_renewal;
    if !settings.enabled || !schedule.allows(Instant::now(), hint) {
        return Ok(false);
    }
    let threshold = time::Duration::days(i64::from(settings.renewal_threshold_days));
    let due = sound_certificate(session).is_some_and(|info| renewal_is_due(now, &info, threshold, hint));
    if due {
        return renew(session, now, schedule);
    }
    schedule.nothing_to_do(Instant::now());
    Ok(false)
}

/// Renews; the server's word that it is too early is no failure.
fn renew(session: &mut Session, now: OffsetDateTime, schedule: &mut RenewalSchedule) -> Result<bool, Failure> {
    match renew_or_replace(session, now) {
        Ok(()) => {
            schedule.renewed(Instant::now());
            let serial = session.credentials().certificate.as_ref().map(|record| record.serial_number.as_str());
            info!(serial_number = serial, "certificate renewed");
            Ok(true)
        }
        Err(failure @ Failure::NotRenewableYet { .. }) => {
            schedule.nothing_to_do(Instant::now());
            warn!("{failure}");
            Ok(false)
        }
        Err(failure) => {
            schedule.failed(Instant::now());
            Err(failure)
        }
    }
}

fn log(failure: &Failure) {
    error!(code = failure.code(), advice = failure.advice(), "{failure}");
}

fn report(round: Round, context: &mut Context<'_>) -> Outcome {
    let renewed = round.renewed?;
    let received_at = round
        .heartbeat
        .received_at
        .format(&time::format_description::well_known::Rfc3339)
        .map_err(|error| Failure::system("cannot write a time", error))?;
    let method = round.method.as_str();
    let mut text = format!("✅ Heartbeat accepted at {received_at} (authenticated by {method})");
    if renewed {
        text.push_str("\n✅ Certificate renewed");
    }
    let json = json!({ "receivedAt": received_at, "authenticationMethod": method, "certificateRenewed": renewed });
    context.output.show(&text, &json)?;
    Ok(Exit::Fine)
}

fn retry_after_of(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Call(error) => error.problem()?.retry_after_seconds.map(Duration::from_secs),
        _ => None,
    }
}

/// Spreads pauses; where the random source fails the middle will do.
fn random_byte() -> u8 {
    let mut byte = [u8::MAX / 2];
    match SystemRandom::new().fill(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => u8::MAX / 2,
    }
}

//! The running agent: heartbeats, the certificate and the API key kept fresh, the hooks after a change.
//!
//! It works in passes. Each opens the files anew, so that commands and administrators may change them in between, does what
//! is due, and says when the next is. Nothing ends it but a signal: what fails is told and tried again, ever more rarely.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use time::OffsetDateTime;
use tracing::{error, info, warn};

use crate::api::{self, HeartbeatReceived};
use crate::cert_store::Purpose;
use crate::certificate::CertificateInfo;
use crate::clock::{Clock, Pace};
use crate::decision::{
    API_KEY_WARNING, Backoff, CLOCK_WARNING, Hint, Renewal, RenewalSchedule, pause, renewal, rotation_is_due, share_of,
};
use crate::enrolment::{Renewed, renew_or_replace};
use crate::failure::Failure;
use crate::locations::Locations;
use crate::output::{date, days_phrase};
use crate::problem::RenewableFrom;
use crate::session::{Method, Session};
use crate::settings::Settings;
use crate::transport::CallError;

use hooks::Hooks;
use notify::Notifier;

pub mod hooks;
pub mod notify;

/// How long a command in progress may hold up the end of the agent.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// The shortest pause between two passes.
const SHORTEST_REST: Duration = Duration::from_millis(200);

/// What one pass did.
#[derive(Debug)]
pub struct Pass {
    /// The heartbeat, where one was due.
    pub heartbeat: Option<Result<(HeartbeatReceived, Method), Failure>>,
    /// Whether a certificate was put in force.
    pub renewed: Result<bool, Failure>,
    /// Whether the API key was replaced.
    pub rotated: Result<bool, Failure>,
}

/// The agent between its start and its end.
pub struct Runner<'a> {
    locations: &'a Locations,
    clock: &'a dyn Clock,
    pace: &'a dyn Pace,
    settings: Settings,
    notifier: Notifier,
    hooks: Hooks,
    schedule: RenewalSchedule,
    rotation: Backoff,
    hint: Hint,
    next_heartbeat: Duration,
    failures: u32,
    /// Whether this device waits for its own moment of a window, so that its fellows have theirs.
    spreads: bool,
    /// The certificate that the server called revoked, so that it is neither shown nor told of in every pass.
    revoked_serial: Option<String>,
    /// By how much the server's clock is ahead, where that is a lot.
    clock_error: time::Duration,
}

impl<'a> Runner<'a> {
    /// An agent that has not done anything yet.
    pub fn new(
        locations: &'a Locations,
        clock: &'a dyn Clock,
        pace: &'a dyn Pace,
        settings: Settings,
        notifier: Notifier,
    ) -> Self {
        let check_interval =
            Duration::from_secs(u64::from(settings.certificates.auto_renewal.check_interval_hours) * 3600);
        Self {
            locations,
            clock,
            pace,
            hooks: Hooks::new(settings.hooks.clone()),
            settings,
            notifier,
            schedule: RenewalSchedule::new(check_interval),
            rotation: Backoff::default(),
            hint: Hint::None,
            next_heartbeat: Duration::ZERO,
            failures: 0,
            spreads: true,
            revoked_serial: None,
            clock_error: time::Duration::ZERO,
        }
    }

    /// Works until the pace says that it is time to stop.
    pub fn run(&mut self) {
        self.notifier.ready();
        loop {
            match self.pass() {
                Ok(pass) => tell(&pass),
                Err(failure) => self.postpone_heartbeat(&failure),
            }
            if self.rest() {
                self.notifier.stopping();
                self.finish_hooks(LAST_PATIENCE);
                info!("stopped");
                return;
            }
        }
    }

    /// One pass, and the hooks to their end. When the next start will be is not known, so nothing waits for a better moment
    /// of a window that is open (RFC 9773, section 4.2).
    ///
    /// # Errors
    /// When the files cannot be read; what fails after that is in the pass.
    pub fn run_once(&mut self) -> Result<Pass, Failure> {
        self.spreads = false;
        let pass = self.pass()?;
        self.finish_hooks(self.hooks.timeout() + LAST_PATIENCE);
        Ok(pass)
    }

    /// Does what is due.
    fn pass(&mut self) -> Result<Pass, Failure> {
        self.notifier.alive();
        let mut session = Session::open(self.locations)?;
        session.set_revoked_aside(self.revoked_serial.as_deref());
        let resumed = self.resume_renewal(&mut session);
        let heartbeat = (self.pace.elapsed() >= self.next_heartbeat).then(|| self.beat(&mut session));
        let mut pass = Pass { heartbeat, renewed: resumed, rotated: Ok(false) };
        if !self.pace.wait(Duration::ZERO) {
            if matches!(pass.renewed, Ok(false)) {
                pass.renewed = self.look_at_certificate(&mut session);
            }
            if matches!(pass.renewed, Ok(true)) {
                self.use_at_once(&mut session);
            }
            pass.rotated = self.look_at_api_key(&mut session);
        }
        self.revoked_serial = session.revoked_serial().map(str::to_owned);
        self.compare_clocks(&session);
        self.hooks.tend(&session, self.pace.elapsed(), random_byte());
        Ok(pass)
    }

    fn finish_hooks(&mut self, patience: Duration) {
        if let Ok(session) = Session::open(self.locations) {
            self.hooks.finish(session.certs(), patience, self.pace.elapsed());
        }
    }

    /// The time: this machine's, put right by what the server said when that is far off.
    fn now(&self) -> OffsetDateTime {
        self.clock.now() + self.clock_error
    }

    /// Waits until something is due; true when it is time to stop.
    fn rest(&self) -> bool {
        let dues = [Some(self.next_heartbeat), Some(self.schedule.next_look()), self.hooks.next_due()];
        // Never at once: whatever keeps a thing due must not make this a loop without a pause.
        let soonest = self.pace.elapsed() + SHORTEST_REST;
        let due = dues.into_iter().flatten().min().unwrap_or_default().max(soonest);
        loop {
            let left = due.saturating_sub(self.pace.elapsed());
            if self.pace.wait(left.min(self.notifier.pulse().unwrap_or(left))) {
                return true;
            }
            if self.pace.elapsed() >= due {
                return false;
            }
            self.notifier.alive();
        }
    }

    fn beat(&mut self, session: &mut Session) -> Result<(HeartbeatReceived, Method), Failure> {
        let result = send_heartbeat(session, self.now());
        if session.certificate_has_ended() {
            self.hint = Hint::Ended;
        }
        let interval = Duration::from_secs(u64::from(self.settings.heartbeat.interval_seconds));
        let retry_after = match &result {
            Ok((answer, method)) => {
                self.failures = 0;
                self.hint = match answer.certificate.as_ref().is_some_and(|known| known.renewal_required) {
                    _ if session.certificate_has_ended() => Hint::Ended,
                    true => Hint::WindowOpen,
                    false => Hint::None,
                };
                self.notifier.status(&format!("Heartbeat accepted, authenticated by {}", method.as_str()));
                warn_of_key_end(self.now(), answer.api_key_expires_at);
                None
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.notifier.status(&format!("Heartbeat failed ({}); trying again", failure.code()));
                retry_after(failure)
            }
        };
        self.next_heartbeat = self.pace.elapsed() + pause(interval, self.failures, retry_after, random_byte());
        result
    }

    /// A renewal whose answer was lost comes first: the certificate it supersedes authenticates nothing but its repetition.
    fn resume_renewal(&mut self, session: &mut Session) -> Result<bool, Failure> {
        let is_pending = sound_certificate(session)
            .is_some_and(|info| session.certs().is_pending(Purpose::Renewal(&info.serial_number)));
        if is_pending && self.schedule.allows(self.pace.elapsed(), Hint::Ended) {
            self.renew(session)
        } else {
            Ok(false)
        }
    }

    /// Believes what CAs the server vouches for, and renews the certificate where it is time.
    fn look_at_certificate(&mut self, session: &mut Session) -> Result<bool, Failure> {
        let elapsed = self.pace.elapsed();
        if !self.schedule.allows(elapsed, self.hint) {
            return Ok(false);
        }
        let now = self.now();
        if let Err(failure) = session.refresh_anchors(now) {
            warn!(reason = %failure, "the server's CA certificates cannot be asked for now");
        }
        let settings = &self.settings.certificates.auto_renewal;
        let Some(info) = sound_certificate(session).filter(|_| settings.enabled) else {
            self.schedule.waits(elapsed, self.hint, None);
            return Ok(false);
        };
        let suggested = match session.ask::<api::RenewalInfo>(&api::renewal_info(&info.serial_number)) {
            Ok(answer) => Some(answer.suggested_window),
            Err(error) if error.problem().is_some() => None,
            Err(error) => {
                self.schedule.failed(elapsed, None, random_byte());
                return Err(error.into());
            }
        };
        let threshold = time::Duration::days(i64::from(settings.renewal_threshold_days));
        let share = self.share(session, &info.serial_number);
        match renewal(now, &info, suggested, self.hint, threshold, share) {
            Renewal::Act => return self.renew(session),
            Renewal::Wait(moment) => {
                let left = Duration::try_from(moment - now).unwrap_or_default();
                self.schedule.waits(elapsed, self.hint, Some(left));
            }
            Renewal::ClockWrong => {
                warn!(clock = %now, "this machine's clock is wrong: when to renew cannot be told");
                self.schedule.waits(elapsed, self.hint, None);
            }
        }
        Ok(false)
    }

    /// Renews; the server's word that it is too early is no failure.
    fn renew(&mut self, session: &mut Session) -> Result<bool, Failure> {
        let (now, elapsed) = (self.now(), self.pace.elapsed());
        match renew_or_replace(session, now, self.settings.certificates.auto_renewal.replace_revoked) {
            Ok(how) => {
                self.schedule.renewed(elapsed);
                self.hint = Hint::None;
                let record = session.credentials().certificate.as_ref();
                let serial = record.map(|record| record.serial_number.as_str());
                match how {
                    Renewed::Renewed => info!(serial_number = serial, "certificate renewed"),
                    Renewed::Replaced => info!(serial_number = serial, "certificate replaced by a new one"),
                }
                Ok(true)
            }
            Err(Failure::NotRenewableYet { renewable_from }) => {
                warn!(from = %date(renewable_from), "the certificate cannot be renewed yet");
                session.take_back_revoked();
                let left = Duration::try_from(renewable_from - now).unwrap_or_default();
                self.schedule.waits(elapsed, self.hint, Some(left));
                Ok(false)
            }
            // The refusal of the certificate has told of it.
            Err(failure) if is_revoked_for_good(&failure) && session.revoked_serial().is_some() => {
                self.schedule.gives_up_until_the_next_look(elapsed);
                Ok(false)
            }
            Err(failure) if is_revoked_for_good(&failure) => {
                self.schedule.gives_up_until_the_next_look(elapsed);
                warn!(reason = %failure, advice = failure.advice(), "the certificate cannot be renewed any more");
                Ok(false)
            }
            Err(failure) => {
                self.schedule.failed(elapsed, retry_after(&failure), random_byte());
                Err(failure)
            }
        }
    }

    /// A heartbeat by the certificate that was just put in force: what it replaced is kept until this succeeds.
    fn use_at_once(&mut self, session: &mut Session) {
        if let Err(failure) = send_heartbeat(session, self.now()) {
            warn!(reason = %failure, "the new certificate could not be used yet");
        }
    }

    /// Replaces the API key before it ends. The successor is stored, then used, and only that ends the key before.
    fn look_at_api_key(&mut self, session: &mut Session) -> Result<bool, Failure> {
        let elapsed = self.pace.elapsed();
        let is_due =
            session.has_next_api_key() || (self.settings.api_key.auto_rotation && self.wants_rotation(session));
        if !is_due || !self.rotation.allows(elapsed) {
            return Ok(false);
        }
        match rotate(session, self.now()) {
            Ok(()) => {
                self.rotation.succeeded();
                Ok(true)
            }
            // There is no key in force, or the server knows no rotation by the device: the next day will do.
            Err(Failure::Call(CallError::Refused(problem))) if matches!(problem.status, 403..=409) => {
                self.rotation.hold_until(elapsed + Duration::from_hours(24));
                warn!(code = problem.code, advice = problem.advice(), "the server does not rotate the API key");
                Ok(false)
            }
            Err(failure) => {
                self.rotation.failed(elapsed, retry_after(&failure), random_byte());
                Err(failure)
            }
        }
    }

    fn wants_rotation(&self, session: &Session) -> bool {
        let credentials = session.credentials();
        let Some(end) = credentials.api_key.as_ref().and(credentials.api_key_expires_at) else { return false };
        let share = self.share(session, &end.unix_timestamp().to_string());
        rotation_is_due(self.now(), credentials.api_key_obtained_at, end, share)
    }

    fn share(&self, session: &Session, purpose: &str) -> f64 {
        if self.spreads { share_of(session.device_id(), purpose) } else { 0.0 }
    }

    fn compare_clocks(&mut self, session: &Session) {
        let Some(server_time) = session.server_time() else { return };
        let error = server_time - self.clock.now();
        let is_wrong = error.abs() >= CLOCK_WARNING;
        if is_wrong && self.clock_error.is_zero() {
            warn!(
                clock = %self.clock.now(),
                server = %server_time,
                "this machine's clock is wrong, or the server's is: set it; decisions follow the server's until then"
            );
        }
        self.clock_error = if is_wrong { error } else { time::Duration::ZERO };
    }

    /// Without its files the agent cannot even say that it is alive.
    fn postpone_heartbeat(&mut self, failure: &Failure) {
        log(failure);
        self.failures = self.failures.saturating_add(1);
        let interval = Duration::from_secs(u64::from(self.settings.heartbeat.interval_seconds));
        self.next_heartbeat = self.pace.elapsed() + pause(interval, self.failures, None, random_byte());
        self.schedule.failed(self.pace.elapsed(), None, random_byte());
    }
}

fn tell(pass: &Pass) {
    let failures = [
        pass.heartbeat.as_ref().and_then(|heartbeat| heartbeat.as_ref().err()),
        pass.renewed.as_ref().err(),
        pass.rotated.as_ref().err(),
    ];
    failures.into_iter().flatten().for_each(log);
}

fn log(failure: &Failure) {
    error!(code = failure.code(), advice = failure.advice(), "{failure}");
}

fn send_heartbeat(session: &mut Session, now: OffsetDateTime) -> Result<(HeartbeatReceived, Method), Failure> {
    let call = api::heartbeat(session.device_id())?;
    let (answer, method): (HeartbeatReceived, _) = session.send_as_device(&call, now)?;
    info!(method = method.as_str(), "heartbeat accepted");
    Ok((answer, method))
}

fn rotate(session: &mut Session, now: OffsetDateTime) -> Result<(), Failure> {
    if !session.has_next_api_key() {
        session.rotate_api_key(now)?;
    }
    let call = api::heartbeat(session.device_id())?;
    session.send_with_api_key::<HeartbeatReceived>(&call, now).map(drop)
}

/// Says that the API key ends soon.
pub fn warn_of_key_end(now: OffsetDateTime, end: Option<OffsetDateTime>) {
    if let Some(end) = end.filter(|end| *end > now && *end - now < API_KEY_WARNING) {
        warn!(
            expires = %date(end),
            left = %days_phrase(now, end),
            "the API key expires soon: ask an administrator to rotate it, unless the agent does so by itself"
        );
    }
}

/// Files that are damaged have nothing to resume or renew; the heartbeat, which falls back to the API key, tells of them.
pub fn sound_certificate(session: &Session) -> Option<CertificateInfo> {
    session.installed().ok().flatten().map(|installed| installed.identity.info().clone())
}

fn is_revoked_for_good(failure: &Failure) -> bool {
    matches!(failure, Failure::Call(CallError::Refused(problem))
        if problem.code == "CERTIFICATE_NOT_RENEWABLE" && problem.renewable_from == RenewableFrom::Unsaid)
}

fn retry_after(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Call(error) => error.problem()?.retry_after_seconds.map(Duration::from_secs),
        _ => None,
    }
}

/// Spreads pauses; where the random source fails the middle will do.
fn random_byte() -> u8 {
    let mut byte = [0];
    match SystemRandom::new().fill(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => u8::MAX / 2,
    }
}

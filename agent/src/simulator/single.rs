//! One device the whole way, by the agent's own code and with the agent's own files.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{info, warn};
use uuid::Uuid;

use crate::api::{self, HeartbeatReceived};
use crate::certificate::CertificateInfo;
use crate::cli::RegisterArgs;
use crate::clock::Clock;
use crate::commands::run::may_pass;
use crate::commands::{Context, Outcome, register};
use crate::decision::pause;
use crate::durable::{Step, SystemDisk, perform};
use crate::enrolment::{KeyOrigin, issue, renew_or_replace};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::locations::Locations;
use crate::output::{Format, Output, date, days_phrase};
use crate::secret::{ApiKey, Secret};
use crate::session::{Method, Session};
use crate::simulator::admin::{Admin, Attempt, token_request};
use crate::simulator::plan::{OnePlan, Origin};
use crate::simulator::stopping::Stop;
use crate::transport::CallError;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two looks is doubled so often: 16 s at most.
const DOUBLINGS: u32 = 4;
const REGISTRATION_ATTEMPTS: u32 = 5;
/// A server whose audit is relaxed writes its log a moment later.
const LOG_LOOKS: u32 = 10;
const LOG_PAUSE: Duration = Duration::from_millis(200);

struct Simulation<'a> {
    plan: &'a OnePlan,
    clock: &'a dyn Clock,
    stop: &'a Stop,
    admin: Option<Admin>,
    voice: &'a mut dyn Write,
}

/// Heartbeats that were accepted, by what authenticated them.
#[derive(Default)]
struct Beats {
    by_certificate: u32,
    by_api_key: u32,
}

/// Simulates the device.
///
/// # Errors
/// As the agent's commands, with their exit codes.
pub fn run(plan: &OnePlan, clock: &dyn Clock, stop: &Stop, out: &mut dyn Write, err: &mut dyn Write) -> Outcome {
    let admin = match &plan.admin_token {
        Some(token) => Some(Admin::new(&plan.target, &plan.target.roots()?, token.clone(), 1)),
        None => None,
    };
    let voice: &mut dyn Write = if plan.json { &mut *err } else { &mut *out };
    let mut simulation = Simulation { plan, clock, stop, admin, voice };
    let (device_id, locations) = simulation.identity()?;
    simulation.approval(device_id, &locations)?;
    let certificate = if plan.uses_certificate { Some(simulation.certificate(&locations)?) } else { None };
    let beats = simulation.heartbeats(&locations)?;
    let (verified, evidence) = simulation.check_log(device_id, &beats, &locations)?;
    if plan.json {
        let certificate = certificate.map(|info| {
            json!({"serialNumber": info.serial_number, "subject": info.subject, "expiresAt": info.not_after.format(&Rfc3339).ok()})
        });
        let result = json!({
            "deviceId": device_id,
            "folder": folder(plan, device_id),
            "certificate": certificate,
            "heartbeats": {"Certificate": beats.by_certificate, "ApiKey": beats.by_api_key},
            "authenticationLog": evidence,
            "verified": verified,
            "interrupted": stop.is_set(),
        });
        writeln!(out, "{result}").map_err(|error| Failure::system("cannot write the output", error))?;
    }
    Ok(if verified == Some(false) { Exit::Failed } else { Exit::Fine })
}

fn folder(plan: &OnePlan, device_id: Uuid) -> PathBuf {
    plan.directory.join(format!("sim-credentials-{device_id}"))
}

fn locations(folder: &std::path::Path) -> Result<Locations, Failure> {
    Locations::new(Some(folder.join("credentials.json")), Some(folder.join("certs")), None)
}

impl Simulation<'_> {
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.voice, "{text}").map_err(|error| Failure::system("cannot write the output", error))
    }

    /// The device of an earlier run, or a new one.
    fn identity(&mut self) -> Result<(Uuid, Locations), Failure> {
        let token = match &self.plan.origin {
            Origin::Registered(device_id) => {
                let locations = locations(&folder(self.plan, *device_id))?;
                return Ok((Session::open(&locations)?.device_id(), locations));
            }
            Origin::Token(token) => token.clone(),
            Origin::NewToken => self.make_token()?,
        };
        self.say(&format!("📡 Registering '{}' at {}", self.plan.device_name, self.plan.target.server()))?;
        // Named by the token, so that the same command continues a registration whose answer was lost.
        let prefix = token.expose().get(4..12).unwrap_or_default();
        let staging = self.plan.directory.join(format!("sim-credentials-registering-{prefix}"));
        if let Err(failure) = self.register(&token, &locations(&staging)?) {
            if !matches!(&failure, Failure::Call(error) if is_worth_repeating(error)) {
                perform(&SystemDisk, &Step::RemoveTree(staging))?;
            }
            return Err(failure);
        }
        let device_id = Session::open(&locations(&staging)?)?.device_id();
        let folder = folder(self.plan, device_id);
        perform(&SystemDisk, &Step::Rename { from: staging, to: folder.clone() })?;
        self.say(&format!("✅ Registered: device {device_id}, credentials in {}", folder.display()))?;
        Ok((device_id, locations(&folder)?))
    }

    fn make_token(&self) -> Result<Secret, Failure> {
        let Some(admin) = &self.admin else { return Err(Failure::Usage("--token is missing".to_owned())) };
        Ok(admin.make_token(&token_request(self.plan.tenant_id)?)?)
    }

    /// Registers by the agent's command, again where an answer is lost.
    fn register(&self, token: &Secret, locations: &Locations) -> Result<(), Failure> {
        let target = &self.plan.target;
        let arguments = RegisterArgs {
            tenant_id: self.plan.tenant_id,
            token: token.clone(),
            device_name: self.plan.device_name.clone(),
            cloud_url: Some(target.server().clone()),
            ca_cert: target.ca_cert().cloned(),
            ca_fingerprint: target.ca_fingerprint().cloned(),
            force: false,
        };
        let mut failures = 0;
        loop {
            let mut silence = io::sink();
            let output = Output::new(Format::Text, &mut silence);
            let mut context = Context { locations: locations.clone(), output, clock: self.clock };
            match register::execute(&arguments, &mut context) {
                Err(Failure::Call(error)) if is_worth_repeating(&error) && failures + 1 < REGISTRATION_ATTEMPTS => {
                    failures += 1;
                    warn!(reason = %error, "registering again");
                    if self.stop.wait(pause(FIRST_PAUSE, failures, None, u8::MAX / 2)) {
                        return Err(error.into());
                    }
                }
                other => return other.map(drop),
            }
        }
    }

    /// Approves the device where there is an administrator's token; otherwise waits for a person if told to.
    fn approval(&mut self, device_id: Uuid, locations: &Locations) -> Result<(), Failure> {
        let now = self.clock.now();
        // A session holds the credentials file: each is dropped before the next one is opened.
        let standing = Session::open(locations)?.require_approval(now);
        if !matches!(standing, Err(Failure::Pending)) {
            standing?;
            return self.tell_approved(locations);
        }
        if let Some(admin) = &self.admin {
            admin.approve(device_id)?;
            Session::open(locations)?.require_approval(now)?;
            return self.tell_approved(locations);
        }
        let line = self.approving_line(device_id);
        let Some(patience) = self.plan.approval_patience else {
            self.say(&format!("⏳ The device waits for approval. An administrator approves it with\n{line}"))?;
            self.say(&format!("   Then run this again with --device-id {device_id}, or use --wait-for-approval."))?;
            return Err(Failure::Pending);
        };
        self.say(&format!(
            "⏳ Waiting up to {} s for an administrator to approve device {device_id}, for instance with\n{line}",
            patience.as_secs()
        ))?;
        self.wait_for_approval(patience, locations)?;
        self.tell_approved(locations)
    }

    fn wait_for_approval(&mut self, patience: Duration, locations: &Locations) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut looks = 0;
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                self.say("⏳ The device was not approved in time.")?;
                return Err(Failure::Pending);
            }
            if self.stop.wait(pause(FIRST_PAUSE, looks, None, u8::MAX / 2).min(left)) {
                self.say("⏹ Stopped while the device waited for approval.")?;
                return Err(Failure::Pending);
            }
            looks = (looks + 1).min(DOUBLINGS);
            let standing = Session::open(locations)?.require_approval(self.clock.now());
            match standing {
                Err(Failure::Pending) => info!(waited_seconds = begun.elapsed().as_secs(), "not approved yet"),
                Err(Failure::Call(error)) if is_worth_repeating(&error) => {
                    warn!(reason = %error, "the server cannot be asked now");
                }
                other => return other,
            }
        }
    }

    fn approving_line(&self, device_id: Uuid) -> String {
        let target = &self.plan.target;
        format!(
            "   curl -X POST {} {} -H \"Authorization: Bearer $(signalbeam admin-token)\"",
            target.server().join(&format!("/api/devices/{device_id}/approve")),
            target.curl_trust(),
        )
    }

    fn tell_approved(&mut self, locations: &Locations) -> Result<(), Failure> {
        let session = Session::open(locations)?;
        let credentials = session.credentials();
        let key = match (&credentials.api_key, credentials.api_key_expires_at) {
            (Some(key), Some(end)) => format!("API key {}{}..., until {}", ApiKey::SCHEME, key.prefix(), date(end)),
            _ => "no API key".to_owned(),
        };
        self.say(&format!("✅ Approved: {key}"))
    }

    /// The installed certificate, asked for where there is none.
    fn certificate(&mut self, locations: &Locations) -> Result<CertificateInfo, Failure> {
        let now = self.clock.now();
        let mut session = Session::open(locations)?;
        if session.installed()?.is_none()
            && let Err(failure) = issue(&mut session, KeyOrigin::Device, now)
        {
            self.say(&format!("❌ No certificate was issued ({}); nothing was installed", failure.code()))?;
            return Err(failure);
        }
        let Some(installed) = session.installed()? else {
            return Err(Failure::NoCertificate(session.certs().dir().to_owned()));
        };
        let info = installed.identity.info().clone();
        info!(
            serial_number = info.serial_number,
            subject = info.subject,
            not_before = %info.not_before,
            expires = %info.not_after,
            "certificate installed"
        );
        self.say(&format!(
            "🔐 Certificate {}\n   Subject: {}\n   Expires: {} ({})\n   Files:   {}/{{client-cert,client-key,ca-cert}}.pem",
            info.serial_number,
            info.subject,
            date(info.not_after),
            days_phrase(now, info.not_after),
            session.certs().dir().display(),
        ))?;
        Ok(info)
    }

    /// Heartbeats until the plan's number is reached or a stop was asked for. The last one has to be accepted.
    fn heartbeats(&mut self, locations: &Locations) -> Result<Beats, Failure> {
        let mut beats = Beats::default();
        let mut sent = 0;
        let mut last = Ok(());
        while self.plan.iterations.is_none_or(|iterations| sent < iterations) {
            if sent > 0 && self.stop.wait(self.plan.interval) {
                self.say(&format!("⏹ Stopped after {sent} heartbeats"))?;
                break;
            }
            sent += 1;
            last = match self.beat(locations) {
                Ok((answer, method)) => {
                    match method {
                        Method::Certificate => beats.by_certificate += 1,
                        Method::ApiKey => beats.by_api_key += 1,
                    }
                    self.tell_beat(sent, &answer, method)?;
                    Ok(())
                }
                Err(Failure::Call(error)) if is_worth_repeating(&error) => {
                    warn!(reason = %error, "the heartbeat failed; the next one may do");
                    Err(error.into())
                }
                Err(failure) => return Err(failure),
            };
        }
        last.map(|()| beats)
    }

    /// One heartbeat, and a renewal where the server asks for it. The files are read anew each time, as by a device that restarts.
    fn beat(&self, locations: &Locations) -> Result<(HeartbeatReceived, Method), Failure> {
        let now = self.clock.now();
        let mut session = Session::open(locations)?;
        let call = api::heartbeat(session.device_id())?;
        if !self.plan.uses_certificate {
            return Ok((session.send_with_api_key(&call, now)?, Method::ApiKey));
        }
        let (answer, method): (HeartbeatReceived, _) = session.send_as_device(&call, now)?;
        let wants_renewal = answer.certificate.as_ref().is_some_and(|certificate| certificate.renewal_required);
        if wants_renewal && method == Method::Certificate {
            match renew_or_replace(&mut session, now, false) {
                Ok(_) => info!(serial_number = serial_number(&session), "certificate renewed"),
                Err(failure) => warn!(reason = %failure, "the certificate was not renewed"),
            }
        }
        Ok((answer, method))
    }

    fn tell_beat(&mut self, number: u32, answer: &HeartbeatReceived, method: Method) -> Result<(), Failure> {
        let fell_back = self.plan.uses_certificate && method == Method::ApiKey;
        let by = match (method, &answer.certificate) {
            (Method::Certificate, Some(certificate)) => format!("Certificate {}", certificate.serial_number),
            _ if fell_back => "ApiKey, the fallback: no certificate did".to_owned(),
            _ => method.as_str().to_owned(),
        };
        self.say(&format!("💓 Heartbeat {number} accepted at {} (authenticated by {by})", time_of(answer.received_at)))
    }

    /// Whether the authentication log says what this device believes; nothing where it cannot be asked.
    fn check_log(
        &mut self,
        device_id: Uuid,
        beats: &Beats,
        locations: &Locations,
    ) -> Result<(Option<bool>, Option<Attempt>), Failure> {
        let Some(admin) = &self.admin else { return Ok((None, None)) };
        let method = match beats {
            Beats { by_certificate: 1.., .. } => Method::Certificate,
            Beats { by_api_key: 1.., .. } => Method::ApiKey,
            _ => return Ok((None, None)),
        };
        let mut found = None;
        for _ in 0..LOG_LOOKS {
            found = admin.successes(device_id, method.as_str())?.into_iter().next();
            if found.is_some() || self.stop.wait(LOG_PAUSE) {
                break;
            }
        }
        let Some(entry) = found else {
            self.say(&format!("❌ The server's authentication log has no success by {}", method.as_str()))?;
            return Ok((Some(false), None));
        };
        let serial = entry.certificate_serial_number.as_ref().map(|serial| format!(" {serial}")).unwrap_or_default();
        self.say(&format!("✅ The server's authentication log says {}{serial}", entry.authentication_method))?;
        self.say(&format!("   The agent can go on as this device: --credentials {}", locations.credentials.display()))?;
        Ok((Some(true), Some(entry)))
    }
}

fn serial_number(session: &Session) -> Option<&str> {
    session.credentials().certificate.as_ref().map(|record| record.serial_number.as_str())
}

fn time_of(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// A simulator is told whom to trust and started by somebody who watches: a server that is not trusted stays so.
fn is_worth_repeating(error: &CallError) -> bool {
    may_pass(error) && !matches!(error, CallError::ServerNotTrusted { .. })
}

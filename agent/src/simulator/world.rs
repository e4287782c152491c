//! What all devices of a fleet share: the server, the administrator, the record.

use std::time::{Duration, Instant};

use tracing::warn;
use uuid::Uuid;

use crate::certificate::KeyedCertificate;
use crate::commands::run::may_pass;
use crate::decision::pause;
use crate::simulator::admin::{Admin, IDLE};
use crate::simulator::dice::Dice;
use crate::simulator::hang_up::{Moment, send_and_hang_up};
use crate::simulator::plan::FleetPlan;
use crate::simulator::record::{Kind, Recorder};
use crate::simulator::stopping::Stop;
use crate::transport::{Call, CallError, Client, Credential};
use crate::trust::Roots;

/// How long a device repeats what fails for reasons that may pass.
const PATIENCE: Duration = Duration::from_mins(2);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The pause is doubled so often.
const DOUBLINGS: u32 = 4;

/// The surroundings of a fleet.
pub struct World<'a> {
    /// What is to be done.
    pub plan: &'a FleetPlan,
    /// Whom the devices believe.
    pub roots: Roots,
    /// Who makes tokens, approves and revokes.
    pub admin: Admin,
    /// What was seen.
    pub recorder: Recorder,
    /// The request to stop.
    pub stop: &'a Stop,
    /// Where the draws begin.
    pub seed: u64,
}

impl World<'_> {
    /// A device's connection, which opens at its first request and is then kept.
    pub fn connect(&self, identity: Option<&KeyedCertificate>) -> Client {
        Client::keeping(self.plan.target.server(), &self.roots, identity, 1, IDLE)
    }

    /// Sends a request and records it.
    ///
    /// # Errors
    /// As the request.
    pub fn timed<T>(&self, kind: Kind, send: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
        let begun = Instant::now();
        let outcome = send();
        self.recorder.request(kind, begun.elapsed(), &outcome);
        outcome
    }

    /// As [`Self::timed`], again and again while the failure may pass, as a device does.
    ///
    /// # Errors
    /// As the last request.
    pub fn persistently<T>(
        &self,
        dice: &mut Dice,
        kind: Kind,
        mut send: impl FnMut() -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let error = match self.timed(kind, &mut send) {
                Err(error) if may_pass(&error) && begun.elapsed() < PATIENCE => error,
                other => return other,
            };
            failures += 1;
            self.recorder.count(|tally| tally.repeated += 1);
            let wish = error.problem().and_then(|problem| problem.retry_after_seconds).map(Duration::from_secs);
            if self.stop.wait(pause(FIRST_PAUSE, failures.min(DOUBLINGS), wish, dice.byte())) {
                return Err(error);
            }
        }
    }

    /// Sends a request whose answer nobody reads.
    pub fn lose_answer(
        &self,
        identity: Option<&KeyedCertificate>,
        call: &Call,
        credential: Credential<'_>,
        moment: Moment,
    ) {
        let server = self.plan.target.server();
        match send_and_hang_up(server, &self.roots, identity, call, credential, moment) {
            Ok(()) => self.recorder.count(|tally| tally.answers_lost += 1),
            // The device repeats the request in any case.
            Err(error) => warn!(reason = %error, "a request whose answer was to be lost was not sent"),
        }
    }

    /// Counts how a request by a certificate that is in force ended, if it was answered.
    pub fn count_in_force<T>(&self, outcome: &Result<T, CallError>) {
        let was_answered = outcome.as_ref().err().is_none_or(|error| error.problem().is_some());
        self.recorder.count(|tally| {
            tally.certificate_attempts += u64::from(was_answered);
            tally.certificate_accepted += u64::from(outcome.is_ok());
        });
    }

    /// The devices' tenant.
    pub fn tenant_id(&self) -> Uuid {
        self.plan.tenant_id
    }
}

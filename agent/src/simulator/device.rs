//! A device of a fleet: its whole life over the network, with its credentials in memory.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use uuid::Uuid;

use crate::api::{self, ClaimedApiKey, HeartbeatReceived, IssuedCertificate, RegisterDevice, RegisteredDevice};
use crate::certificate::{KeyedCertificate, certificate_request, generate_key};
use crate::commands::run::may_pass;
use crate::failure::Failure;
use crate::secret::{ApiKey, Secret, draw_claim_secret};
use crate::simulator::admin::token_request;
use crate::simulator::dice::Dice;
use crate::simulator::hang_up::Moment;
use crate::simulator::record::Kind;
use crate::simulator::world::World;
use crate::transport::{Call, CallError, Client, Credential};

/// The code by which a certificate that is no longer in force has to be refused.
pub const REVOKED: &str = "CERTIFICATE_REVOKED";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestCertificate {
    csr_pem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    validity_days: Option<u16>,
}

/// What a device has on disk, and so after a restart.
struct Kept {
    device_id: Uuid,
    claim_secret: Secret,
    api_key: ApiKey,
    identity: Arc<KeyedCertificate>,
}

/// A device that is enrolled.
pub struct Device {
    /// Its label.
    pub name: String,
    /// Its draws.
    pub dice: Dice,
    /// How many iterations of the scenario it has done.
    pub done: u32,
    kept: Kept,
    heartbeat: Call,
    link: Option<Client>,
}

/// A certificate that was replaced, with the connection that was opened by it.
pub struct Former {
    /// The certificate.
    pub identity: Arc<KeyedCertificate>,
    /// The connection, if there was one.
    pub link: Option<Client>,
}

impl Device {
    /// Goes the whole way: token, registration, approval, API key, certificate, first heartbeat. With `loses_answers` the first
    /// attempt of each of the device's requests goes unanswered.
    ///
    /// # Errors
    /// The first step that failed for good.
    pub fn enrol(world: &World<'_>, number: usize, loses_answers: bool) -> Result<Self, Failure> {
        let mut dice = Dice::new(world.seed, number);
        let name = format!("{}-{:05}", world.plan.device_name, number + 1);
        let claim_secret =
            draw_claim_secret().map_err(|error| Failure::system("cannot draw a claim secret", error.to_string()))?;
        let request = token_request(world.tenant_id())?;
        let token = world.persistently(&mut dice, Kind::Token, || world.admin.make_token(&request))?;
        let client = world.connect(None);

        let call = api::register(&RegisterDevice {
            tenant_id: world.tenant_id(),
            token: &token,
            device_name: &name,
            claim_secret: &claim_secret,
        })?;
        let lose = |call: &Call, credential: Credential<'_>| {
            if loses_answers {
                world.lose_answer(None, call, credential, Moment::AnswerBegins);
            }
        };
        lose(&call, Credential::None);
        let registered: RegisteredDevice =
            world.persistently(&mut dice, Kind::Register, || client.send(&call, Credential::None))?;
        let device_id = registered.device_id;
        world.persistently(&mut dice, Kind::Approve, || world.admin.approve(device_id))?;

        let call = api::claim_api_key(device_id);
        let credential = Credential::Bearer(&claim_secret);
        lose(&call, credential);
        let claimed: ClaimedApiKey = world.persistently(&mut dice, Kind::Claim, || client.send(&call, credential))?;
        let identity = issue(world, &mut dice, &client, device_id, &claimed.api_key, loses_answers)?;
        let kept = Kept { device_id, claim_secret, api_key: claimed.api_key, identity };
        let mut device = Self { name, dice, done: 0, kept, heartbeat: api::heartbeat(device_id)?, link: None };
        device.beat_persistently(world)?;
        Ok(device)
    }

    /// The certificate's serial number.
    pub fn serial_number(&self) -> &str {
        &self.kept.identity.info().serial_number
    }

    /// A heartbeat by the certificate, on the connection that is open or on a new one.
    ///
    /// # Errors
    /// As the request.
    pub fn beat(&mut self, world: &World<'_>) -> Result<HeartbeatReceived, CallError> {
        let kind = self.next_beat();
        let link = self.link.get_or_insert_with(|| world.connect(Some(&self.kept.identity)));
        let outcome = world.timed(kind, || link.send(&self.heartbeat, Credential::None));
        let is_broken = matches!(&outcome, Err(error) if error.problem().is_none());
        if is_broken || world.plan.new_connections {
            self.link = None;
        }
        outcome
    }

    /// The kind of request that [`Self::beat`] will make.
    pub fn next_beat(&self) -> Kind {
        if self.link.is_some() { Kind::Heartbeat } else { Kind::HeartbeatNewConnection }
    }

    /// As [`Self::beat`], by a certificate that is in force, and again while the failure may pass.
    ///
    /// # Errors
    /// As the last request.
    pub fn beat_persistently(&mut self, world: &World<'_>) -> Result<HeartbeatReceived, CallError> {
        let mut outcome = self.beat(world);
        if matches!(&outcome, Err(error) if may_pass(error)) {
            let link = self.link.insert(world.connect(Some(&self.kept.identity)));
            let heartbeat = &self.heartbeat;
            outcome = world
                .persistently(&mut self.dice, Kind::HeartbeatNewConnection, || link.send(heartbeat, Credential::None));
        }
        world.count_in_force(&outcome);
        outcome
    }

    /// A heartbeat by the API key alone.
    ///
    /// # Errors
    /// As the request.
    pub fn beat_by_api_key(&mut self, world: &World<'_>) -> Result<HeartbeatReceived, CallError> {
        let client = world.connect(None);
        let credential = Credential::ApiKey(self.kept.api_key.secret());
        let heartbeat = &self.heartbeat;
        world.persistently(&mut self.dice, Kind::HeartbeatByApiKey, || client.send(heartbeat, credential))
    }

    /// A heartbeat whose answer nobody reads.
    pub fn beat_and_hang_up(&self, world: &World<'_>, moment: Moment) {
        world.lose_answer(Some(&self.kept.identity), &self.heartbeat, Credential::None, moment);
    }

    /// Closes the connection.
    pub fn cut(&mut self, world: &World<'_>) {
        self.link = None;
        world.recorder.count(|tally| tally.cut += 1);
    }

    /// Loses everything that is not kept, then asks the server where it stands, as the agent does when it starts.
    ///
    /// # Errors
    /// As the request.
    pub fn restart(&mut self, world: &World<'_>) -> Result<(), CallError> {
        self.link = None;
        world.recorder.count(|tally| tally.restarts += 1);
        let client = world.connect(None);
        let call = api::registration_status(self.kept.device_id);
        let credential = Credential::Bearer(&self.kept.claim_secret);
        world.persistently(&mut self.dice, Kind::Status, || client.send_for_effect(&call, credential))
    }

    /// Renews the certificate by itself. With `loses_answer` the first attempt goes unanswered and the same request is repeated.
    ///
    /// # Errors
    /// When the server refuses or gives something else.
    pub fn renew(&mut self, world: &World<'_>, loses_answer: Option<Moment>) -> Result<Former, Failure> {
        world.recorder.count(|tally| tally.renewals += 1);
        let key = new_key()?;
        let call = certificate_call(world, format!("/api/certificates/{}/renew", self.serial_number()), &key)?;
        if let Some(moment) = loses_answer {
            world.lose_answer(Some(&self.kept.identity), &call, Credential::None, moment);
        }
        let link = self.link.take().unwrap_or_else(|| world.connect(Some(&self.kept.identity)));
        let issued = world.persistently(&mut self.dice, Kind::Renew, || link.send(&call, Credential::None))?;
        let renewed = keyed(issued, key)?;
        let identity = std::mem::replace(&mut self.kept.identity, renewed);
        world.recorder.count(|tally| tally.renewals_succeeded += 1);
        Ok(Former { identity, link: Some(link) })
    }

    /// Asks for a new certificate by the API key; the server supersedes the one before.
    ///
    /// # Errors
    /// When the server refuses or gives something else.
    pub fn reissue(&mut self, world: &World<'_>, loses_answer: bool) -> Result<(), Failure> {
        let client = world.connect(None);
        let Kept { device_id, api_key, .. } = &self.kept;
        let identity = issue(world, &mut self.dice, &client, *device_id, api_key, loses_answer)?;
        self.kept.identity = identity;
        self.link = None;
        Ok(())
    }

    /// What a certificate that is no longer in force gets, on the connection that was opened by it and on a new one: it must be
    /// refused on both. Anything else is a violation.
    pub fn check_refused(&mut self, world: &World<'_>, mut former: Former) {
        let new_link = world.connect(Some(&former.identity));
        let links = former.link.take().map(|link| (Kind::Heartbeat, link, "its open connection"));
        for (kind, link, place) in
            links.into_iter().chain([(Kind::HeartbeatNewConnection, new_link, "a new connection")])
        {
            let heartbeat = &self.heartbeat;
            let outcome =
                world.persistently(&mut self.dice, kind, || link.send_for_effect(heartbeat, Credential::None));
            if is_refused_as_revoked(&outcome) {
                world.recorder.was_due(kind, REVOKED);
            }
            self.judge_refusal(world, &outcome, &former.identity.info().serial_number, place);
        }
    }

    /// Counts a refusal that was due, or notes that it did not come.
    pub fn judge_refusal(&self, world: &World<'_>, outcome: &Result<(), CallError>, serial_number: &str, place: &str) {
        let is_refused = is_refused_as_revoked(outcome);
        world.recorder.count(|tally| {
            tally.refusals_due += 1;
            tally.refused += u64::from(is_refused);
        });
        if is_refused || world.stop.is_set() {
            return;
        }
        let what = match outcome {
            Ok(()) => "was accepted".to_owned(),
            Err(error) => format!("was not refused as revoked: {error}"),
        };
        world
            .recorder
            .violation(format!("{}: certificate {serial_number}, no longer in force, {what} (on {place})", self.name));
    }

    /// The certificate and connection as they are, for [`Self::check_refused`] once they are no longer in force.
    pub fn take_former(&mut self) -> Former {
        Former { identity: Arc::clone(&self.kept.identity), link: self.link.take() }
    }
}

fn issue(
    world: &World<'_>,
    dice: &mut Dice,
    client: &Client,
    device_id: Uuid,
    api_key: &ApiKey,
    loses_answer: bool,
) -> Result<Arc<KeyedCertificate>, Failure> {
    let begun = Instant::now();
    let key = new_key()?;
    let call = certificate_call(world, format!("/api/certificates/{device_id}/issue"), &key)?;
    let credential = Credential::ApiKey(api_key.secret());
    if loses_answer {
        world.lose_answer(None, &call, credential, Moment::AnswerBegins);
    }
    let issued = world.persistently(dice, Kind::Issue, || client.send(&call, credential))?;
    let identity = keyed(issued, key)?;
    world.recorder.issuance(begun.elapsed());
    Ok(identity)
}

fn is_refused_as_revoked<T>(outcome: &Result<T, CallError>) -> bool {
    matches!(outcome, Err(error) if error.code() == REVOKED)
}

fn new_key() -> Result<Secret, Failure> {
    generate_key().map_err(|error| Failure::system("cannot make a private key", error))
}

fn certificate_call(world: &World<'_>, path: String, key: &Secret) -> Result<Call, Failure> {
    let csr_pem =
        certificate_request(key).map_err(|error| Failure::system("cannot sign a certificate request", error))?;
    Call::post(path, &RequestCertificate { csr_pem, validity_days: world.plan.validity_days })
        .map_err(|error| Failure::system("cannot write a request as JSON", error))
}

fn keyed(issued: IssuedCertificate, key: Secret) -> Result<Arc<KeyedCertificate>, Failure> {
    KeyedCertificate::new(issued.certificate_pem, key)
        .map(Arc::new)
        .map_err(|fault| Failure::Certificate { what: "the certificate in the server's answer".to_owned(), fault })
}

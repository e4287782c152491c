//! One device from its token to the revocation of its certificate, and what was acknowledged of it.

use rcgen::KeyPair;
use serde_json::json;

use crate::client::{Answer, Client};
use crate::device::{Device, TENANT, by_certificate, draw_claim_secret, identity, registration};
use crate::keys::{Identity, signing_request};
use crate::server::Server;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Token,
    Register,
    Approve,
    Claim,
    BeatByKey,
    Issue,
    BeatByCertificate,
    Revoke,
    Over,
}

impl Step {
    fn next(self) -> Self {
        match self {
            Self::Token => Self::Register,
            Self::Register => Self::Approve,
            Self::Approve => Self::Claim,
            Self::Claim => Self::BeatByKey,
            Self::BeatByKey => Self::Issue,
            Self::Issue => Self::BeatByCertificate,
            Self::BeatByCertificate => Self::Revoke,
            Self::Revoke | Self::Over => Self::Over,
        }
    }
}

/// The server is gone; whether the step took effect is not known.
#[derive(Debug)]
pub(super) struct AnswerLost;

#[derive(Debug)]
pub(super) struct Life {
    number: usize,
    step: Step,
    /// Whether the answer to `step` was lost at least once.
    is_uncertain: bool,
    token_id: String,
    device: Device,
    key: KeyPair,
    identity: Option<Identity>,
    heartbeats: Vec<String>,
}

impl Life {
    pub(super) fn new(number: usize, server: &Server<'_>) -> Self {
        let claim_secret = draw_claim_secret(server.site);
        Self {
            number,
            step: Step::Token,
            is_uncertain: false,
            token_id: String::new(),
            device: Device { id: String::new(), token: String::new(), claim_secret, api_key: String::new() },
            key: KeyPair::generate().unwrap(),
            identity: None,
            heartbeats: Vec::new(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// The device, once it is registered for certain.
    pub(super) fn device(&self) -> Option<&Device> {
        (self.step > Step::Register).then_some(&self.device)
    }

    pub(super) fn heartbeats(&self) -> &[String] {
        &self.heartbeats
    }

    /// The events that must be in the log: their types and what they are about.
    pub(super) fn acknowledged(&self) -> Vec<(&'static str, String)> {
        let serial_number = self.identity.as_ref().map(|identity| identity.serial_number.clone()).unwrap_or_default();
        let facts = [
            (Step::Token, "registration_token.issued", self.token_id.clone()),
            (Step::Register, "device.registered", self.device.id.clone()),
            (Step::Approve, "device.approved", self.device.id.clone()),
            (Step::Issue, "certificate.issued", serial_number.clone()),
            (Step::BeatByCertificate, "certificate.first_used", serial_number.clone()),
            (Step::Revoke, "certificate.revoked", serial_number),
        ];
        facts.into_iter().filter(|(step, ..)| self.step > *step).map(|(_, kind, subject)| (kind, subject)).collect()
    }

    pub(super) fn may_have_status(&self, status: &str) -> bool {
        match status {
            "Pending" => self.step <= Step::Approve,
            "Approved" => self.step > Step::Approve || (self.step == Step::Approve && self.is_uncertain),
            _ => false,
        }
    }

    /// Takes one step.
    pub(super) fn advance(&mut self, server: &Server<'_>, admin: &Client) -> Result<(), AnswerLost> {
        let anonymous = || server.anonymous();
        let answer = match self.step {
            Step::Token => admin.try_post("/api/registration-tokens", &json!({"tenantId": TENANT})),
            Step::Register => {
                anonymous().try_post("/api/devices", &registration(&self.device.token, &self.device.claim_secret))
            }
            Step::Approve => admin.try_post(&self.device.path("approve"), &json!({})),
            Step::Claim => {
                anonymous().bearer(&self.device.claim_secret).try_post(&self.device.path("api-key/claim"), &json!({}))
            }
            Step::BeatByKey => self.beat(&self.device.by_key(server)),
            Step::Issue => {
                let request = signing_request(&self.key).pem().unwrap();
                let path = format!("/api/certificates/{}/issue", self.device.id);
                self.device.by_key(server).try_post(&path, &json!({"csrPem": request}))
            }
            Step::BeatByCertificate => self.beat(&by_certificate(server, self.identity.as_ref().unwrap())),
            Step::Revoke => {
                admin.try_delete(&format!("/api/certificates/{}", self.identity.as_ref().unwrap().serial_number))
            }
            Step::Over => return Ok(()),
        };
        let Ok(answer) = answer else {
            self.is_uncertain = true;
            return Err(AnswerLost);
        };
        self.note(&answer);
        self.step = self.step.next();
        self.is_uncertain = false;
        Ok(())
    }

    fn beat(&self, client: &Client) -> Result<Answer, ureq::Error> {
        let client = client.header("x-correlation-id", &self.correlation_id());
        client.try_post(&self.device.path("heartbeat"), &json!({}))
    }

    fn correlation_id(&self) -> String {
        format!("life-{}-{:?}", self.number, self.step)
    }

    /// Keeps what the answer tells; any other answer than the expected one is a defect.
    fn note(&mut self, answer: &Answer) {
        let is_expected = match self.step {
            Step::Token | Step::Register | Step::Issue => answer.status == 201,
            // Approved in a round whose answer was lost.
            Step::Approve => answer.status == 200 || (self.is_uncertain && answer.status == 409),
            Step::Claim | Step::BeatByKey | Step::BeatByCertificate => answer.status == 200,
            Step::Revoke | Step::Over => answer.status == 204,
        };
        assert!(is_expected, "{answer:?} to {self:?}");
        let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
        match self.step {
            Step::Token => (self.token_id, self.device.token) = (text("id"), text("token")),
            Step::Register => self.device.id = text("deviceId"),
            Step::Claim => self.device.api_key = text("apiKey"),
            Step::Issue => self.identity = Some(identity(&answer.json(), &self.key.serialize_pem())),
            Step::BeatByKey | Step::BeatByCertificate => self.heartbeats.push(self.correlation_id()),
            Step::Approve | Step::Revoke | Step::Over => {}
        }
    }

    /// The credentials that were shown work, unless a step is under way that may have ended them; revoked ones do not.
    pub(super) fn check_credentials(&self, server: &Server<'_>) {
        if self.step > Step::Claim {
            self.device.beat(&self.device.by_key(server)).expect(200);
        }
        let Some(identity) = &self.identity else { return };
        let answer = self.device.beat(&by_certificate(server, identity));
        match self.step {
            Step::Over => drop(answer.refused(401, "CERTIFICATE_REVOKED")),
            Step::Revoke if self.is_uncertain => assert!(matches!(answer.status, 200 | 401), "{answer:?} {self:?}"),
            _ => drop(answer.expect(200)),
        }
    }
}

//! The server as far as one device sees it: the real rules for tokens, API keys and certificates, in memory.

use std::sync::{Arc, Mutex};

use rcgen::{CertificateSigningRequestParams, PublicKeyData};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::authority::{Authority, Life, serial_hex};
use crate::device::{REGISTER, claim_route, heartbeat_route, issue_route, status_route};
use crate::examples::{self, DEVICE_ID};
use crate::fake_server::{FakeServer, Reply, Seen};

/// What befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// It never arrives.
    LostBefore,
    /// It is carried out, and its answer never arrives.
    LostAfter,
}

#[derive(Clone)]
struct Key {
    text: String,
    expires_at: OffsetDateTime,
    is_rotation: bool,
    is_used: bool,
    is_revoked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    Superseded { by: u8 },
}

#[derive(Clone)]
struct Certificate {
    serial: u8,
    pem: String,
    public_key: Vec<u8>,
    not_after: OffsetDateTime,
    standing: Standing,
    renewal_of: Option<u8>,
    is_used: bool,
}

/// Everything the server knows; a clone is a backup.
#[derive(Clone)]
pub(crate) struct State {
    claim_secret: Option<Value>,
    pub(crate) registrations: usize,
    pub(crate) is_approved: bool,
    is_claimable: bool,
    keys: Vec<Key>,
    certificates: Vec<Certificate>,
    /// The last one issues; all are shown.
    pub(crate) authorities: Vec<Arc<Authority>>,
    pub(crate) shown_from: usize,
    pub(crate) certificate_days: i64,
    pub(crate) window_days: i64,
    pub(crate) key_days: i64,
    /// When heartbeats were accepted.
    pub(crate) heartbeats: Vec<OffsetDateTime>,
}

type Now = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// A server that answers by the rules.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) state: Arc<Mutex<State>>,
    now: Now,
}

impl Model {
    pub(crate) fn new(authority: Arc<Authority>, now: Now) -> Self {
        let state = State {
            claim_secret: None,
            registrations: 0,
            is_approved: true,
            is_claimable: true,
            keys: vec![],
            certificates: vec![],
            authorities: vec![authority],
            shown_from: 0,
            certificate_days: 30,
            window_days: 10,
            key_days: 30,
            heartbeats: vec![],
        };
        Self { state: Arc::new(Mutex::new(state)), now }
    }

    /// Answers at the server; `fate` decides what becomes of each request.
    pub(crate) fn serve(&self, server: &FakeServer, fate: impl Fn(&Seen) -> Fate + Send + 'static) {
        let model = self.clone();
        server.otherwise(move |seen| match fate(seen) {
            Fate::Answered => model.answer(seen),
            Fate::LostBefore => Reply::json(500, &json!({})).lost(),
            Fate::LostAfter => model.answer(seen).lost(),
        });
    }

    /// An administrator gives the device another certificate, which the device does not get to see.
    pub(crate) fn issue_by_administrator(&self) {
        let mut state = self.state.lock().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        state.issue(&key, None, (self.now)());
    }

    /// An administrator rotates the API key: the old one ends, and the device may claim again.
    pub(crate) fn rotate_by_administrator(&self) {
        let mut state = self.state.lock().unwrap();
        state.issue_key(false, (self.now)());
        state.is_claimable = true;
    }

    /// Goes back to what was once.
    pub(crate) fn restore(&self, state: &State) {
        *self.state.lock().unwrap() = state.clone();
    }

    /// Whether an API key would authenticate.
    pub(crate) fn accepts_key(&self, text: &str) -> bool {
        let now = (self.now)();
        let state = self.state.lock().unwrap();
        state.keys.iter().any(|key| key.text == text && !key.is_revoked && key.expires_at > now)
    }

    /// Whether a certificate would authenticate.
    pub(crate) fn accepts_certificate(&self, serial: &str) -> bool {
        let state = self.state.lock().unwrap();
        let found = state.certificates.iter().find(|certificate| serial_hex(certificate.serial) == serial);
        found.is_some_and(|found| found.standing == Standing::Active)
    }

    /// How many certificates and API keys were ever issued.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.certificates.len(), state.keys.len())
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let now = (self.now)();
        let mut state = self.state.lock().unwrap();
        let result = state.route(seen, now);
        result.unwrap_or_else(|refusal| refusal).dated(now)
    }
}

impl State {
    fn route(&mut self, seen: &Seen, now: OffsetDateTime) -> Result<Reply, Reply> {
        let route = seen.route.as_str();
        let by_claim_secret = || {
            let sent = seen.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
            let known = self.claim_secret.as_ref().and_then(Value::as_str);
            if sent == known { Ok(()) } else { Err(problem(401, "INVALID_CLAIM_SECRET")) }
        };
        if route == REGISTER {
            return self.register(&seen.body["claimSecret"]);
        }
        if route == status_route() {
            by_claim_secret()?;
            return Ok(Reply::json(200, &self.registration_status()));
        }
        if route == claim_route() {
            by_claim_secret()?;
            return self.claim(now);
        }
        if route == "GET /api/certificates/ca" {
            return Ok(Reply::text(200, "application/x-pem-file", &self.ca_pem()));
        }
        if route == heartbeat_route() {
            self.authenticate(seen, now)?;
            self.heartbeats.push(now);
            return Ok(Reply::json(200, &self.heartbeat(now)));
        }
        if route == format!("POST /api/devices/{DEVICE_ID}/rotate-api-key") {
            self.authenticate(seen, now)?;
            return self.rotate(now);
        }
        if route == issue_route() {
            self.authenticate(seen, now)?;
            let serial = self.issue(&public_key(seen), None, now);
            return Ok(self.shown(201, serial));
        }
        self.route_of_certificate(seen, now)
    }

    fn route_of_certificate(&mut self, seen: &Seen, now: OffsetDateTime) -> Result<Reply, Reply> {
        let not_found = || problem(404, "NOT_FOUND");
        let (serial, action) = seen
            .route
            .split_once("/api/certificates/")
            .and_then(|(_, rest)| rest.split_once('/'))
            .ok_or_else(not_found)?;
        let serial = u8::from_str_radix(&serial[serial.len() - 2..], 16).map_err(|_| not_found())?;
        let known = self.find(serial).ok_or_else(not_found)?.clone();
        if action == "renewal-info" {
            let start = known.not_after - Duration::days(self.window_days);
            let end = match known.standing {
                Standing::Active => known.not_after - Duration::days(self.window_days) / 3,
                Standing::Superseded { .. } => start,
            };
            let (start, end) = if start < end { (start, end) } else { (now - Duration::days(2), now - Duration::DAY) };
            return Ok(Reply::json(200, &json!({"suggestedWindow": {"start": at(start), "end": at(end)}})));
        }
        let key = public_key(seen);
        if let Some(successor) = self.repeated_renewal(serial, key.der_bytes()) {
            return Ok(self.shown(200, successor));
        }
        self.authenticate(seen, now)?;
        let from = known.not_after - Duration::days(self.window_days);
        match known.standing {
            Standing::Superseded { .. } => Err(not_renewable(Value::Null)),
            Standing::Active if now > known.not_after => Err(not_renewable(Value::Null)),
            Standing::Active if now < from => Err(not_renewable(at(from))),
            Standing::Active => {
                let successor = self.issue(&key, Some(serial), now);
                Ok(self.shown(201, successor))
            }
        }
    }

    fn register(&mut self, claim_secret: &Value) -> Result<Reply, Reply> {
        match &self.claim_secret {
            Some(known) if known != claim_secret => return Err(problem(409, "REGISTRATION_TOKEN_USED")),
            Some(_) => {}
            None => {
                self.claim_secret = Some(claim_secret.clone());
                self.registrations += 1;
            }
        }
        Ok(Reply::json(201, &examples::registered(claim_secret)))
    }

    fn registration_status(&self) -> Value {
        if !self.is_approved {
            return examples::pending();
        }
        let mut answer = examples::approved(OffsetDateTime::UNIX_EPOCH);
        answer["apiKeyExpiresAt"] = self.key_end();
        answer["certificate"] = self.active().map_or(Value::Null, |active| {
            json!({"serialNumber": serial_hex(active.serial), "expiresAt": at(active.not_after), "renewalRequired": false})
        });
        answer
    }

    fn heartbeat(&self, now: OffsetDateTime) -> Value {
        let certificate = self.active().map(|active| {
            let required = now >= active.not_after - Duration::days(self.window_days);
            json!({"serialNumber": serial_hex(active.serial), "expiresAt": at(active.not_after), "renewalRequired": required})
        });
        json!({"receivedAt": at(now), "certificate": certificate, "apiKeyExpiresAt": self.key_end()})
    }

    fn key_end(&self) -> Value {
        self.keys.iter().rfind(|key| !key.is_revoked).map_or(Value::Null, |key| at(key.expires_at))
    }

    fn claim(&mut self, now: OffsetDateTime) -> Result<Reply, Reply> {
        if !self.is_approved {
            return Err(problem(403, "DEVICE_NOT_APPROVED"));
        }
        if !self.is_claimable {
            return Err(problem(409, "API_KEY_ALREADY_CLAIMED"));
        }
        Ok(self.issue_key(false, now))
    }

    fn rotate(&mut self, now: OffsetDateTime) -> Result<Reply, Reply> {
        if self.keys.iter().all(|key| key.is_revoked) {
            return Err(problem(409, "INVALID_STATE"));
        }
        Ok(self.issue_key(true, now))
    }

    /// By the device's own rotation only a successor that was never used gives way.
    fn issue_key(&mut self, is_rotation: bool, now: OffsetDateTime) -> Reply {
        for key in &mut self.keys {
            key.is_revoked |= !is_rotation || (key.is_rotation && !key.is_used);
        }
        let text = format!("sb_device_{:08}_{}", self.keys.len(), "K".repeat(43));
        let expires_at = now + Duration::days(self.key_days);
        self.keys.push(Key { text: text.clone(), expires_at, is_rotation, is_used: false, is_revoked: false });
        Reply::json(200, &json!({"apiKey": text, "keyPrefix": &text[10..18], "expiresAt": at(expires_at)}))
    }

    fn authenticate(&mut self, seen: &Seen, now: OffsetDateTime) -> Result<(), Reply> {
        if let Some(serial) = &seen.certificate {
            let found = self.certificates.iter_mut().find(|known| serial_hex(known.serial) == *serial);
            let found = found.ok_or_else(|| problem(401, "CERTIFICATE_NOT_FOUND"))?;
            if now > found.not_after {
                return Err(problem(401, "CERTIFICATE_EXPIRED"));
            }
            if found.standing != Standing::Active {
                return Err(problem(401, "CERTIFICATE_REVOKED"));
            }
            found.is_used = true;
            return Ok(());
        }
        let text = seen.api_key.as_deref().ok_or_else(|| problem(401, "AUTHENTICATION_REQUIRED"))?;
        let position = self.keys.iter().position(|key| key.text == text);
        let position = position.ok_or_else(|| problem(401, "INVALID_API_KEY"))?;
        let key = &mut self.keys[position];
        if key.is_revoked {
            return Err(problem(401, "API_KEY_REVOKED"));
        }
        if key.expires_at <= now {
            return Err(problem(401, "API_KEY_EXPIRED"));
        }
        if !key.is_used {
            key.is_used = true;
            self.is_claimable = false;
            self.keys[..position].iter_mut().for_each(|older| older.is_revoked = true);
        }
        Ok(())
    }

    fn find(&self, serial: u8) -> Option<&Certificate> {
        self.certificates.iter().find(|certificate| certificate.serial == serial)
    }

    fn active(&self) -> Option<&Certificate> {
        self.certificates.iter().find(|certificate| certificate.standing == Standing::Active)
    }

    fn repeated_renewal(&self, of: u8, public_key: &[u8]) -> Option<u8> {
        let Standing::Superseded { by } = self.find(of)?.standing else { return None };
        let successor = self.find(by)?;
        let is_same = successor.renewal_of == Some(of) && successor.public_key == public_key;
        (is_same && !successor.is_used && successor.standing == Standing::Active).then_some(by)
    }

    fn issue(&mut self, key: &impl PublicKeyData, renewal_of: Option<u8>, now: OffsetDateTime) -> u8 {
        let serial = u8::try_from(self.certificates.len() + 1).expect("fewer than 256 certificates");
        for old in &mut self.certificates {
            if old.standing == Standing::Active {
                old.standing = Standing::Superseded { by: serial };
            }
        }
        let ahead = now - OffsetDateTime::now_utc();
        let life = Life { begins: ahead - Duration::HOUR, ends: ahead + Duration::days(self.certificate_days) };
        let pem = self.authorities.last().unwrap().certify(key, DEVICE_ID, serial, life);
        self.certificates.push(Certificate {
            serial,
            pem,
            public_key: key.der_bytes().to_vec(),
            not_after: now + Duration::days(self.certificate_days),
            standing: Standing::Active,
            renewal_of,
            is_used: false,
        });
        serial
    }

    fn shown(&self, status: u16, serial: u8) -> Reply {
        Reply::json(status, &examples::renewed(&self.find(serial).unwrap().pem, &self.ca_pem()))
    }

    fn ca_pem(&self) -> String {
        self.authorities[self.shown_from..].iter().map(|authority| authority.pem()).collect()
    }
}

fn public_key(seen: &Seen) -> rcgen::PublicKey {
    let csr_pem = seen.body["csrPem"].as_str().expect("a signing request");
    CertificateSigningRequestParams::from_pem(csr_pem).unwrap().public_key
}

fn problem(status: u16, code: &str) -> Reply {
    Reply::json(status, &examples::problem(status, code))
}

fn not_renewable(renewable_from: Value) -> Reply {
    let mut body = examples::problem(409, "CERTIFICATE_NOT_RENEWABLE");
    body["renewableFrom"] = renewable_from;
    Reply::json(409, &body)
}

fn at(time: OffsetDateTime) -> Value {
    json!(time.format(&Rfc3339).unwrap())
}

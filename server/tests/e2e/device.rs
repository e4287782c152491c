//! A device that speaks the API by itself, step by step.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::keys::{Identity, key_and_request};
use crate::server::{Server, Site};

pub(crate) const TENANT: &str = "00000000-0000-0000-0000-000000000001";
pub(crate) const OTHER_TENANT: &str = "00000000-0000-0000-0000-000000000002";

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) claim_secret: String,
    pub(crate) api_key: String,
}

/// 32 random bytes in base64url, as devices draw them.
pub(crate) fn draw_claim_secret(site: &Site) -> String {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).unwrap();
    let secret = format!("sbc_{}", URL_SAFE_NO_PAD.encode(bytes));
    site.note_secret(&secret);
    secret
}

#[track_caller]
pub(crate) fn new_token(site: &Site, admin: &Client) -> String {
    let issued = admin.post("/api/registration-tokens", &json!({"tenantId": TENANT})).expect(201);
    let token = issued["token"].as_str().unwrap().to_owned();
    site.note_secret(&token);
    token
}

pub(crate) fn registration(token: &str, claim_secret: &str) -> Value {
    json!({"tenantId": TENANT, "token": token, "deviceName": "warehouse-01", "claimSecret": claim_secret})
}

impl Device {
    /// Registered and waiting.
    #[track_caller]
    pub(crate) fn pending(server: &Server<'_>, admin: &Client) -> Self {
        let token = new_token(server.site, admin);
        let claim_secret = draw_claim_secret(server.site);
        let registered = server.anonymous().post("/api/devices", &registration(&token, &claim_secret)).expect(201);
        assert_eq!(registered["status"], "Pending");
        assert_eq!(registered["claimSecret"], claim_secret.as_str());
        let id = registered["deviceId"].as_str().unwrap().to_owned();
        Self { id, token, claim_secret, api_key: String::new() }
    }

    /// Approved, with an API key that was not used yet.
    #[track_caller]
    pub(crate) fn approved(server: &Server<'_>, admin: &Client) -> Self {
        let device = Self::pending(server, admin);
        let approved = admin.post(&device.path("approve"), &json!({"apiKeyExpirationDays": 90})).expect(200);
        assert_eq!(approved["status"], "Approved");
        let claimed = device.claim(server).expect(200);
        let api_key = claimed["apiKey"].as_str().unwrap().to_owned();
        server.site.note_secret(&api_key);
        Self { api_key, ..device }
    }

    pub(crate) fn path(&self, action: &str) -> String {
        format!("/api/devices/{}/{action}", self.id)
    }

    #[track_caller]
    pub(crate) fn claim(&self, server: &Server<'_>) -> Answer {
        server.anonymous().bearer(&self.claim_secret).post(&self.path("api-key/claim"), &json!({}))
    }

    /// Asks for a certificate by the API key, with a key of its own.
    #[track_caller]
    pub(crate) fn issue(&self, server: &Server<'_>, validity_days: u16) -> Identity {
        let (key, request) = key_and_request();
        let answer = self.by_key(server).post(
            &format!("/api/certificates/{}/issue", self.id),
            &json!({"csrPem": request, "validityDays": validity_days}),
        );
        identity(&answer.expect(201), &key.serialize_pem())
    }

    pub(crate) fn by_key(&self, server: &Server<'_>) -> Client {
        server.anonymous().api_key(&self.api_key)
    }

    #[track_caller]
    pub(crate) fn beat(&self, client: &Client) -> Answer {
        client.post(&self.path("heartbeat"), &json!({}))
    }

    /// What the authentication log says of the device, newest first.
    #[track_caller]
    pub(crate) fn log(&self, admin: &Client) -> Vec<Value> {
        let log = admin.get(&format!("/api/authentication-logs?deviceId={}&limit=500", self.id)).expect(200);
        log["items"].as_array().unwrap().clone()
    }

    /// Its certificates.
    #[track_caller]
    pub(crate) fn certificates(&self, admin: &Client) -> Vec<Value> {
        let answer = admin.get(&format!("/api/certificates/device/{}", self.id)).expect(200);
        let items = answer.get("items").unwrap_or(&answer);
        items.as_array().unwrap().clone()
    }
}

/// The identity in an answer that issued a certificate.
pub(crate) fn identity(issued: &Value, key_pem: &str) -> Identity {
    Identity {
        key_pem: key_pem.to_owned(),
        certificate_pem: issued["certificatePem"].as_str().unwrap().to_owned(),
        serial_number: issued["serialNumber"].as_str().unwrap().to_owned(),
    }
}

/// A client that shows this certificate and nothing else.
pub(crate) fn by_certificate(server: &Server<'_>, identity: &Identity) -> Client {
    Client::new(server.address, &server.site.ca_pem(), Some(identity))
}

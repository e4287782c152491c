//! What is called for, with what it takes to call for it.

use http::Method;
use serde_json::{Value, json};
use signalbeam_authn::secrets::KeyOctets;
use signalbeam_authn::{AdminPrincipal, AdminTokens, Role};
use signalbeam_domain::TenantId;
use signalbeam_event_store::{Clock, SystemClock};

use super::callers::{Caller, Tenants};
use crate::client::Client;
use crate::device::{Device, OTHER_TENANT, TENANT, by_certificate, draw_claim_secret, identity};
use crate::keys::{Identity, key_and_request};
use crate::server::Server;

/// An approved device, its certificate, and a registration token of its tenant that nobody has used.
pub(super) struct Target {
    pub(super) device: Device,
    pub(super) identity: Identity,
    pub(super) token_id: String,
    /// The authority that signs: it is active already, and cannot be retired.
    pub(super) authority_id: String,
    token: String,
}

impl Target {
    /// What must not be seen from elsewhere.
    pub(super) fn names(&self) -> [&str; 3] {
        [&self.device.id, &self.identity.serial_number, &self.token_id]
    }
}

/// A server, and what everybody needs who calls it.
pub(super) struct Walk<'a> {
    server: &'a Server<'a>,
    pub(super) admin: Client,
    tokens: AdminTokens,
    sibling: Target,
    stranger: Target,
    request: String,
}

impl<'a> Walk<'a> {
    pub(super) fn new(server: &'a Server<'a>) -> Self {
        let secret = std::fs::read_to_string(server.site.data_dir().join("admin-jwt.key")).unwrap();
        let admin = server.admin();
        Self {
            tokens: AdminTokens::new(&KeyOctets::parse(&secret).unwrap()),
            sibling: target(server, &admin, TENANT),
            stranger: target(server, &admin, OTHER_TENANT),
            request: key_and_request().1,
            server,
            admin,
        }
    }

    pub(super) fn target(&self) -> Target {
        target(self.server, &self.admin, TENANT)
    }

    /// The event log as an admin of every tenant sees it: how far it reaches.
    pub(super) fn head(&self) -> Vec<Value> {
        self.server.site.export()
    }

    /// A new token for an admin of some or all tenants, and its `jti`.
    fn token(&self, role: Role, tenants: Tenants) -> String {
        let tenant_id = match tenants {
            Tenants::All => None,
            Tenants::Own => Some(TenantId::parse(TENANT).unwrap()),
            Tenants::Other => Some(TenantId::parse(OTHER_TENANT).unwrap()),
        };
        let admin = AdminPrincipal { subject: "walker".to_owned(), role, tenant_id };
        self.tokens.sign(&admin, SystemClock.now(), 3_600).unwrap()
    }

    /// A client of the caller's, and its admin token where it has one.
    pub(super) fn client(&self, caller: Caller, target: &Target) -> (Client, Option<String>) {
        let anonymous = self.server.anonymous();
        let client = match caller {
            Caller::Nobody => anonymous,
            Caller::BadToken => anonymous.bearer("x.y.z"),
            Caller::Admin(role, tenants) => {
                let token = self.token(role, tenants);
                return (anonymous.bearer(&token), Some(token));
            }
            Caller::OwnCertificate => by_certificate(self.server, &target.identity),
            Caller::OwnKey => target.device.by_key(self.server),
            Caller::OwnClaim => anonymous.bearer(&target.device.claim_secret),
            Caller::OwnBasic => anonymous.basic(&target.device.id, &target.device.api_key),
            Caller::SiblingBasic => anonymous.basic(&target.device.id, &self.sibling.device.api_key),
            Caller::TokenBasic => anonymous.basic(TENANT, &target.token),
            Caller::SiblingKey => self.sibling.device.by_key(self.server),
            Caller::SiblingClaim => anonymous.bearer(&self.sibling.device.claim_secret),
            Caller::StrangerKey => self.stranger.device.by_key(self.server),
        };
        (client, None)
    }

    /// The body of an operation with its media type.
    pub(super) fn body(
        &self,
        method: &Method,
        path: &str,
        target: &Target,
        token: Option<&str>,
    ) -> Option<(Vec<u8>, &'static str)> {
        if *method == Method::POST && path.starts_with("/.well-known/est/") {
            let lines = self.request.lines().filter(|line| !line.starts_with("-----"));
            return Some((lines.collect::<String>().into_bytes(), "application/pkcs10"));
        }
        let json = self.json(method, path, target, token)?;
        Some((json.to_string().into_bytes(), "application/json"))
    }

    /// The JSON of an operation: `{}` unless it needs more to be understood.
    fn json(&self, method: &Method, path: &str, target: &Target, token: Option<&str>) -> Option<Value> {
        if *method == Method::GET || *method == Method::DELETE {
            return None;
        }
        let device_ids = [&target.device.id];
        Some(match path {
            "/api/registration-tokens" => json!({"tenantId": TENANT}),
            "/api/devices" => {
                let token = registration_token(&self.admin, TENANT);
                json!({"tenantId": TENANT, "token": token["token"], "deviceName": "walked"})
            }
            "/api/devices/{id}" => json!({"deviceName": "walked"}),
            "/api/devices/bulk" => json!({"action": "suspend", "deviceIds": device_ids}),
            "/api/certificates/import" => {
                json!({"tenantId": TENANT, "certificates": [{"certificate": "none"}], "dryRun": true})
            }
            "/api/certificates/revoke" | "/api/certificates/request-renewal" => {
                json!({"filter": {"deviceIds": device_ids}, "dryRun": true})
            }
            "/api/certificates/{deviceId}/issue" | "/api/certificates/{serialNumber}/renew" => {
                json!({"csrPem": self.request})
            }
            "/api/admin-tokens/revoke" => json!({"jti": token.map_or("unknown".to_owned(), jti)}),
            _ => json!({}),
        })
    }
}

fn jti(token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["jti"].as_str().unwrap().to_owned()
}

fn registration_token(admin: &Client, tenant: &str) -> Value {
    admin.post("/api/registration-tokens", &json!({"tenantId": tenant})).expect(201)
}

/// Enrols a device and uses each of its credentials once, so that nothing is recorded of a first use later.
fn target(server: &Server<'_>, admin: &Client, tenant: &str) -> Target {
    let token = registration_token(admin, tenant)["token"].as_str().unwrap().to_owned();
    let claim_secret = draw_claim_secret(server.site);
    let registration = json!({"tenantId": tenant, "token": token, "deviceName": "walked", "claimSecret": claim_secret});
    let registered = server.anonymous().post("/api/devices", &registration).expect(201);
    let id = registered["deviceId"].as_str().unwrap().to_owned();
    let device = Device { id, token, claim_secret, api_key: String::new() };
    admin.post(&device.path("approve"), &json!({})).expect(200);
    let api_key = device.claim(server).expect(200)["apiKey"].as_str().unwrap().to_owned();
    let device = Device { api_key, ..device };
    let (key, request) = key_and_request();
    let route = format!("/api/certificates/{}/issue", device.id);
    let issued = device.by_key(server).post(&route, &json!({"csrPem": request})).expect(201);
    let identity = identity(&issued, &key.serialize_pem());
    device.beat(&by_certificate(server, &identity)).expect(200);
    let unused = registration_token(admin, tenant);
    let text = |field: &str| unused[field].as_str().unwrap().to_owned();
    let authorities = admin.get("/api/certificate-authorities").expect(200);
    let mut authorities = authorities["items"].as_array().unwrap().iter();
    let signing = authorities.find(|authority| authority["status"] == "Active").unwrap();
    let authority_id = signing["authorityId"].as_str().unwrap().to_owned();
    Target { device, identity, token_id: text("id"), authority_id, token: text("token") }
}

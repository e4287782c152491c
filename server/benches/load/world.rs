//! A real server with a small fleet of approved devices, each with its API key and its certificate.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::client::{Identity, Target, config};
use crate::phases::Load;
use crate::server::{Approved, Server, request};

const DEVICES: usize = 64;

/// The setting under which the server runs.
#[derive(Clone, Copy)]
pub(crate) enum Durability {
    Relaxed,
    Strict,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relaxed => "relaxed",
            Self::Strict => "strict",
        })
    }
}

pub(crate) struct Device {
    id: String,
    api_key: String,
    pub(crate) serial_number: String,
    pub(crate) identity: Identity,
    by_certificate: Arc<ClientConfig>,
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) devices: Vec<Device>,
}

impl World {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let server = Server::start(settings).await;
        let mut devices = vec![];
        for approved in server.approved(DEVICES).await {
            devices.push(equip(&server, approved).await);
        }
        Self { server, devices }
    }

    pub(crate) fn anonymous_request(&self) -> Load {
        Load { request: request("GET", "/api/certificates/ca", "", ""), target: self.server.https() }
    }

    pub(crate) fn heartbeat_by_certificate(&self, device: usize) -> Load {
        let device = &self.devices[device];
        let path = format!("/api/devices/{}/heartbeat", device.id);
        let tls = Some(Arc::clone(&device.by_certificate));
        Load { request: request("POST", &path, "", "{}"), target: Target { tls, ..self.server.https() } }
    }

    pub(crate) fn heartbeat_by_key(&self, device: usize) -> Load {
        let device = &self.devices[device];
        let path = format!("/api/devices/{}/heartbeat", device.id);
        let key = format!("X-API-Key: {}\r\n", device.api_key);
        Load { request: request("POST", &path, &key, "{}"), target: self.server.https() }
    }

    /// A heartbeat with a key that nobody has.
    pub(crate) fn guess(&self, number: u8) -> Vec<u8> {
        let path = format!("/api/devices/{}/heartbeat", self.devices[0].id);
        let key = format!("X-API-Key: sb_device_Guess{number:03}_{}\r\n", "A".repeat(43));
        request("POST", &path, &key, "{}")
    }

    /// The octets of the authentication log's file and of what waits beside it.
    pub(crate) fn audit_octets(&self) -> u64 {
        let files = ["audit.db", "audit.db-wal"];
        files.iter().filter_map(|file| std::fs::metadata(self.server.data(file)).ok()).map(|file| file.len()).sum()
    }

    /// How many attempts the authentication log holds, read from its file.
    pub(crate) async fn audit_rows(&self) -> u64 {
        let url = format!("sqlite://{}?mode=ro", self.server.data("audit.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let query = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM device_authentication_logs");
        u64::try_from(query.fetch_one(&mut connection).await.unwrap()).unwrap()
    }

    /// Waits until the log holds exactly this many: one row a request, and a backlog that empties.
    pub(crate) async fn expect_audit_rows(&self, expected: u64) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut rows = self.audit_rows().await;
        while rows < expected && Instant::now() < deadline {
            rows = self.audit_rows().await;
        }
        assert_eq!(rows, expected, "exactly one audit row a request");
        println!("    one audit row a request: {rows} in all");
    }
}

/// Gives a device its API key and its certificate.
async fn equip(server: &Server, Approved { id, claim }: Approved) -> Device {
    let key = server.call("POST", &format!("/api/devices/{id}/api-key/claim"), &claim, &json!({})).await;
    let api_key = key["apiKey"].as_str().unwrap().to_owned();
    let key_pair = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key_pair).unwrap().pem().unwrap();
    let by_key = format!("X-API-Key: {api_key}\r\n");
    let path = format!("/api/certificates/{id}/issue");
    let issued = server.call("POST", &path, &by_key, &json!({"csrPem": csr})).await;
    let certificate = issued["certificatePem"].as_str().unwrap();
    let identity = Identity {
        certificate: CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap(),
        key: PrivateKeyDer::from_pem_slice(key_pair.serialize_pem().as_bytes()).unwrap(),
    };
    let by_certificate = config(&server.root, Some(&identity), true);
    let serial_number = issued["serialNumber"].as_str().unwrap().to_owned();
    Device { id, api_key, serial_number, identity, by_certificate }
}

//! A real server with a small fleet of approved devices, each with its API key and its certificate.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::client::{Identity, Wire, config};
use crate::phases::Load;

const DEVICES: usize = 64;
const PROGRAM: &str = env!("CARGO_BIN_EXE_signalbeam");
const TENANT: &str = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";

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
    pub(crate) identity: Identity,
    by_certificate: Arc<ClientConfig>,
}

pub(crate) struct World {
    server: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) root: CertificateDer<'static>,
    anonymous: Arc<ClientConfig>,
    pub(crate) devices: Vec<Device>,
}

impl World {
    pub(crate) async fn start(durability: Durability) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (address, ops) = (free_address(), free_address());
        let server = Command::new(PROGRAM)
            .args(["serve", "--data-dir"])
            .arg(&data)
            .args(["--listen", &address.to_string(), "--ops-listen", &ops.to_string()])
            .env("SIGNALBEAM__AUDIT__DURABILITY", durability.to_string())
            // Setting the fleet up is not what is measured.
            .env("SIGNALBEAM__AUTHENTICATION__BCRYPT_COST", "4")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let root = await_authority(&data, address).await;
        let anonymous = config(&root, None, true);
        let mut world = Self { server, folder, address, root, anonymous, devices: vec![] };
        let admin = admin_token(&data);
        for number in 0..DEVICES {
            let device = world.enrol(&admin, number).await;
            world.devices.push(device);
        }
        world
    }

    async fn call(&self, method: &str, path: &str, authorization: &str, body: &Value) -> Value {
        let mut wire = Wire::connect(self.address, Arc::clone(&self.anonymous)).await.unwrap();
        let answer = wire.exchange(&request(method, path, authorization, &body.to_string())).await.unwrap();
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status < 300, "{method} {path}: {} {body}", answer.status);
        serde_json::from_str(&body).unwrap_or_default()
    }

    async fn enrol(&self, admin: &str, number: usize) -> Device {
        let admin = format!("Authorization: Bearer {admin}\r\n");
        let token = self.call("POST", "/api/registration-tokens", &admin, &json!({"tenantId": TENANT})).await;
        let registration = json!({"tenantId": TENANT, "token": token["token"], "deviceName": format!("load-{number}")});
        let registered = self.call("POST", "/api/devices", "", &registration).await;
        let id = registered["deviceId"].as_str().unwrap().to_owned();
        self.call("POST", &format!("/api/devices/{id}/approve"), &admin, &json!({})).await;
        let claim = format!("Authorization: Bearer {}\r\n", registered["claimSecret"].as_str().unwrap());
        let key = self.call("POST", &format!("/api/devices/{id}/api-key/claim"), &claim, &json!({})).await;
        let api_key = key["apiKey"].as_str().unwrap().to_owned();
        let key_pair = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key_pair).unwrap().pem().unwrap();
        let by_key = format!("X-API-Key: {api_key}\r\n");
        let path = format!("/api/certificates/{id}/issue");
        let issued = self.call("POST", &path, &by_key, &json!({"csrPem": csr})).await;
        let certificate = issued["certificatePem"].as_str().unwrap();
        let identity = Identity {
            certificate: CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap(),
            key: PrivateKeyDer::from_pem_slice(key_pair.serialize_pem().as_bytes()).unwrap(),
        };
        let by_certificate = config(&self.root, Some(&identity), true);
        Device { id, api_key, identity, by_certificate }
    }

    pub(crate) fn anonymous_request(&self) -> Load {
        Load { request: request("GET", "/api/certificates/ca", "", ""), tls: Arc::clone(&self.anonymous) }
    }

    pub(crate) fn heartbeat_by_certificate(&self, device: usize) -> Load {
        let device = &self.devices[device];
        let path = format!("/api/devices/{}/heartbeat", device.id);
        Load { request: request("POST", &path, "", "{}"), tls: Arc::clone(&device.by_certificate) }
    }

    pub(crate) fn heartbeat_by_key(&self, device: usize) -> Load {
        let device = &self.devices[device];
        let path = format!("/api/devices/{}/heartbeat", device.id);
        let key = format!("X-API-Key: {}\r\n", device.api_key);
        Load { request: request("POST", &path, &key, "{}"), tls: Arc::clone(&self.anonymous) }
    }

    /// A heartbeat with a key that nobody has.
    pub(crate) fn guess(&self, number: u8) -> Vec<u8> {
        let path = format!("/api/devices/{}/heartbeat", self.devices[0].id);
        let key = format!("X-API-Key: sb_device_Guess{number:03}_{}\r\n", "A".repeat(43));
        request("POST", &path, &key, "{}")
    }

    pub(crate) fn nobody(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.anonymous)
    }

    /// The octets of the authentication log's file and of what waits beside it.
    pub(crate) fn audit_octets(&self) -> u64 {
        let files = ["data/audit.db", "data/audit.db-wal"];
        files
            .iter()
            .filter_map(|file| std::fs::metadata(self.folder.path().join(file)).ok())
            .map(|file| file.len())
            .sum()
    }

    /// How many attempts the authentication log holds, read from its file.
    pub(crate) async fn audit_rows(&self) -> u64 {
        let url = format!("sqlite://{}?mode=ro", self.folder.path().join("data/audit.db").display());
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

    pub(crate) fn resident_mebibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
    }

    pub(crate) fn stop(mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

fn request(method: &str, path: &str, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{header}\r\n{body}"
    )
    .into_bytes()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until the server has made its authority and listens.
async fn await_authority(data: &Path, address: SocketAddr) -> CertificateDer<'static> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        assert!(Instant::now() < deadline, "the server did not start");
        let certificate = CertificateDer::from_pem_file(data.join("ca/ca-cert.pem"));
        if let (Ok(certificate), Ok(_)) = (certificate, tokio::net::TcpStream::connect(address).await) {
            return certificate;
        }
        tokio::task::yield_now().await;
    }
}

fn admin_token(data: &Path) -> String {
    let output = Command::new(PROGRAM).args(["admin-token", "--data-dir"]).arg(data).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

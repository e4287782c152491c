//! A real server on a data directory of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::client::{Answer, Target, Wire, config};

const PROGRAM: &str = env!("CARGO_BIN_EXE_signalbeam");
const TENANT: &str = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";
/// How many clients set a fleet up.
const INSTALLERS: usize = 16;

pub(crate) struct Server {
    process: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    /// Where plain HTTP is served for those who check certificates.
    pub(crate) pki_address: SocketAddr,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) anonymous: Arc<ClientConfig>,
    /// The header by which an admin is known.
    admin: String,
}

/// A device that was registered and approved.
pub(crate) struct Approved {
    pub(crate) id: String,
    /// The header by which it claims its API key.
    pub(crate) claim: String,
}

impl Server {
    /// Under these variables of the environment, on an empty data directory.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), settings).await
    }

    pub(crate) async fn start_on(folder: TempDir, settings: &[(&str, &str)]) -> Self {
        let data = folder.path().join("data");
        let (address, ops, pki_address) = (free_address(), free_address(), free_address());
        let process = Command::new(PROGRAM)
            .args(["serve", "--data-dir"])
            .arg(&data)
            .args(["--listen", &address.to_string(), "--ops-listen", &ops.to_string()])
            .args(["--pki-listen", &pki_address.to_string()])
            // Setting the fleet up is not what is measured.
            .env("SIGNALBEAM__AUTHENTICATION__BCRYPT_COST", "4")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let root = await_authority(&data, address).await;
        let anonymous = config(&root, None, true);
        let admin = format!("Authorization: Bearer {}\r\n", admin_token(&data));
        Self { process, folder, address, pki_address, root, anonymous, admin }
    }

    /// Ends it at once and keeps its data.
    pub(crate) fn stop(mut self) -> TempDir {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.folder
    }

    pub(crate) fn data(&self, file: &str) -> PathBuf {
        self.folder.path().join("data").join(file)
    }

    pub(crate) fn https(&self) -> Target {
        Target { address: self.address, tls: Some(Arc::clone(&self.anonymous)) }
    }

    pub(crate) fn plain_http(&self) -> Target {
        Target { address: self.pki_address, tls: None }
    }

    /// A request by an admin.
    pub(crate) fn by_admin(&self, method: &str, path: &str, body: &Value) -> Vec<u8> {
        request(method, path, &self.admin, &body.to_string())
    }

    /// Asks an admin's question on a connection of its own.
    pub(crate) async fn as_admin(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, &self.admin, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, authorization: &str, body: &Value) -> Value {
        let mut wire = Wire::connect(&self.https()).await.unwrap();
        accepted(&mut wire, &request(method, path, authorization, &body.to_string())).await
    }

    /// Registers so many devices and approves them.
    pub(crate) async fn approved(&self, number: usize) -> Vec<Approved> {
        let mut installers = JoinSet::new();
        for first in 0..INSTALLERS.min(number) {
            let (target, admin) = (self.https(), self.admin.clone());
            installers.spawn(async move {
                let mut wire = Wire::connect(&target).await.unwrap();
                let mut devices = vec![];
                for number in (first..number).step_by(INSTALLERS) {
                    devices.push(install(&mut wire, &admin, number).await);
                }
                devices
            });
        }
        installers.join_all().await.into_iter().flatten().collect()
    }

    pub(crate) fn resident_mebibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.process.id())
    }
}

/// How long all threads of a process have run, as Linux says, in ticks of 10 ms.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = status.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = fields[11..13].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

async fn install(wire: &mut Wire, admin: &str, number: usize) -> Approved {
    let token = request("POST", "/api/registration-tokens", admin, &json!({"tenantId": TENANT}).to_string());
    let token = accepted(wire, &token).await;
    let registration = json!({"tenantId": TENANT, "token": token["token"], "deviceName": format!("load-{number}")});
    let registered = accepted(wire, &request("POST", "/api/devices", "", &registration.to_string())).await;
    let id = registered["deviceId"].as_str().unwrap().to_owned();
    accepted(wire, &request("POST", &format!("/api/devices/{id}/approve"), admin, "{}")).await;
    let claim = format!("Authorization: Bearer {}\r\n", registered["claimSecret"].as_str().unwrap());
    Approved { id, claim }
}

async fn accepted(wire: &mut Wire, request: &[u8]) -> Value {
    let answer: Answer = wire.exchange(request).await.unwrap();
    let body = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(answer.status < 300, "{}: {} {body}", String::from_utf8_lossy(request), answer.status);
    serde_json::from_str(&body).unwrap_or_default()
}

pub(crate) fn request(method: &str, path: &str, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{header}\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until the server has made its authority and listens.
async fn await_authority(data: &Path, address: SocketAddr) -> CertificateDer<'static> {
    let deadline = Instant::now() + Duration::from_mins(2);
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

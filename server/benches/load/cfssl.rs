//! `cfssl serve`, where it is installed: another certificate authority that signs over HTTP, for comparison. It records
//! nothing of what it signs.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use tempfile::TempDir;

use crate::client::Target;
use crate::server::{cpu_seconds, free_address, request};

/// A running one, with an authority of its own.
pub(crate) struct Cfssl {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Cfssl {
    /// With an authority of this key; `None` where there is no `cfssl` on this machine.
    pub(crate) async fn start(key: &KeyPair) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority(key)).unwrap();
        std::fs::write(folder.path().join("ca-key.pem"), key.serialize_pem()).unwrap();
        let address = free_address();
        let process = Command::new("cfssl")
            .args(["serve", "-ca", "ca.pem", "-ca-key", "ca-key.pem", "-loglevel", "4"])
            .args(["-address", &address.ip().to_string(), "-port", &address.port().to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) => {
                println!("!!! SKIPPED: nothing is compared with `cfssl serve`, which cannot be started: {error}");
                return None;
            }
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "cfssl did not start");
            tokio::task::yield_now().await;
        }
        Some(Self { process, address, _folder: folder })
    }

    pub(crate) fn target(&self) -> Target {
        Target { address: self.address, tls: None }
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.process.id())
    }

    /// A request to its sign endpoint.
    pub(crate) fn sign(csr_pem: &str) -> Vec<u8> {
        request("POST", "/api/v1/cfssl/sign", "", &json!({"certificate_request": csr_pem}).to_string())
    }
}

impl Drop for Cfssl {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn authority(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Compared CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(key).unwrap().pem()
}

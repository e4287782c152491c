//! Enrolment over EST by other people's clients: strongSwan's `pki`, and curl with OpenSSL as the documentation shows it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::client::Client;
use crate::device::{Device, TENANT, new_token};
use crate::keys::Identity;
use crate::server::{Server, Site};
use crate::waiting::eventually;

/// Where every certificate may be renewed from its first day.
fn site() -> Site {
    Site::new().with("est.retry_after_seconds", "1").with("certificates.default_validity_days", "20")
}

/// A folder in which strongSwan's `pki` is run against a server.
struct StrongSwan<'a> {
    server: &'a Server<'a>,
    folder: TempDir,
}

impl<'a> StrongSwan<'a> {
    fn new(server: &'a Server<'a>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), server.site.ca_pem()).unwrap();
        Self { server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts `pki`; what it answers goes into a file.
    fn start(&self, arguments: &[&str], output: &str) -> Child {
        let started = Command::new("pki")
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(self.path(output)).unwrap())
            .stderr(Stdio::piped())
            .spawn();
        started.unwrap_or_else(|error| panic!("this test needs strongSwan's pki (Debian's strongswan-pki): {error}"))
    }

    fn run(&self, arguments: &[&str], output: &str) -> Output {
        self.start(arguments, output).wait_with_output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str], output: &str) {
        let ended = self.run(arguments, output);
        assert!(ended.status.success(), "pki {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }

    /// A key of a kind, and a request for it.
    fn key_and_request(&self, key: &str, kind: &[&str], request: &str) {
        self.succeed(&[&["--gen"], kind].concat(), key);
        self.succeed(&["--req", "--in", key, "--type", "priv", "--dn", "CN=warehouse-07, O=whoever"], request);
    }

    fn url(&self) -> String {
        self.server.url()
    }

    /// A certificate and its key, DER as `pki` writes them.
    fn identity(&self, certificate: &str, key: &str) -> Identity {
        let pem = |arguments: &[&str]| openssl(self.folder.path(), arguments);
        let serial = pem(&["x509", "-inform", "DER", "-in", certificate, "-noout", "-serial"]);
        Identity {
            key_pem: pem(&["pkey", "-inform", "DER", "-in", key]),
            certificate_pem: pem(&["x509", "-inform", "DER", "-in", certificate]),
            serial_number: serial.trim().trim_start_matches("serial=").to_lowercase(),
        }
    }
}

#[track_caller]
fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn by(server: &Server<'_>, identity: &Identity) -> Client {
    Client::new(server.address, &server.site.ca_pem(), Some(identity))
}

/// What `pki` is told to enrol with.
fn est<'b>(url: &'b str, more: &[&'b str]) -> Vec<&'b str> {
    let common = ["--est", "--url", url, "--cacert", "ca.pem", "--interval", "1", "--maxpolltime", "30"];
    [&common[..], more].concat()
}

#[test]
fn strongswan_fetches_the_authorities_and_trusts_them() {
    let site = site();
    let server = site.start();
    let client = StrongSwan::new(&server);
    client.succeed(&["--estca", "--url", &client.url(), "--cacert", "ca.pem", "--caout", "got.der"], "said");
    let got = openssl(client.folder.path(), &["x509", "-inform", "DER", "-in", "got.der"]);
    assert_eq!(got.trim(), site.ca_pem().trim());
}

#[test]
fn strongswan_enrols_with_a_token_waits_for_the_approval_and_renews_by_its_certificate() {
    let site = site();
    let server = site.start();
    let admin = server.admin();
    let client = StrongSwan::new(&server);
    let (url, user) = (client.url(), format!("{TENANT}:{}", new_token(&site, &admin)));
    client.key_and_request("key.der", &["--type", "ecdsa", "--size", "256"], "request.der");
    let enrol = est(&url, &["--in", "request.der", "--userpass", &user]);
    let waiting = client.start(&enrol, "certificate.der");
    let id = eventually("the device is registered", || {
        let pending = admin.get("/api/devices/by-status/Pending").expect(200);
        Some(pending["items"].as_array()?.first()?["deviceId"].as_str()?.to_owned())
    });
    admin.post(&format!("/api/devices/{id}/approve"), &json!({})).expect(200);
    let ended = waiting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && said.contains("EST request pending"), "{said}");
    let shown = admin.get(&format!("/api/devices/{id}")).expect(200);
    assert_eq!(shown["deviceName"], "warehouse-07");
    assert_eq!(admin.get("/api/devices").expect(200)["items"].as_array().unwrap().len(), 1);

    let old = client.identity("certificate.der", "key.der");
    let beat = |identity: &Identity| by(&server, identity).post(&format!("/api/devices/{id}/heartbeat"), &json!({}));
    assert_eq!(beat(&old).expect(200)["certificate"]["serialNumber"], old.serial_number.as_str());
    let again = client.run(&enrol, "nothing.der");
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("HTTP 409"), "used: {again:?}");

    client.key_and_request("new-key.der", &["--type", "rsa", "--size", "2048"], "new-request.der");
    let renew = est(&url, &["--in", "new-request.der", "--cert", "certificate.der", "--key", "key.der"]);
    client.succeed(&renew, "new-certificate.der");
    let new = client.identity("new-certificate.der", "new-key.der");
    let repeated = client.run(&renew, "again.der");
    assert!(repeated.status.success(), "the answer may have been lost: {repeated:?}");
    let read = |name: &str| std::fs::read(client.path(name)).unwrap();
    assert_eq!(read("again.der"), read("new-certificate.der"));
    beat(&old).refused(401, "CERTIFICATE_REVOKED");
    beat(&new).expect(200);
    assert!(!client.run(&renew, "nothing.der").status.success(), "the successor has been used");
}

#[test]
fn strongswan_enrols_with_an_api_key_and_not_with_a_wrong_one() {
    let site = site();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let client = StrongSwan::new(&server);
    let url = client.url();
    client.key_and_request("key.der", &["--type", "ecdsa", "--size", "256"], "request.der");
    let (wrong, right) = (format!("{}:sb_device_wrong", device.id), format!("{}:{}", device.id, device.api_key));
    let refused = client.run(&est(&url, &["--in", "request.der", "--userpass", &wrong]), "nothing.der");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("HTTP 401"), "{said}");
    client.succeed(&est(&url, &["--in", "request.der", "--userpass", &right]), "certificate.der");
    let identity = client.identity("certificate.der", "key.der");
    device.beat(&by(&server, &identity)).expect(200);
    std::fs::write(client.path("certificate.pem"), &identity.certificate_pem).unwrap();
    let strictly = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.pem", "certificate.pem"];
    openssl(client.folder.path(), &strictly);
}

#[test]
fn the_commands_of_the_documentation_do_what_it_says() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/features/est.md")).unwrap();
    let (_, rest) = page.split_once("```sh\n").unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    let site = site();
    let server = site.start();
    let device = Device::approved(&server, &server.admin());
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder.path())
        .env("SERVER", server.url())
        .env("CA", site.data_dir().join("ca/ca-cert.pem"))
        .env("DEVICE_ID", &device.id)
        .env("API_KEY", &device.api_key)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let identity = |certificate: &str, key: &str| Identity {
        key_pem: read(key),
        certificate_pem: read(certificate),
        serial_number: String::new(),
    };
    device.beat(&by(&server, &identity("new-certificate.pem", "new-key.pem"))).expect(200);
    device.beat(&by(&server, &identity("certificate.pem", "key.pem"))).refused(401, "CERTIFICATE_REVOKED");
    assert!(read("authorities.pem").contains(site.ca_pem().lines().nth(1).unwrap()));
}

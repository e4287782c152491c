//! Servers whose authority's key is encrypted, or in a token that comes and goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::client::Client;
use crate::device::{Device, by_certificate};
use crate::keys::{Identity, key_and_request};
use crate::server::{Server, Site};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
];
const PIN: &str = "4711-opens-it";

/// A token of SoftHSM.
struct Token {
    folder: TempDir,
}

impl Token {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        fs::write(folder.path().join("softhsm2.conf"), text).unwrap();
        let token = Self { folder };
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "signalbeam", "--so-pin", "12345678", "--pin", PIN])
            .env("SOFTHSM2_CONF", token.configuration())
            .output()
            .expect("SoftHSM is missing: apt-get install softhsm2");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        token
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// A site whose authority's key is in the token.
    fn site(&self, key_type: &str) -> Site {
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
        let site = Site::new()
            .with("ca.key_store", "pkcs11")
            .with("ca.key_type", key_type)
            .with("ca.pkcs11.module", library.expect("SoftHSM is missing: apt-get install softhsm2"))
            .with("ca.pkcs11.token_label", "signalbeam")
            .with("ca.pkcs11.pin", PIN)
            .with_variable("SOFTHSM2_CONF", self.configuration().to_str().unwrap());
        site.note_secret(PIN);
        site
    }

    fn take_out(&self) {
        fs::rename(self.folder.path().join("tokens"), self.folder.path().join("taken-out")).unwrap();
    }

    fn put_back(&self) {
        fs::rename(self.folder.path().join("taken-out"), self.folder.path().join("tokens")).unwrap();
    }
}

/// OpenSSL's word on a certificate under the authority's.
fn openssl_accepts(site: &Site, identity: &Identity) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let leaf = folder.path().join("leaf.pem");
    fs::write(&leaf, &identity.certificate_pem).unwrap();
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-CAfile"]).arg(site.data_dir().join("ca/ca-cert.pem")).arg(&leaf);
    command.output().unwrap().status.success()
}

fn ask_for_certificate(server: &Server<'_>, device: &Device) -> crate::client::Answer {
    let body = json!({"validityDays": 90, "csrPem": key_and_request().1});
    device.by_key(server).post(&format!("/api/certificates/{}/issue", device.id), &body)
}

fn readiness(server: &Server<'_>) -> String {
    Client::plain(server.ops_address).get("/health/ready").text()
}

#[test]
fn an_authority_in_a_token_issues_and_is_found_again() {
    for key_type in ["rsa-2048", "ecdsa-p256", "ecdsa-p384"] {
        let token = Token::new();
        let site = token.site(key_type);
        let server = site.start();
        let admin = server.admin();
        let device = Device::approved(&server, &admin);
        let identity = device.issue(&server, 90);
        assert!(openssl_accepts(&site, &identity), "{key_type}");
        device.beat(&by_certificate(&server, &identity)).expect(200);
        assert!(!site.data_dir().join("ca/ca-key.pem").exists(), "the key is in the token alone");
        let authority = site.ca_pem();
        server.stop();

        let server = site.start();
        assert_eq!(site.ca_pem(), authority);
        device.beat(&by_certificate(&server, &identity)).expect(200);
        assert!(openssl_accepts(&site, &device.issue(&server, 30)), "{key_type}");
        let found = String::from_utf8(site.run(&["doctor"]).stdout).unwrap();
        assert!(
            found.contains("the authority's key is in a PKCS#11 token") && !found.contains("ca-key.pem"),
            "{found}"
        );
    }
}

#[test]
fn a_token_that_is_away_stops_issuing_and_nothing_else() {
    let token = Token::new();
    let site = token.site("ecdsa-p256");
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    assert!(!readiness(&server).contains("it cannot sign"));

    token.take_out();
    ask_for_certificate(&server, &device).refused(503, "SIGNING_UNAVAILABLE");
    device.beat(&by_certificate(&server, &identity)).expect(200);
    device.beat(&device.by_key(&server)).expect(200);
    assert_eq!(server.readiness(), 200, "devices must not be turned away");
    assert!(readiness(&server).contains("it cannot sign: the PKCS#11 token `signalbeam`"), "{}", readiness(&server));
    assert!(server.metrics().contains("signalbeam_ca_errors_total 1"), "{}", server.metrics());
    server.stop();

    let server = site.start();
    device.beat(&by_certificate(&server, &identity)).expect(200);
    device.beat(&device.by_key(&server)).expect(200);
    ask_for_certificate(&server, &device).refused(503, "SIGNING_UNAVAILABLE");

    token.put_back();
    let again = device.issue(&server, 90);
    assert!(openssl_accepts(&site, &again), "no restart is needed");
    device.beat(&by_certificate(&server, &again)).expect(200);
    assert!(!readiness(&server).contains("it cannot sign"));
}

#[test]
fn without_its_token_a_first_start_makes_no_authority() {
    let token = Token::new();
    let site = token.site("ecdsa-p256");
    token.take_out();
    let ended = site.try_start().err().unwrap();
    assert!(ended.said.contains("PKCS#11 token `signalbeam`") && !ended.said.contains(PIN), "{}", ended.said);
    assert!(!site.data_dir().join("ca/ca-key.pem").exists());
    token.put_back();
    site.start();
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_alone() {
    let site = Site::new().with("ca.key_type", "ecdsa-p256").with("ca.key_passphrase", "s3cret-passphrase");
    site.note_secret("s3cret-passphrase");
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    assert!(openssl_accepts(&site, &identity));
    assert!(site.ca_key_pem().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    server.stop();

    let printed = String::from_utf8(site.run(&["config", "print"]).stdout).unwrap();
    assert!(printed.contains("key_passphrase = \"[redacted]\"") && !printed.contains("s3cret-passphrase"), "{printed}");
    let wrong = site.with("ca.key_passphrase", "another-passphrase");
    let ended = wrong.try_start().err().unwrap();
    assert!(ended.said.contains("does not open") && ended.said.contains("ca.key_passphrase_file"), "{}", ended.said);

    let site = wrong.with("ca.key_passphrase", "s3cret-passphrase");
    let server = site.start();
    device.beat(&by_certificate(&server, &identity)).expect(200);
    device.issue(&server, 90);
}

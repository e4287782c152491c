//! Authorities that come from elsewhere, keys that are put back, and what is written out: `signalbeam ca import|export`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::device::{Device, by_certificate};
use crate::server::Site;

/// A folder in which OpenSSL makes authorities.
struct Elsewhere(TempDir);

impl Elsewhere {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
    }

    /// `NAME.pem` and `NAME-key.pem`, a root with this key usage.
    fn root(&self, name: &str, usage: &str) {
        let (key, out) = (format!("{name}-key.pem"), format!("{name}.pem"));
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", &key]);
        let (subject, usage) = (format!("/O=Elsewhere/CN={name}"), format!("keyUsage=critical,{usage}"));
        self.openssl(&[
            "req", "-x509", "-new", "-key", &key, "-days", "700", "-subj", &subject, "-addext", &usage, "-out", &out,
        ]);
    }

    /// An issuing authority under a root, with an RSA key in PKCS#1.
    fn issuing(&self, name: &str, root: &str) {
        let (key, request) = (format!("{name}-key.pem"), format!("{name}.csr"));
        self.openssl(&["genrsa", "-traditional", "-out", &key, "2048"]);
        self.openssl(&["req", "-new", "-key", &key, "-subj", &format!("/O=Elsewhere/CN={name}"), "-out", &request]);
        let extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                          subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
        fs::write(self.file("extensions"), extensions).unwrap();
        let (signer, signers_key, out) = (format!("{root}.pem"), format!("{root}-key.pem"), format!("{name}.pem"));
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &signer,
            "-CAkey",
            &signers_key,
            "-days",
            "300",
            "-extfile",
            "extensions",
            "-out",
            &out,
        ]);
    }

    fn import(&self, site: &Site, name: &str, more: &[&str]) -> Output {
        let files = [self.file(&format!("{name}.pem")), self.file(&format!("{name}-key.pem"))];
        let [certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
        site.run(&[&["ca", "import", "--certificate", certificate, "--key", key], more].concat())
    }
}

#[track_caller]
fn done(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(output: &Output, because: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(because), "{said}");
}

fn signing_subject(site: &Site) -> String {
    let shown: Value = serde_json::from_str(&done(site.run(&["ca", "status", "--output", "json"]))).unwrap();
    let all = shown["authorities"].as_array().unwrap();
    all.iter().find(|one| one["status"] == "Active").unwrap()["subject"].as_str().unwrap().to_owned()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_root_from_elsewhere_becomes_the_first_authority() {
    let (site, elsewhere) = (Site::new(), Elsewhere::new());
    elsewhere.root("first", "keyCertSign,cRLSign");
    elsewhere.root("lame", "keyCertSign");
    elsewhere.root("other", "keyCertSign,cRLSign");
    elsewhere.issuing("under", "other");
    refused(&elsewhere.import(&site, "lame", &[]), "cRLSign");
    refused(&elsewhere.import(&site, "under", &[]), "--issuers");
    let issuers = elsewhere.file("other.pem");
    refused(&elsewhere.import(&site, "under", &["--issuers", issuers.to_str().unwrap()]), "start the server");
    fs::copy(elsewhere.file("other-key.pem"), elsewhere.file("wrong-key.pem")).unwrap();
    fs::copy(elsewhere.file("first.pem"), elsewhere.file("wrong.pem")).unwrap();
    refused(&elsewhere.import(&site, "wrong", &[]), "does not belong to the certificate");
    assert!(!site.data_dir().join("ca/ca-key.pem").exists(), "what is refused leaves nothing");

    done(elsewhere.import(&site, "first", &[]));
    done(elsewhere.import(&site, "first", &[]));
    refused(&elsewhere.import(&site, "other", &[]), "holds another key");
    assert_eq!(mode(&site.data_dir().join("ca/ca-key.pem")), 0o600);
    let server = site.start();
    assert!(signing_subject(&site).contains("CN=first"));
    let device = Device::approved(&server, &server.admin());
    let identity = device.issue(&server, 90);
    device.beat(&by_certificate(&server, &identity)).expect(200);
}

#[test]
fn an_issuing_authority_under_a_foreign_root_takes_over_and_a_lost_key_is_put_back() {
    let (site, elsewhere) = (Site::new().with("ca.key_type", "ecdsa-p256"), Elsewhere::new());
    elsewhere.root("company", "keyCertSign,cRLSign");
    elsewhere.issuing("devices", "company");
    let server = site.start();
    let issuers = elsewhere.file("company.pem");
    let issuers = ["--issuers", issuers.to_str().unwrap()];
    let said = done(elsewhere.import(&site, "devices", &issuers));
    assert!(said.contains("signalbeam ca rotate activate"), "{said}");
    done(site.run(&["ca", "rotate", "activate", "--yes"]));
    assert!(signing_subject(&site).contains("CN=devices"));
    let device = Device::approved(&server, &server.admin());
    let identity = device.issue(&server, 90);
    device.beat(&by_certificate(&server, &identity)).expect(200);

    let bundle = done(site.run(&["ca", "export"]));
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 3, "{bundle}");
    assert!(bundle.starts_with(fs::read_to_string(elsewhere.file("company.pem")).unwrap().trim_end()));
    let chain = done(site.run(&["ca", "export", "--issuers"]));
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "{chain}");
    server.stop();

    let (secret, out) = (elsewhere.file("passphrase"), elsewhere.file("devices-key.pem"));
    fs::write(&secret, "correct horse\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let (secret, out) = (secret.to_str().unwrap(), out.to_str().unwrap());
    done(site.run(&["ca", "export", "--with-key", "--passphrase-file", secret, "--output", out]));
    assert_eq!(mode(Path::new(out)), 0o600);
    assert!(fs::read_to_string(out).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert_eq!(site.run(&["ca", "export", "--with-key", "--output", out]).status.code(), Some(2), "never in the clear");
    elsewhere.openssl(&["pkey", "-in", out, "-passin", "file:passphrase", "-noout"]);

    let key = site.data_dir().join("ca/imported-1/ca-key.pem");
    fs::remove_file(&key).unwrap();
    let failed = site.try_start().err().expect("no second authority is made").said;
    assert!(failed.contains("ca-key.pem is missing"), "{failed}");
    refused(&elsewhere.import(&site, "devices", &[]), "cannot be imported");
    done(elsewhere.import(&site, "devices", &["--passphrase-file", secret]));
    assert_eq!(mode(&key), 0o600);
    let server = site.start();
    device.beat(&by_certificate(&server, &identity)).expect(200);
    device.issue(&server, 90);
}

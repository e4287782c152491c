//! `openssl ocsp` asks the running server: what it says of certificates is believed by whoever trusts the CA alone.

use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::json;

use crate::client::Client;
use crate::device::Device;
use crate::keys::Identity;
use crate::server::{Server, Site};
use crate::waiting::eventually;

/// A folder with the CA's certificate, and `openssl ocsp` in it.
struct Checker {
    folder: tempfile::TempDir,
    url: String,
}

impl Checker {
    fn new(server: &Server<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), server.site.ca_pem()).unwrap();
        Self { folder, url: format!("https://{}/ocsp", server.address) }
    }

    fn add(&self, name: &str, identity: &Identity) {
        std::fs::write(self.folder.path().join(name), &identity.certificate_pem).unwrap();
    }

    /// What it says, and why where it does not believe the answer.
    fn ask(&self, arguments: &[&str]) -> String {
        let mut all = vec!["ocsp", "-url", &self.url, "-CAfile", "ca.pem", "-issuer", "ca.pem"];
        all.extend(arguments);
        let output = openssl(self.folder.path(), &all);
        output.unwrap_or_else(|error| panic!("the openssl command is needed: {error}"))
    }

    fn believed(&self, arguments: &[&str]) -> String {
        let said = self.ask(arguments);
        assert!(said.contains("Response verify OK"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
        said
    }
}

fn openssl(folder: &Path, arguments: &[&str]) -> std::io::Result<String> {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn openssl_believes_what_is_said_of_every_kind_of_certificate() {
    let site = Site::new();
    let server = site.start();
    let (admin, checker) = (server.admin(), Checker::new(&server));
    let device = Device::approved(&server, &admin);
    let superseded = device.issue(&server, 90);
    let good = device.issue(&server, 90);
    let other = Device::approved(&server, &admin);
    let revoked = other.issue(&server, 90);
    assert_eq!(admin.delete(&format!("/api/certificates/{}", revoked.serial_number)).status, 204);
    checker.add("good.pem", &good);
    checker.add("superseded.pem", &superseded);
    checker.add("revoked.pem", &revoked);

    for options in [&["-no_nonce"][..], &[], &["-sha256"], &["-sha384", "-no_nonce"], &["-no_nonce"]] {
        let said = checker.believed(&[options, &["-cert", "good.pem"]].concat());
        assert!(said.contains("good.pem: good"), "{said}");
        let said = checker.believed(&[options, &["-cert", "superseded.pem"]].concat());
        assert!(said.contains("superseded.pem: revoked") && said.contains("Reason: superseded"), "{said}");
        assert!(said.contains("Revocation Time:"), "{said}");
        let said = checker.believed(&[options, &["-cert", "revoked.pem"]].concat());
        assert!(said.contains("revoked.pem: revoked"), "{said}");
        let said = checker.believed(&[options, &["-serial", "0x5555555555555555555555555555555555555555"]].concat());
        assert!(said.contains("0x5555555555555555555555555555555555555555: unknown"), "{said}");
    }
    let all = ["-cert", "good.pem", "-cert", "superseded.pem", "-cert", "revoked.pem", "-serial", "0x01"];
    let said = checker.believed(&all);
    for line in ["good.pem: good", "superseded.pem: revoked", "revoked.pem: revoked", "0x01: unknown"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let own = certificate_of_the_listener(&server, &checker);
    assert!(checker.believed(&["-cert", &own]).contains(&format!("{own}: good")), "the server's own is known");
}

/// The certificate that the listener shows, in a file.
fn certificate_of_the_listener(server: &Server<'_>, checker: &Checker) -> String {
    let pem = std::fs::read_to_string(server.site.data_dir().join("tls/server.pem")).unwrap();
    let certificate = &pem[pem.find("-----BEGIN CERTIFICATE").unwrap()..];
    std::fs::write(checker.folder.path().join("server.pem"), certificate).unwrap();
    "server.pem".to_owned()
}

#[test]
fn a_stranger_to_the_authority_believes_nothing_and_its_certificates_are_not_answered_for() {
    let site = Site::new();
    let (server, elsewhere) = (site.start(), Site::new());
    let (admin, checker) = (server.admin(), Checker::new(&server));
    let good = Device::approved(&server, &admin).issue(&server, 90);
    checker.add("good.pem", &good);
    let other = elsewhere.start();
    let foreign = Device::approved(&other, &other.admin()).issue(&other, 90);
    checker.add("foreign.pem", &foreign);
    std::fs::write(checker.folder.path().join("other.pem"), elsewhere.ca_pem()).unwrap();
    let distrusted = openssl(
        checker.folder.path(),
        &["ocsp", "-url", &checker.url, "-CAfile", "other.pem", "-issuer", "ca.pem", "-cert", "good.pem"],
    );
    assert!(distrusted.unwrap().contains("Response Verify Failure"));
    let said = openssl(
        checker.folder.path(),
        &["ocsp", "-url", &checker.url, "-CAfile", "other.pem", "-issuer", "other.pem", "-cert", "foreign.pem"],
    );
    assert!(said.unwrap().contains("unauthorized (6)"), "another authority of the same name");
}

/// A request about a certificate, made by openssl.
fn request(checker: &Checker, certificate: &str, options: &[&str]) -> Vec<u8> {
    let mut arguments = vec!["ocsp", "-issuer", "ca.pem", "-cert", certificate, "-reqout", "request.der"];
    arguments.extend(options);
    openssl(checker.folder.path(), &arguments).unwrap();
    std::fs::read(checker.folder.path().join("request.der")).unwrap()
}

fn asked(client: &Client, request: &[u8]) -> crate::client::Answer {
    client.send(Method::POST, "/ocsp", Some((request.to_vec(), "application/ocsp-request"))).unwrap()
}

#[test]
fn a_revocation_stands_in_the_next_answer_on_an_open_connection() {
    let site = Site::new();
    let server = site.start();
    let (admin, checker) = (server.admin(), Checker::new(&server));
    let identity = Device::approved(&server, &admin).issue(&server, 90);
    checker.add("leaf.pem", &identity);
    let request = request(&checker, "leaf.pem", &["-no_nonce"]);
    let client = server.anonymous();
    let says = |answer: &crate::client::Answer| {
        std::fs::write(checker.folder.path().join("answer.der"), &answer.body).unwrap();
        let arguments = [
            "ocsp",
            "-respin",
            "answer.der",
            "-CAfile",
            "ca.pem",
            "-issuer",
            "ca.pem",
            "-cert",
            "leaf.pem",
            "-no_nonce",
        ];
        openssl(checker.folder.path(), &arguments).unwrap()
    };
    let before = [asked(&client, &request), asked(&client, &request)];
    assert_eq!(before[0].body, before[1].body, "signed once");
    assert!(says(&before[1]).contains("leaf.pem: good"));
    let revoked = admin.delete(&format!("/api/certificates/{}", identity.serial_number));
    let position = |headers: &http::HeaderMap| headers["x-event-position"].to_str().unwrap().parse::<u64>().unwrap();
    let after = asked(&client, &request);
    let said = says(&after);
    assert!(said.contains("Response verify OK") && said.contains("leaf.pem: revoked"), "{said}");
    assert!(position(&after.headers) >= position(&revoked.headers));
}

#[test]
fn answers_are_counted_recorded_and_known_again_after_a_restart() {
    let site = Site::new();
    let server = site.start();
    let checker = Checker::new(&server);
    let identity = Device::approved(&server, &server.admin()).issue(&server, 90);
    checker.add("leaf.pem", &identity);
    let request = request(&checker, "leaf.pem", &["-no_nonce"]);
    let client = server.anonymous();
    for _ in 0..3 {
        assert_eq!(asked(&client, &request).status, 200);
    }
    assert_eq!(asked(&client, b"no request").body, [0x30, 3, 0x0a, 1, 1]);
    let wrong = client.post("/ocsp", &json!({}));
    assert_eq!(wrong.status, 415);
    let metrics = Client::plain(server.ops_address).get("/metrics").text();
    for line in [
        "signalbeam_ocsp_answers_total{status=\"good\",source=\"signed\"} 1",
        "signalbeam_ocsp_answers_total{status=\"good\",source=\"cached\"} 2",
        "signalbeam_ocsp_answers_total{status=\"malformed_request\",source=\"unsigned\"} 1",
        "signalbeam_ocsp_answers_total{status=\"revoked\",source=\"signed\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    drop(server);
    let audit = site.data_dir().join("audit.db");
    let rows = eventually("the answer is recorded", || {
        let rows = query(&audit, "SELECT serial_number || ' ' || status || ' ' || answers FROM ocsp_answers");
        (!rows.is_empty()).then_some(rows)
    });
    assert_eq!(rows, [format!("{} good 1", identity.serial_number)]);
    let signers = |site: &Site| {
        let events = site.export();
        let intended = events.iter().filter(|event| {
            event["type"] == "certificate_authority.service_certificate_intended"
                && event["data"]["purpose"] == "ocsp_signer"
        });
        intended.count()
    };
    assert_eq!(signers(&site), 1);
    let server = site.start();
    let checker = Checker { url: format!("https://{}/ocsp", server.address), ..checker };
    assert_eq!(signers(&site), 1, "a start alone makes no signer");
    assert!(checker.believed(&["-cert", "leaf.pem"]).contains("leaf.pem: good"));
    assert_eq!(signers(&site), 2, "its key was in memory only");
}

/// The first column of a query's rows.
fn query(path: &Path, sql: &'static str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let rows = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
        pool.close().await;
        rows
    })
}

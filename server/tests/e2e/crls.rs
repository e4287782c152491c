//! Revocation lists as those who check certificates use them: over plain HTTP, with `openssl`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::json;

use crate::certificates::openssl;
use crate::client::{Answer, Client};
use crate::device::Device;
use crate::keys::Identity;
use crate::server::{Server, Site};
use crate::waiting::eventually;

const CRL: &str = "/api/certificates/crl";
const DELTA: &str = "/api/certificates/crl/delta";

/// A client of the newest start's plain listener.
fn checker(site: &Site) -> Client {
    Client::plain(plain_address(site))
}

pub(crate) fn plain_address(site: &Site) -> SocketAddr {
    let marker = "; revocation lists: http://";
    let first = "revocation lists       http://";
    eventually("the plain listener is told of", || {
        let said = site.said();
        let (_, rest) = said.rsplit_once(marker).or_else(|| said.rsplit_once(first))?;
        let (address, _) = rest.split_once('/')?;
        Some(address.parse().unwrap())
    })
}

fn with_plain_listener() -> Site {
    Site::new().with("pki.listen", "127.0.0.1:0").with("pki.crl_min_interval_seconds", "1")
}

fn list(client: &Client, path: &str) -> Vec<u8> {
    let answer = client.get(path);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/pkix-crl"), "{answer:?}");
    answer.body
}

/// What `openssl crl` says of a list, once its signature has been found to hold.
fn described(site: &Site, der: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (list, ca) = (folder.path().join("crl.der"), folder.path().join("ca.pem"));
    std::fs::write(&list, der).unwrap();
    std::fs::write(&ca, site.ca_pem()).unwrap();
    let (list, ca) = (list.to_str().unwrap(), ca.to_str().unwrap());
    openssl(&["crl", "-inform", "DER", "-in", list, "-CAfile", ca, "-verify", "-noout", "-text", "-crlnumber"], "")
}

fn number(site: &Site, der: &[u8]) -> u64 {
    let text = described(site, der);
    let number = text.lines().find_map(|line| line.strip_prefix("crlNumber=")).unwrap();
    u64::from_str_radix(number.trim_start_matches("0x"), 16).unwrap()
}

fn revoke(server: &Server<'_>, identity: &Identity) {
    let revoked = server.admin().delete(&format!("/api/certificates/{}", identity.serial_number));
    assert_eq!(revoked.status, 204, "{revoked:?}");
}

/// The lists, once the complete one names a certificate.
fn lists_with(site: &Site, client: &Client, identity: &Identity) -> [Vec<u8>; 2] {
    eventually("the certificate is listed", || {
        let complete = list(client, CRL);
        let text = described(site, &complete).to_lowercase();
        text.contains(&identity.serial_number).then(|| [complete, list(client, DELTA)])
    })
}

/// What `openssl verify` says of a certificate with these lists (DER).
fn verify(site: &Site, identity: &Identity, lists: &[&[u8]], more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pem = |der: &&[u8]| {
        let path = folder.path().join("list.der");
        std::fs::write(&path, der).unwrap();
        openssl(&["crl", "-inform", "DER", "-in", path.to_str().unwrap()], "")
    };
    let lists = file("lists.pem", &lists.iter().map(pem).collect::<String>());
    let (ca, leaf) = (file("ca.pem", &site.ca_pem()), file("leaf.pem", &identity.certificate_pem));
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-crl_check", "-CAfile", &ca, "-CRLfile", &lists]).args(more).arg(leaf);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn openssl_refuses_what_was_revoked_and_accepts_the_rest() {
    let site = with_plain_listener().with("ca.delta_crl_url", "http://pki.example.com/crl/delta");
    let server = site.start();
    let admin = server.admin();
    let (good, bad) = (Device::approved(&server, &admin), Device::approved(&server, &admin));
    let (good, bad) = (good.issue(&server, 90), bad.issue(&server, 90));
    let client = checker(&site);
    let base = list(&client, CRL);
    assert!(verify(&site, &bad, &[&base], &[]).contains(": OK"));
    revoke(&server, &bad);
    let [complete, delta] = lists_with(&site, &client, &bad);
    assert!(verify(&site, &bad, &[&complete], &[]).contains("certificate revoked"));
    assert!(verify(&site, &good, &[&complete], &[]).contains(": OK"));
    let deltas = ["-use_deltas", "-extended_crl"];
    let with_delta = |identity| verify(&site, identity, &[&base, &delta], &deltas);
    assert!(with_delta(&bad).contains("certificate revoked"), "the old list and the delta");
    assert!(with_delta(&good).contains(": OK"));
    assert!(described(&site, &complete).contains("URI:http://pki.example.com/crl/delta"));
    assert_eq!(list(&server.anonymous(), CRL), complete, "over HTTPS too");
    server.stop();
}

#[test]
fn the_plain_listener_serves_what_is_signed_and_nothing_else() {
    let site = with_plain_listener();
    let server = site.start();
    let client = checker(&site);
    let ca = client.header("host", "pki.example.com").get("/api/certificates/ca");
    assert_eq!((ca.status, ca.text()), (200, site.ca_pem()));
    let tag = client.get(CRL).header("etag").to_owned();
    assert_eq!(client.header("if-none-match", &tag).get(CRL).status, 304);
    let head: Answer = client.send(Method::HEAD, CRL, None).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    let admin = client.bearer(&site.admin_token(&[]));
    for path in ["/", "/api/devices", "/api/certificates", "/api/events", "/openapi.json", "/docs", "/metrics"] {
        admin.get(path).refused(404, "NOT_FOUND");
    }
    admin.post("/api/registration-tokens", &json!({})).refused(404, "NOT_FOUND");
    admin.post(CRL, &json!({})).refused(405, "METHOD_NOT_ALLOWED");
    server.stop();
}

/// Runs a command in a folder: what it says, on both of its outputs.
pub(crate) fn said(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(folder).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("the command {program} is needed: {error}"));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn strangers_tools_need_nothing_but_plain_http() {
    let site = with_plain_listener();
    let server = site.start();
    let admin = server.admin();
    let issue = || Device::approved(&server, &admin).issue(&server, 90);
    let (good, bad) = (issue(), issue());
    revoke(&server, &bad);
    let client = checker(&site);
    lists_with(&site, &client, &bad);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("good.pem"), &good.certificate_pem).unwrap();
    std::fs::write(folder.join("bad.pem"), &bad.certificate_pem).unwrap();

    let base = format!("http://{}", plain_address(&site));
    let fetch = |path: &str, file: &str, accept: &str| {
        let (url, accept) = (format!("{base}{path}"), format!("Accept: {accept}"));
        let errors = said(folder, "curl", &["--silent", "--show-error", "--fail", "-H", &accept, "-o", file, &url]);
        assert_eq!(errors, "", "{path}");
    };
    fetch("/api/certificates/ca", "ca.pem", "*/*");
    fetch(CRL, "crl.pem", "application/x-pem-file");
    let verify = |leaf| {
        let arguments = ["verify", "-x509_strict", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "crl.pem", leaf];
        said(folder, "openssl", &arguments)
    };
    assert!(verify("good.pem").contains("good.pem: OK"));
    assert!(verify("bad.pem").contains("certificate revoked"));

    let responder = format!("{base}/ocsp");
    let arguments = [
        &["ocsp", "-url", &responder, "-CAfile", "ca.pem", "-issuer", "ca.pem"][..],
        &["-cert", "good.pem", "-cert", "bad.pem", "-reqout", "request.der"],
    ];
    let told = said(folder, "openssl", &arguments.concat());
    for line in ["Response verify OK", "good.pem: good", "bad.pem: revoked"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    // The same in the path of a GET, as caches need it.
    let request = said(folder, "openssl", &["base64", "-A", "-in", "request.der"]);
    fetch(&format!("/ocsp/{request}"), "answer.der", "*/*");
    let arguments = ["ocsp", "-respin", "answer.der", "-CAfile", "ca.pem", "-issuer", "ca.pem", "-cert", "good.pem"];
    let told = said(folder, "openssl", &[&arguments[..], &["-no_nonce"]].concat());
    assert!(told.contains("Response verify OK") && told.contains("good.pem: good"), "{told}");
    client.get("/ocsp").refused(405, "METHOD_NOT_ALLOWED");
    server.stop();
}

#[test]
fn no_plain_listener_without_being_asked_for() {
    let site = Site::new();
    let server = site.start();
    assert_eq!(server.anonymous().get(CRL).status, 200);
    assert!(!site.said().contains("over plain HTTP") && !site.said().contains("revocation lists:"), "{}", site.said());
    server.stop();
}

#[test]
fn a_certificate_names_the_list_of_the_authority_that_signed_it() {
    let site = with_plain_listener().with("ca.crl_url", "http://pki.example.com/api/certificates/crl/{authority}");
    let server = site.start();
    let identity = Device::approved(&server, &server.admin()).issue(&server, 90);
    let text = openssl(&["x509", "-noout", "-text"], &identity.certificate_pem);
    let (_, path) = text.split_once("URI:http://pki.example.com").unwrap();
    let path = path.lines().next().unwrap().trim_end();
    assert_eq!(list(&checker(&site), path), list(&checker(&site), CRL));
    server.stop();
}

#[test]
fn a_number_has_one_content_however_often_the_server_is_killed() {
    let site = with_plain_listener();
    let mut seen = BTreeMap::new();
    let mut look = |client: &Client| {
        let (complete, delta) = (list(client, CRL), list(client, DELTA));
        let (number, of_delta) = (number(&site, &complete), number(&site, &delta));
        let newest = seen.last_key_value().map_or(0, |(number, _)| *number);
        assert!(number >= newest, "{number} after {newest}");
        if number == of_delta {
            let both = (complete, delta);
            assert_eq!(*seen.entry(number).or_insert_with(|| both.clone()), both, "{number} has two contents");
        }
    };
    for round in 0_u32..6 {
        let server = site.start();
        let client = checker(&site);
        look(&client);
        let identity = Device::approved(&server, &server.admin()).issue(&server, 90);
        revoke(&server, &identity);
        if round % 2 == 0 {
            lists_with(&site, &client, &identity);
            look(&client);
        }
        server.kill();
        server.reap();
        if round == 3 {
            crate::server::remove_projections(&site.data_dir());
        }
    }
    let server = site.start();
    let client = checker(&site);
    eventually("all six are listed", || {
        look(&client);
        (described(&site, &list(&client, CRL)).matches("Serial Number:").count() == 6).then_some(())
    });
    server.stop();
    assert!(seen.len() >= 4, "{:?}", seen.keys());
    published_once(&site, site.data_dir().as_path());
}

/// Every number stands in the log once, and they only grow.
fn published_once(site: &Site, data_dir: &Path) {
    let log = site.export();
    let published = log.iter().filter(|event| event["type"] == "certificate_authority.crl_published");
    let numbers: Vec<_> = published.map(|event| event["data"]["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?} in {}", data_dir.display());
}

#[test]
fn operators_see_how_fresh_the_list_is() {
    let site = Site::new();
    let server = site.start();
    let value = |metrics: &str, name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse::<f64>().unwrap()
    };
    let metrics = eventually("the gauges are counted", || {
        let metrics = server.metrics();
        (value(&metrics, "signalbeam_crl_number") > 0.0).then_some(metrics)
    });
    let made = value(&metrics, "signalbeam_crl_this_update_timestamp_seconds");
    let ends = value(&metrics, "signalbeam_crl_next_update_timestamp_seconds");
    assert!((ends - made - 86_400.0).abs() < 1.0, "{made} to {ends}");
    assert!(value(&metrics, "signalbeam_crl_entries").abs() < 0.5, "nothing has ended yet");
    server.stop();
}

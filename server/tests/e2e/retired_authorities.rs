//! An issuing authority that is retired, as those see it who check certificates with `openssl` and trust the root alone.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::Client;
use crate::crls::{plain_address, said};
use crate::device::Device;
use crate::server::{Server, Site};
use crate::waiting::eventually;

const PUBLIC: &str = "http://pki.example.com/api/certificates";

fn site() -> Site {
    Site::new()
        .with("ca.hierarchy", "intermediate")
        .with("ca.crl_url", &format!("{PUBLIC}/crl/{{authority}}"))
        .with("ca.issuer_url", &format!("{PUBLIC}/ca/{{authority}}"))
        .with("pki.listen", "127.0.0.1:0")
        .with("pki.crl_min_interval_seconds", "1")
}

/// The authority that has this status.
fn authority(admin: &Client, status: &str) -> Value {
    let listed = admin.get("/api/certificate-authorities").expect(200);
    let mut items = listed["items"].as_array().unwrap().iter();
    items.find(|one| one["status"] == status).unwrap_or_else(|| panic!("none is {status}: {listed}")).clone()
}

fn id(authority: &Value) -> &str {
    authority["authorityId"].as_str().unwrap()
}

/// Puts another issuing authority in the place of the one that signs, and retires that one.
fn roll_over(server: &Server<'_>, old: &Value) {
    let admin = server.admin();
    let prepared = admin.post("/api/certificate-authorities", &json!({"hierarchy": "intermediate"})).expect(201);
    let activate = format!("/api/certificate-authorities/{}/activate", id(&prepared));
    admin.post(&activate, &json!({})).expect(200);
    let retire = format!("/api/certificate-authorities/{}/retire", id(old));
    admin.post(&retire, &json!({"force": true, "reasonCode": "cACompromise"})).expect(200);
}

/// Fetches into a file over plain HTTP.
fn fetch(folder: &Path, base: &str, path: &str, file: &str, accept: &str) {
    let (url, accept) = (format!("{base}/api/certificates/{path}"), format!("Accept: {accept}"));
    let errors = said(folder, "curl", &["--silent", "--show-error", "--fail", "-H", &accept, "-o", file, &url]);
    assert_eq!(errors, "", "{path}");
}

#[test]
fn who_trusts_the_root_alone_learns_that_an_issuing_authority_is_retired() {
    let site = site();
    let server = site.start();
    let admin = server.admin();
    let (root, old) = (authority(&admin, "Prepared"), authority(&admin, "Active"));
    assert_eq!(old["issuerId"], root["authorityId"]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("root.pem", root["certificatePem"].as_str().unwrap());
    write("old.pem", old["certificatePem"].as_str().unwrap());
    write("leaf.pem", &Device::approved(&server, &admin).issue(&server, 90).certificate_pem);

    let text = said(folder, "openssl", &["x509", "-noout", "-text", "-in", "old.pem"]);
    for path in ["crl", "ca"] {
        assert!(text.contains(&format!("URI:{PUBLIC}/{path}/{}", id(&root))), "{path}: {text}");
    }
    let base = format!("http://{}", plain_address(&site));
    let client = Client::plain(plain_address(&site));
    let lists_of = |authority: &Value, file: &str| {
        let path = format!("crl/{}", id(authority));
        fetch(folder, &base, &path, file, "application/x-pem-file");
    };
    let verify = |leaf: &str, intermediate: &str| {
        let lists: String =
            ["root.crl", "issuing.crl"].map(|file| std::fs::read_to_string(folder.join(file)).unwrap()).concat();
        write("lists.pem", &lists);
        let arguments = ["verify", "-x509_strict", "-crl_check_all", "-CAfile", "root.pem", "-CRLfile", "lists.pem"];
        said(folder, "openssl", &[&arguments[..], &["-untrusted", intermediate, leaf]].concat())
    };
    let ask = |certificate: &str| {
        let (url, arguments) = (format!("{base}/ocsp"), ["-CAfile", "root.pem", "-issuer", "root.pem"]);
        said(
            folder,
            "openssl",
            &[&["ocsp", "-no_nonce", "-url", &url][..], &arguments, &["-cert", certificate]].concat(),
        )
    };
    lists_of(&root, "root.crl");
    lists_of(&old, "issuing.crl");
    assert_eq!(verify("leaf.pem", "old.pem"), "leaf.pem: OK\n");
    assert!(ask("old.pem").contains("old.pem: good"));

    roll_over(&server, &old);
    let told = ask("old.pem");
    for line in ["Response verify OK", "old.pem: revoked", "Reason: cACompromise"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let serial = old["serialNumber"].as_str().unwrap().to_uppercase();
    eventually("the root's list names it", || {
        lists_of(&root, "root.crl");
        let text = said(folder, "openssl", &["crl", "-noout", "-text", "-in", "root.crl"]);
        (text.contains(&serial) && text.contains("CA Compromise")).then_some(())
    });
    // Its own last list still holds, so that what is wrong is found where it is.
    lists_of(&old, "issuing.crl");
    let said_of_old = verify("leaf.pem", "old.pem");
    assert!(said_of_old.contains("error 23 at 1 depth lookup: certificate revoked"), "{said_of_old}");

    let new = authority(&admin, "Active");
    write("new-leaf.pem", &Device::approved(&server, &admin).issue(&server, 90).certificate_pem);
    // As the certificates themselves say where it is: DER.
    fetch(folder, &base, &format!("ca/{}", id(&new)), "new.der", "*/*");
    said(folder, "openssl", &["x509", "-inform", "DER", "-in", "new.der", "-out", "new.pem"]);
    eventually("its first list is there", || {
        (client.get(&format!("/api/certificates/crl/{}", id(&new))).status == 200).then_some(())
    });
    lists_of(&new, "issuing.crl");
    assert_eq!(verify("new-leaf.pem", "new.pem"), "new-leaf.pem: OK\n");
    server.stop();

    // A start serves the last list again, out of the log, and the certificate for as long as somebody asks.
    let server = site.start();
    let client = Client::plain(plain_address(&site));
    let path = format!("/api/certificates/crl/{}", id(&old));
    let again = client.header("accept", "application/x-pem-file").get(&path);
    fetch(folder, &format!("http://{}", plain_address(&site)), &format!("ca/{}", id(&old)), "old-again.der", "*/*");
    assert_eq!(again.status, 200, "{again:?}");
    let unknown = "/api/certificates/crl/018f3c5e-7b1a-7cc2-9d3e-0123456789ab";
    client.get(unknown).refused(404, "NOT_FOUND");
    client.get(&unknown.replace("crl", "ca")).refused(404, "NOT_FOUND");
    server.stop();
}

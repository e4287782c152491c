//! One certificate authority follows another by the operator's commands, while devices go on, and the server is restarted
//! and killed in between.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::client::Client;
use crate::proxy::Proxy;
use crate::server::{Server, Site};
use crate::walk::{beat, certified};

/// A site, its server, and an agent that reaches it by one address across restarts.
struct Scene<'s> {
    site: &'s Site,
    server: Option<Server<'s>>,
    proxy: Proxy,
    agent: Agent,
    old_root: String,
}

impl<'s> Scene<'s> {
    fn new(site: &'s Site) -> Self {
        let server = site.start();
        let proxy = Proxy::to(server.address);
        let agent = certified(&server, &server.admin(), &proxy.url());
        Self { site, server: Some(server), proxy, agent, old_root: site.ca_pem() }
    }

    fn server(&self) -> &Server<'s> {
        self.server.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.server.take().unwrap().stop();
        self.serve_again();
    }

    fn kill(&mut self) {
        let server = self.server.take().unwrap();
        server.kill();
        server.reap();
        self.serve_again();
    }

    fn serve_again(&mut self) {
        let server = self.site.start();
        self.proxy.redirect(server.address);
        self.server = Some(server);
    }

    /// The agent goes on by its certificate, and OpenSSL accepts that by the agent's own files.
    #[track_caller]
    fn holds(&self) {
        assert_eq!(beat(&self.agent)["authenticationMethod"], "Certificate");
        let [ca, leaf] = ["ca-cert.pem", "client-cert.pem"].map(|name| self.agent.certs().join(name));
        let verified = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"])
            .args([&ca, &leaf])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }

    /// Renews, into another certificate.
    #[track_caller]
    fn renew(&self) {
        let before = self.agent.serial_number();
        self.agent.run(&["renew-certificate"]).expect(0);
        assert_ne!(self.agent.serial_number(), before);
    }

    /// How many CA certificates the agent trusts.
    fn anchors(&self) -> usize {
        certificates(&fs::read_to_string(self.agent.certs().join("ca-cert.pem")).unwrap())
    }

    /// Whether a program that knows this root alone reaches the server.
    fn curl_accepts(&self, root_pem: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.pem");
        fs::write(&file, root_pem).unwrap();
        let url = format!("{}/api/certificates/ca", self.server().url());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20", "--cacert"]);
        curl.arg(&file).arg(url).output().unwrap().status.success()
    }

    #[track_caller]
    fn status(&self) -> Value {
        let output = self.site.run(&["ca", "status", "--output", "json"]);
        serde_json::from_slice(&done(output).stdout).unwrap()
    }

    /// The authorities' states, eldest first.
    #[track_caller]
    fn states(&self) -> Vec<String> {
        let status = self.status();
        let all = status["authorities"].as_array().unwrap();
        all.iter().map(|one| one["status"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn rotate(&self, arguments: &[&str]) -> String {
        text(done(self.site.run(&[&["ca", "rotate"], arguments].concat())).stdout)
    }

    #[track_caller]
    fn rotate_fails(&self, arguments: &[&str]) -> Output {
        let output = self.site.run(&[&["ca", "rotate"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        output
    }
}

#[track_caller]
fn done(output: Output) -> Output {
    assert!(output.status.success(), "{output:?}");
    output
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn certificates(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}

#[track_caller]
fn signer(file: &Path) -> String {
    let output = Command::new("openssl").args(["x509", "-noout", "-issuer", "-in"]).arg(file).output().unwrap();
    text(done(output).stdout)
}

#[test]
fn a_new_root_takes_over_and_no_device_is_enrolled_again() {
    let site = Site::new().with("ca.key_type", "ecdsa-p256");
    let mut scene = Scene::new(&site);
    let first = scene.agent.serial_number();
    assert!(scene.status()["nextStep"].as_str().unwrap().starts_with("nothing: "), "{}", scene.status());
    assert!(text(scene.rotate_fails(&["activate"]).stderr).contains("signalbeam ca rotate prepare"));
    assert!(text(scene.rotate_fails(&["retire"]).stderr).contains("signalbeam ca status"));

    let said = scene.rotate(&["prepare"]);
    assert!(said.contains("signalbeam ca rotate activate"), "{said}");
    assert!(text(scene.rotate_fails(&["prepare"]).stderr).contains("INVALID_STATE"));
    scene.kill();
    assert_eq!(scene.states(), ["Active", "Prepared"]);
    assert_eq!(scene.anchors(), 1);
    scene.holds();
    assert_eq!(scene.anchors(), 2, "the agent has asked what to trust");
    scene.restart();
    scene.holds();
    assert_eq!(scene.agent.serial_number(), first);

    let shown = scene.rotate_fails(&["activate"]);
    let shown = text(shown.stdout);
    assert!(shown.contains("Of 1 live certificates 0 were issued since") && shown.contains("--yes"), "{shown}");
    assert_eq!(scene.states(), ["Active", "Prepared"], "nothing was done");
    scene.rotate(&["activate", "--yes"]);
    scene.kill();
    assert_eq!(scene.states(), ["Rotated", "Active"]);
    assert!(scene.curl_accepts(&scene.old_root), "whoever knows the old root alone reaches the server");
    let path = format!("/api/certificates/{first}/renewal-info");
    let window = scene.server().admin().get(&path).expect(200)["suggestedWindow"].clone();
    let now = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap();
    assert!(window["start"].as_str().unwrap() <= now.as_str(), "{window} {now}");
    scene.holds();
    if scene.agent.serial_number() == first {
        assert!(text(scene.rotate_fails(&["retire"]).stderr).contains("1 certificates that it signed are in use"));
        scene.renew();
    }
    assert!(signer(&scene.agent.certs().join("client-cert.pem")).contains("SignalBeam Root CA 2"));
    scene.holds();
    scene.restart();
    scene.holds();

    scene.rotate(&["retire"]);
    scene.restart();
    assert_eq!(scene.states(), ["Retired", "Active"]);
    assert!(!scene.curl_accepts(&scene.old_root), "the server's certificate is the new root's");
    scene.holds();
    assert_eq!(scene.site.export().iter().filter(|event| event["type"] == "device.registered").count(), 1);
    let next = scene.status()["nextStep"].clone();
    assert!(next.as_str().unwrap().starts_with("nothing: "), "{next}");
    assert!(text(done(scene.site.run(&["ca", "status"])).stdout).contains("next: nothing: "));
}

#[test]
fn an_issuing_authority_takes_over_under_the_root_that_devices_know() {
    let site = Site::new().with("ca.key_type", "ecdsa-p256");
    let mut scene = Scene::new(&site);
    scene.rotate(&["prepare", "--hierarchy", "intermediate", "--key-type", "ecdsa-p384"]);
    scene.restart();
    scene.holds();
    let shown = text(scene.rotate_fails(&["activate"]).stdout);
    assert!(shown.contains("they need to learn nothing"), "{shown}");
    scene.rotate(&["activate", "--yes"]);
    scene.kill();
    scene.renew();
    scene.holds();
    assert!(signer(&scene.agent.certs().join("client-cert.pem")).contains("Issuing CA 2"));
    assert!(scene.curl_accepts(&scene.old_root));
    assert!(text(scene.rotate_fails(&["retire"]).stderr).contains("no certificate authority is on its way out"));
    assert_eq!(cacerts(scene.server()), 2);
    let doctored = site.run(&["doctor"]);
    assert_ne!(doctored.status.code(), Some(1), "{doctored:?}");
}

#[test]
fn an_installation_may_begin_with_an_issuing_authority() {
    let site = Site::new().with("ca.key_type", "ecdsa-p256").with("ca.hierarchy", "intermediate");
    let mut scene = Scene::new(&site);
    scene.holds();
    assert_eq!((scene.states(), scene.anchors()), (vec!["Prepared".to_owned(), "Active".to_owned()], 2));
    assert!(signer(&scene.agent.certs().join("client-cert.pem")).contains("Issuing CA 1"));
    assert_eq!(cacerts(scene.server()), 2);
    scene.restart();
    scene.holds();
    scene.rotate(&["prepare", "--new-root"]);
    scene.holds();
    scene.rotate(&["activate", "--yes"]);
    assert_eq!(cacerts(scene.server()), 4);
    scene.renew();
    scene.holds();
    assert!(scene.curl_accepts(&scene.old_root));
    scene.rotate(&["retire"]);
    scene.restart();
    scene.holds();
    // The root has nobody left for whom it vouched.
    scene.rotate(&["retire"]);
    scene.restart();
    assert_eq!(scene.states(), ["Retired", "Retired", "Prepared", "Active"]);
    assert!(!scene.curl_accepts(&scene.old_root));
    scene.holds();
}

/// How many certificates EST hands out.
fn cacerts(server: &Server<'_>) -> usize {
    let answer = server.anonymous().get("/.well-known/est/cacerts");
    assert_eq!(answer.status, 200, "{answer:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cacerts.p7");
    fs::write(&file, STANDARD.decode(answer.text().trim_end()).unwrap()).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["pkcs7", "-inform", "DER", "-print_certs", "-in"]).arg(&file);
    certificates(&text(done(openssl.output().unwrap()).stdout))
}

#[test]
fn two_first_starts_at_once_make_one_root_and_one_issuing_authority() {
    let site = Site::new().with("ca.key_type", "ecdsa-p256").with("ca.hierarchy", "intermediate");
    let server = std::thread::scope(|scope| {
        let one = scope.spawn(|| site.try_start());
        let other = site.try_start();
        match (one.join().unwrap(), other) {
            (Ok(server), Err(_)) | (Err(_), Ok(server)) => server,
            (one, other) => panic!("exactly one must serve: {:?} {:?}", one.err(), other.err()),
        }
    });
    server.stop();
    let server = site.start();
    let created = site.export().iter().filter(|event| event["type"] == "certificate_authority.created").count();
    assert_eq!(created, 2);
    let trusted = Client::new(server.address, &site.ca_pem(), None).get("/api/certificates/ca");
    assert_eq!(certificates(&trusted.text()), 2);
}

#[test]
fn without_a_server_the_authorities_are_shown_and_nothing_is_changed() {
    let site = Site::new().with("ca.key_type", "ecdsa-p256");
    let refused = site.run(&["ca", "status"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    site.start().stop();
    let shown: Value = serde_json::from_slice(&done(site.run(&["ca", "status", "--output", "json"])).stdout).unwrap();
    assert_eq!(shown["authorities"][0]["liveCertificates"], json!(0), "{shown}");
    let refused = site.run(&["ca", "rotate", "prepare"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(refused.stderr).contains("start it first (`signalbeam serve`)"));
    assert_eq!(site.run(&["ca", "rotate", "prepare", "--key-type", "rsa-1024"]).status.code(), Some(2));
    fs::remove_file(site.data_dir().join("projections.db")).unwrap();
    assert!(text(done(site.run(&["ca", "status"])).stdout).contains("unknown"));
}

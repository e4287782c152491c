//! A fleet moves over from another certificate authority, and is revoked as a whole.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::version::TLS13;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::device::{TENANT, by_certificate, identity};
use crate::keys::{Identity, key_and_request};
use crate::server::{Server, Site};
use crate::waiting::eventually;
use crate::wire::{Wire, config};

/// A certificate authority that was made by openssl.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem \
                    -subj '/O=Acme/CN=Acme Device CA' -days 3650";
        authority.run(make);
        authority
    }

    fn run(&self, script: &str) {
        let mut shell = Command::new("sh");
        let ended = shell.args(["-ec", script]).current_dir(self.0.path()).stderr(Stdio::null()).status().unwrap();
        assert!(ended.success(), "{script}");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A client's certificate that ends in 20 days: its window is open.
    fn issue(&self, name: &str, serial: u32) -> Identity {
        self.run(&format!(
            "printf 'extendedKeyUsage=clientAuth\n' > ext
             openssl req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj '/O=Acme/CN={name}'
             openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -set_serial {serial} -days 20 -extfile ext -out {name}.pem"
        ));
        let read = |extension: &str| fs::read_to_string(self.path().join(format!("{name}.{extension}"))).unwrap();
        Identity { key_pem: read("key"), certificate_pem: read("pem"), serial_number: String::new() }
    }
}

#[track_caller]
fn import(admin: &Client, certificates: &[&str]) -> Value {
    let certificates: Vec<_> = certificates.iter().map(|pem| json!({"certificate": pem})).collect();
    let body = json!({"tenantId": TENANT, "certificates": certificates});
    let answer = admin.post("/api/certificates/import", &body).expect(200);
    assert_eq!(answer["failed"], 0, "{answer}");
    answer
}

/// What openssl says of a handshake, in which it is told whose certificates are wanted.
fn handshake(server: &Server<'_>) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &server.address.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    String::from_utf8_lossy(&client.output().unwrap().stdout).into_owned()
}

#[test]
fn a_device_moves_over_by_the_certificate_that_it_has() {
    let (site, authority) = (Site::new(), Authority::new());
    let server = site.start();
    let admin = server.admin();
    let (press, stranger) = (authority.issue("press-7", 4), authority.issue("press-8", 4));
    assert!(!handshake(&server).contains("Acme Device CA"));
    let imported = import(&admin, &[&press.certificate_pem]);
    let result = &imported["results"][0];
    let (device_id, serial) = (result["deviceId"].as_str().unwrap(), result["serialNumber"].as_str().unwrap());
    eventually("clients are told that its authority's certificates are wanted", || {
        handshake(&server).contains("Acme Device CA").then_some(())
    });

    let heartbeat = format!("/api/devices/{device_id}/heartbeat");
    let by_press = by_certificate(&server, &press);
    let beat = by_press.post(&heartbeat, &json!({})).expect(200);
    assert_eq!(
        beat["certificate"],
        json!({"serialNumber": serial, "expiresAt": beat["certificate"]["expiresAt"], "renewalRequired": true})
    );
    let refused = by_certificate(&server, &stranger).post(&heartbeat, &json!({}));
    refused.refused(401, "INVALID_CERTIFICATE_CHAIN");

    fs::write(authority.path().join("ours.pem"), site.ca_pem()).unwrap();
    let mut curl = Command::new("curl");
    let url = format!("https://{}{heartbeat}", server.address);
    let options = ["-s", "--cacert", "ours.pem", "--cert", "press-7.pem", "--key", "press-7.key", "-X", "POST", &url];
    let said = curl.args(options).current_dir(authority.path()).output().unwrap().stdout;
    assert_eq!(serde_json::from_slice::<Value>(&said).unwrap()["certificate"]["serialNumber"], serial);

    let (key, csr) = key_and_request();
    let renewed = by_press.post(&format!("/api/certificates/{serial}/renew"), &json!({"csrPem": csr})).expect(201);
    let ours = identity(&renewed, &key.serialize_pem());
    by_certificate(&server, &ours).post(&heartbeat, &json!({})).expect(200);
    by_press.post(&heartbeat, &json!({})).refused(401, "CERTIFICATE_REVOKED");
    let shown = admin.get(&format!("/api/certificates/{serial}")).expect(200);
    let told = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
    assert_eq!([told("origin"), told("status"), told("foreignSerialNumber")], ["imported", "superseded", "04"]);
    assert_eq!((told("revocationReasonCode").as_str(), told("supersededBy")), ("superseded", ours.serial_number));
    eventually("its authority is not named any more", || {
        (!handshake(&server).contains("Acme Device CA")).then_some(())
    });
}

/// Devices with certificates of an authority that is made here.
fn fleet(number: usize) -> Vec<Identity> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Acme Device CA");
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    let issue = |number| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("press-{number}"));
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Identity { key_pem: key.serialize_pem(), certificate_pem: certificate.pem(), serial_number: String::new() }
    };
    (0..number).map(issue).collect()
}

#[test]
fn a_fleet_that_is_revoked_by_a_filter_is_out_before_the_answer_on_connections_that_are_open() {
    const FLEET: usize = 200;
    let site = Site::new().with("rate_limit.enabled", "false");
    let server = site.start();
    let admin = server.admin();
    let fleet = fleet(FLEET);
    let mut open = vec![];
    for part in fleet.chunks(100) {
        let pems: Vec<_> = part.iter().map(|one| one.certificate_pem.as_str()).collect();
        let imported = import(&admin, &pems);
        for (one, result) in part.iter().zip(imported["results"].as_array().unwrap()) {
            let heartbeat = format!("/api/devices/{}/heartbeat", result["deviceId"].as_str().unwrap());
            let mut wire = Wire::open(server.address, &config(&site.ca_pem(), Some(one), &[&TLS13])).unwrap();
            wire.post(&heartbeat).unwrap().expect(200);
            open.push((wire, heartbeat));
        }
    }
    let mut body = json!({"filter": {"tenantId": TENANT}, "reasonCode": "keyCompromise", "dryRun": true});
    assert_eq!(admin.post("/api/certificates/revoke", &body).expect(200)["count"], FLEET);
    body["dryRun"] = json!(false);
    let done = admin.post("/api/certificates/revoke", &body).expect(200);
    for (wire, heartbeat) in &mut open {
        wire.post(heartbeat).unwrap().refused(401, "CERTIFICATE_REVOKED");
    }
    assert_eq!((&done["count"], &done["complete"]), (&json!(FLEET), &json!(true)));
    let serial = done["certificates"][0]["serialNumber"].as_str().unwrap();
    let shown = admin.get(&format!("/api/certificates/{serial}")).expect(200);
    assert_eq!((&shown["status"], &shown["revocationReasonCode"]), (&json!("revoked"), &json!("keyCompromise")));
}

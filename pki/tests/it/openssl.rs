//! The certificates in the eyes of OpenSSL, which judges more strictly than any library that we use ourselves.

use std::path::Path;
use std::process::{Command, Output};

use rustls_pki_types::ServerName;
use signalbeam_pki::{
    CaKeyType, CertificateAuthority, DeviceCertificateRequest, DeviceKeyType, PublishedUrl, ServerCertificateRequest,
    ServiceKey,
};
use time::Duration;

use crate::fixture::{NOW, authority, device_key, request, serial, settings};

/// Runs `openssl` in a folder. `None` where it is not installed, which is a failure on a build server only.
#[allow(clippy::print_stderr, reason = "a skipped test must not look like a passed one")]
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> Option<Output> {
    match Command::new("openssl").current_dir(folder).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: this test needs the openssl command: {error}");
            None
        }
        Err(error) => panic!("this test needs the openssl command: {error}"),
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn verify(folder: &Path, purpose: &[&str], at: time::OffsetDateTime) -> Option<Output> {
    let at = at.unix_timestamp().to_string();
    let mut arguments = vec!["verify", "-x509_strict", "-check_ss_sig", "-attime", &at, "-CAfile", "ca.pem"];
    arguments.extend(purpose);
    arguments.push("leaf.pem");
    openssl(folder, &arguments)
}

fn folder_with(authority: &CertificateAuthority, leaf_pem: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
    std::fs::write(folder.path().join("leaf.pem"), leaf_pem).unwrap();
    folder
}

#[tokio::test]
async fn every_pair_of_root_and_device_key_verifies_strictly_for_clients_and_only_for_them() {
    for root in [CaKeyType::Rsa2048, CaKeyType::Rsa3072, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let authority = authority(settings(root)).await;
        for kind in [DeviceKeyType::Rsa2048, DeviceKeyType::EcdsaP256] {
            let (_, key) = device_key(kind).await;
            let issued = authority.issue_device(&request(&authority, key)).await.unwrap();
            let folder = folder_with(&authority, &issued.pem);
            let Some(client) = verify(folder.path(), &["-purpose", "sslclient"], NOW) else { return };
            assert!(client.status.success(), "{root} {kind:?}: {}", text(&client));
            let server = verify(folder.path(), &["-purpose", "sslserver"], NOW).unwrap();
            assert!(!server.status.success(), "{root} {kind:?} passed as a server's");
            let late = verify(folder.path(), &["-purpose", "sslclient"], NOW + Duration::days(91)).unwrap();
            assert!(text(&late).contains("expired"), "{root} {kind:?}: {}", text(&late));
        }
    }
}

#[tokio::test]
async fn a_run_of_serial_numbers_verifies_with_published_addresses() {
    let mut settings = settings(CaKeyType::EcdsaP256);
    settings.urls.crl = Some(PublishedUrl::parse("http://pki.example.com/crl").unwrap());
    settings.urls.ocsp = Some(PublishedUrl::parse("http://pki.example.com/ocsp").unwrap());
    let authority = authority(settings).await;
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    let folder = folder_with(&authority, "");
    let mut leaves = Vec::new();
    for seed in 0..=255 {
        let request = DeviceCertificateRequest { serial: serial(seed), ..request(&authority, key.clone()) };
        let name = format!("{seed}.pem");
        std::fs::write(folder.path().join(&name), authority.issue_device(&request).await.unwrap().pem).unwrap();
        leaves.push(name);
    }
    let at = NOW.unix_timestamp().to_string();
    let mut arguments = vec!["verify", "-x509_strict", "-attime", &at, "-CAfile", "ca.pem", "-purpose", "sslclient"];
    arguments.extend(leaves.iter().map(String::as_str));
    let Some(output) = openssl(folder.path(), &arguments) else { return };
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).matches(": OK").count(), leaves.len());
}

#[tokio::test]
async fn a_server_certificate_verifies_for_its_names_and_no_others() {
    for root in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256] {
        let authority = authority(settings(root)).await;
        let names = ["localhost", "127.0.0.1", "::1", "hub.example.com"];
        let names = names.map(|name| ServerName::try_from(name).unwrap().to_owned()).to_vec();
        let validity = authority.validity(NOW, ServerCertificateRequest::DEFAULT_DAYS);
        let request = ServerCertificateRequest { serial: serial(2), names, validity };
        let issued = authority.issue_server(&request, &ServiceKey::generate().unwrap()).await.unwrap();
        let folder = folder_with(&authority, &issued.chain_pem);
        for (name, expected) in [
            (["-verify_hostname", "localhost"], true),
            (["-verify_hostname", "hub.example.com"], true),
            (["-verify_ip", "127.0.0.1"], true),
            (["-verify_ip", "::1"], true),
            (["-verify_hostname", "example.com"], false),
            (["-verify_ip", "127.0.0.2"], false),
        ] {
            let purpose = [["-purpose", "sslserver"], name].concat();
            let Some(output) = verify(folder.path(), &purpose, NOW) else { return };
            assert_eq!(output.status.success(), expected, "{name:?}: {}", text(&output));
        }
        let client = verify(folder.path(), &["-purpose", "sslclient"], NOW).unwrap();
        assert!(!client.status.success(), "a server's certificate passed as a client's");
        std::fs::write(folder.path().join("key.pem"), issued.private_key.expose()).unwrap();
        let key = openssl(folder.path(), &["pkey", "-in", "key.pem", "-pubout"]).unwrap();
        let certified = openssl(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-pubkey"]).unwrap();
        assert_eq!(key.stdout, certified.stdout, "the key belongs to the certificate");
    }
}

#[tokio::test]
async fn openssl_shows_the_subject_as_it_is_written() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let folder = folder_with(&authority, "");
    let arguments = ["x509", "-in", "ca.pem", "-noout", "-subject", "-issuer"];
    let Some(output) = openssl(folder.path(), &arguments) else { return };
    let name = "CN = SignalBeam Root CA, O = SignalBeam, C = US";
    assert_eq!(text(&output), format!("subject={name}\nissuer={name}\n"));
}

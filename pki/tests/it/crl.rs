//! Revocation lists in the eyes of OpenSSL.

use std::path::Path;
use std::process::Output;

use signalbeam_domain::SerialNumber;
use signalbeam_pki::{
    AuthorityError, CaKeyType, CertificateAuthority, CrlEntry, DeviceCertificateRequest, DeviceKeyType, ReasonCode,
    RevocationList, SignedCrl,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::fixture::{NOW, authority, device_key, request, serial, settings};
use crate::openssl::openssl;

fn entry(seed: u8, reason: Option<ReasonCode>) -> CrlEntry {
    CrlEntry { serial_number: serial(seed), revoked_at: NOW - Duration::hours(2), reason }
}

fn list(number: u64, base_number: Option<u64>, entries: Vec<CrlEntry>) -> RevocationList {
    RevocationList {
        number,
        base_number,
        this_update: NOW - Duration::hours(1),
        next_update: NOW + Duration::hours(23),
        freshest_crl_url: base_number.is_none().then(|| "http://pki.example.com/delta".to_owned()),
        entries,
    }
}

async fn signed(authority: &CertificateAuthority, list: &RevocationList) -> SignedCrl {
    authority.sign_crl(&authority.crl_to_be_signed(list).unwrap()).await.unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn verify(folder: &Path, leaf: &str, crls: &[&str], more: &[&str]) -> Option<String> {
    let joined: String =
        crls.iter().map(|name| std::fs::read_to_string(folder.join(name)).unwrap()).collect::<Vec<_>>().concat();
    std::fs::write(folder.join("crls.pem"), joined).unwrap();
    let at = NOW.unix_timestamp().to_string();
    let mut arguments = vec!["verify", "-x509_strict", "-attime", &at, "-CAfile", "ca.pem", "-CRLfile", "crls.pem"];
    arguments.push("-crl_check");
    arguments.extend(more);
    arguments.push(leaf);
    openssl(folder, &arguments).map(|output| text(&output))
}

/// A folder with the authority and the certificates 1, 2 and 3.
async fn folder(authority: &CertificateAuthority) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    for seed in 1..=3 {
        let request = DeviceCertificateRequest { serial: serial(seed), ..request(authority, key.clone()) };
        let issued = authority.issue_device(&request).await.unwrap();
        std::fs::write(folder.path().join(format!("{seed}.pem")), issued.pem).unwrap();
    }
    folder
}

fn write(folder: &Path, name: &str, crl: &SignedCrl) {
    std::fs::write(folder.join(name), SignedCrl::pem(&crl.der)).unwrap();
}

#[tokio::test]
async fn a_list_verifies_and_refuses_what_it_names_with_every_kind_of_key() {
    for root in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let authority = authority(settings(root)).await;
        let folder = folder(&authority).await;
        let entries = vec![entry(1, None), entry(2, Some(ReasonCode::SUPERSEDED))];
        write(folder.path(), "crl.pem", &signed(&authority, &list(7, None, entries)).await);
        let verified = ["crl", "-in", "crl.pem", "-CAfile", "ca.pem", "-noout", "-verify"];
        let Some(verified) = openssl(folder.path(), &verified) else { return };
        assert!(text(&verified).contains("verify OK"), "{root}: {}", text(&verified));
        for revoked in ["1.pem", "2.pem"] {
            let verdict = verify(folder.path(), revoked, &["crl.pem"], &[]).unwrap();
            assert!(verdict.contains("certificate revoked"), "{root}: {verdict}");
        }
        let verdict = verify(folder.path(), "3.pem", &["crl.pem"], &[]).unwrap();
        assert!(verdict.contains("3.pem: OK"), "{root}: {verdict}");
    }
}

#[tokio::test]
async fn a_list_without_entries_verifies() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let folder = folder(&authority).await;
    write(folder.path(), "crl.pem", &signed(&authority, &list(1, None, vec![])).await);
    let Some(verdict) = verify(folder.path(), "1.pem", &["crl.pem"], &[]) else { return };
    assert!(verdict.contains("1.pem: OK"), "{verdict}");
    let shown = openssl(folder.path(), &["crl", "-in", "crl.pem", "-noout", "-text"]).unwrap();
    assert!(text(&shown).contains("No Revoked Certificates"), "{}", text(&shown));
}

#[tokio::test]
async fn a_delta_adds_to_its_base_and_takes_off_it() {
    let authority = authority(settings(CaKeyType::Rsa2048)).await;
    let folder = folder(&authority).await;
    let base = list(7, None, vec![entry(1, None), entry(3, None)]);
    let delta = list(9, Some(7), vec![entry(2, None), entry(3, Some(ReasonCode::REMOVE_FROM_CRL))]);
    write(folder.path(), "base.pem", &signed(&authority, &base).await);
    write(folder.path(), "delta.pem", &signed(&authority, &delta).await);
    let with_delta = |leaf| {
        let more = ["-use_deltas", "-extended_crl"];
        verify(folder.path(), leaf, &["base.pem", "delta.pem"], &more)
    };
    let Some(on_base) = with_delta("1.pem") else { return };
    assert!(on_base.contains("certificate revoked"), "{on_base}");
    let on_delta = with_delta("2.pem").unwrap();
    assert!(on_delta.contains("certificate revoked"), "{on_delta}");
    let taken_off = with_delta("3.pem").unwrap();
    assert!(taken_off.contains("3.pem: OK"), "{taken_off}");
    let base_alone = verify(folder.path(), "2.pem", &["base.pem"], &[]).unwrap();
    assert!(base_alone.contains("2.pem: OK"), "{base_alone}");
}

#[tokio::test]
async fn a_list_says_all_that_it_should() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let folder = folder(&authority).await;
    let entries = vec![entry(1, Some(ReasonCode::SUPERSEDED)), entry(2, None)];
    write(folder.path(), "crl.pem", &signed(&authority, &list(0x80, None, entries)).await);
    let arguments = ["crl", "-in", "crl.pem", "-noout", "-text", "-crlnumber"];
    let Some(shown) = openssl(folder.path(), &arguments) else { return };
    let shown = text(&shown);
    for expected in [
        "Version 2 (0x1)",
        "Issuer: CN = SignalBeam Root CA, O = SignalBeam, C = US",
        "Last Update: Jun  1 11:00:00 2025 GMT",
        "Next Update: Jun  2 11:00:00 2025 GMT",
        "X509v3 Authority Key Identifier",
        "X509v3 CRL Number: \n                128",
        "X509v3 Freshest CRL",
        "URI:http://pki.example.com/delta",
        "Revocation Date: Jun  1 10:00:00 2025 GMT",
        "X509v3 CRL Reason Code: \n                Superseded",
        "crlNumber=0x80",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert_eq!(shown.matches("Reason Code").count(), 1, "nothing stands for a reason that was not said");
    write(folder.path(), "delta.pem", &signed(&authority, &list(0x81, Some(0x80), vec![])).await);
    let shown = text(&openssl(folder.path(), &["crl", "-in", "delta.pem", "-noout", "-text"]).unwrap());
    assert!(shown.contains("X509v3 Delta CRL Indicator: critical\n                128"), "{shown}");
    assert!(!shown.contains("Freshest"), "{shown}");
}

#[tokio::test]
async fn a_list_beyond_the_year_2049_verifies() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let folder = folder(&authority).await;
    let far = RevocationList { next_update: datetime!(2050-01-01 00:00 UTC), ..list(1, None, vec![]) };
    write(folder.path(), "crl.pem", &signed(&authority, &far).await);
    let Some(shown) = openssl(folder.path(), &["crl", "-in", "crl.pem", "-noout", "-nextupdate"]) else { return };
    assert!(text(&shown).contains("nextUpdate=Jan  1 00:00:00 2050 GMT"), "{}", text(&shown));
}

#[tokio::test]
async fn the_same_list_is_made_again_out_of_its_signature() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let entries: Vec<_> = (0..200).map(|seed| entry(seed, None)).collect();
    let list = list(5, None, entries);
    let first = signed(&authority, &list).await;
    let octets = authority.crl_to_be_signed(&list).unwrap();
    assert_eq!(authority.signed_before(&octets, first.signature.clone()).unwrap(), first);
    let other = RevocationList { number: 6, ..list };
    let octets = authority.crl_to_be_signed(&other).unwrap();
    assert!(matches!(authority.signed_before(&octets, first.signature), Err(AuthorityError::BadSignature)));
}

#[tokio::test]
async fn a_large_list_is_read_whole() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let folder = folder(&authority).await;
    let serial_number = |index: u32| {
        let mut octets = [0x55; 20];
        octets[16..].copy_from_slice(&index.to_be_bytes());
        SerialNumber::from_octets(octets).unwrap()
    };
    let revoked_at: OffsetDateTime = NOW - Duration::days(1);
    let mut entries: Vec<_> =
        (0..20_000).map(|index| CrlEntry { serial_number: serial_number(index), revoked_at, reason: None }).collect();
    entries.push(entry(3, None));
    write(folder.path(), "crl.pem", &signed(&authority, &list(1, None, entries)).await);
    let Some(revoked) = verify(folder.path(), "3.pem", &["crl.pem"], &[]) else { return };
    assert!(revoked.contains("certificate revoked"), "{revoked}");
    assert!(verify(folder.path(), "1.pem", &["crl.pem"], &[]).unwrap().contains("OK"));
}

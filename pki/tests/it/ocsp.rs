//! OCSP in the eyes of OpenSSL, and requests of every wrong shape.

use std::path::Path;

use proptest::prelude::*;
use signalbeam_pki::ReasonCode;
use signalbeam_pki::ocsp::{
    CertificateStatus, HashAlgorithm, MalformedRequest, OcspAnswer, OcspFailure, OcspRequest, OcspSigner, SingleAnswer,
};
use signalbeam_pki::{CaKeyType, CertificateAuthority, DeviceKeyType, ServiceKey};
use time::Duration;

use crate::fixture::{NOW, authority, device_key, request, serial, settings, tlv};
use crate::openssl::openssl;

const NONCE_OID: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
const SHA1_OID: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];

async fn signer(authority: &CertificateAuthority) -> OcspSigner {
    let key = ServiceKey::generate().unwrap();
    authority.issue_ocsp_signer(&key, serial(9), authority.validity(NOW, 7)).await.unwrap()
}

fn extension(oid: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { tlv(1, &[0xff]) } else { vec![] };
    tlv(0x30, &[tlv(6, oid), critical, tlv(4, value)].concat())
}

fn extensions(list: &[Vec<u8>]) -> Vec<u8> {
    tlv(0xa2, &tlv(0x30, &list.concat()))
}

fn cert_id(serial: &[u8]) -> Vec<u8> {
    let algorithm = tlv(0x30, &[tlv(6, SHA1_OID), tlv(5, &[])].concat());
    tlv(0x30, &[algorithm, tlv(4, &[1; 20]), tlv(4, &[2; 20]), tlv(2, serial)].concat())
}

/// A request about these certificates, with whatever follows them.
fn request_of(ids: &[Vec<u8>], more: &[u8]) -> Vec<u8> {
    let list: Vec<u8> = ids.iter().flat_map(|id| tlv(0x30, id)).collect();
    tlv(0x30, &tlv(0x30, &[tlv(0x30, &list), more.to_vec()].concat()))
}

fn nonce_of(octets: &[u8]) -> Vec<u8> {
    extensions(&[extension(NONCE_OID, false, &tlv(4, octets))])
}

fn is_malformed(der: &[u8]) -> bool {
    OcspRequest::parse(der) == Err(MalformedRequest)
}

#[test]
fn a_plain_request_is_read_whole() {
    let id = cert_id(&[0x7f; 20]);
    let der = request_of(std::slice::from_ref(&id), &nonce_of(&[5; 32]));
    let read = OcspRequest::parse(&der).unwrap();
    assert_eq!(read.nonce, Some([5; 32].as_slice()));
    let [only] = read.certificates.as_slice() else { panic!("one certificate") };
    assert_eq!(only.der, id);
    assert_eq!(only.hash_algorithm, Some(HashAlgorithm::Sha1));
    assert_eq!((only.issuer_name_hash, only.issuer_key_hash), ([1; 20].as_slice(), [2; 20].as_slice()));
    assert_eq!(only.serial_number.unwrap().as_octets(), &[0x7f; 20]);
}

#[test]
fn a_serial_number_that_no_certificate_has_is_asked_about_and_not_refused() {
    let parsed =
        |serial: &[u8]| OcspRequest::parse(&request_of(&[cert_id(serial)], &[])).unwrap().certificates[0].serial_number;
    assert_eq!(parsed(&[5]).unwrap().as_octets()[19], 5);
    for no_serial in [&[0x80; 20][..], &[0], &[0xff], &[0x40; 21], &[0x40; 300]] {
        assert_eq!(parsed(no_serial), None, "{no_serial:x?}");
    }
    assert!(is_malformed(&request_of(&[cert_id(&[])], &[])), "no octets");
    assert!(is_malformed(&request_of(&[cert_id(&[0, 5])], &[])), "a needless zero");
    assert!(is_malformed(&request_of(&[cert_id(&[0xff, 0x80])], &[])), "a needless sign");
}

#[test]
fn bounds_are_kept() {
    let id = cert_id(&[1]);
    let many = |number| request_of(&vec![id.clone(); number], &[]);
    assert_eq!(OcspRequest::parse(&many(16)).unwrap().certificates.len(), 16);
    assert!(is_malformed(&many(17)));
    assert!(is_malformed(&many(0)));
    assert!(OcspRequest::parse(&request_of(std::slice::from_ref(&id), &nonce_of(&[1; 128]))).is_ok());
    for length in [0, 129, 2_000] {
        assert!(is_malformed(&request_of(std::slice::from_ref(&id), &nonce_of(&vec![1; length]))), "{length}");
    }
    assert!(is_malformed(&[request_of(&[cert_id(&[1; 8_300])], &[])].concat()), "too many octets");
}

#[test]
fn what_is_no_der_request_is_malformed() {
    let id = cert_id(&[1]);
    let good = request_of(std::slice::from_ref(&id), &[]);
    assert!(OcspRequest::parse(&good).is_ok());
    let twice = [good.clone(), good.clone()].concat();
    let indefinite = [&[0x30, 0x80][..], &good[2..], &[0, 0]].concat();
    let critical = request_of(std::slice::from_ref(&id), &extensions(&[extension(&[0x2a, 3], true, &[5, 0])]));
    let repeated = vec![extension(NONCE_OID, false, &tlv(4, &[1])); 2];
    let repeated = request_of(std::slice::from_ref(&id), &extensions(&repeated));
    let bare_nonce = request_of(std::slice::from_ref(&id), &extensions(&[extension(NONCE_OID, false, &[1, 2, 3])]));
    let version_2 = {
        let list = tlv(0x30, &tlv(0x30, &id));
        tlv(0x30, &tlv(0x30, &[tlv(0xa0, &tlv(2, &[1])), list].concat()))
    };
    let parameters = {
        let algorithm = tlv(0x30, &[tlv(6, SHA1_OID), tlv(2, &[1])].concat());
        request_of(&[tlv(0x30, &[algorithm, tlv(4, &[1; 20]), tlv(4, &[2; 20]), tlv(2, &[1])].concat())], &[])
    };
    for bad in [vec![], vec![0x30, 0], twice, indefinite, critical, repeated, bare_nonce, version_2, parameters] {
        assert!(is_malformed(&bad), "{bad:02x?}");
    }
    for end in 0..good.len() {
        assert!(is_malformed(&good[..end]), "cut at {end}");
    }
}

#[test]
fn what_may_stand_in_a_request_does_not_disturb() {
    let id = cert_id(&[1]);
    let list =
        tlv(0x30, &tlv(0x30, &[id.clone(), tlv(0xa0, &tlv(0x30, &extension(&[0x2a, 3], false, &[5, 0])))].concat()));
    let requestor = tlv(0xa1, &tlv(0xa4, &tlv(0x30, &[])));
    let version = tlv(0xa0, &tlv(2, &[0]));
    let preferred = extension(&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 8], true, &tlv(0x30, &[]));
    let to_be_signed = tlv(0x30, &[version, requestor, list, extensions(&[preferred])].concat());
    let signature = tlv(0xa0, &tlv(0x30, &[tlv(0x30, &tlv(6, SHA1_OID)), tlv(3, &[0, 1])].concat()));
    let der = tlv(0x30, &[to_be_signed.clone(), signature].concat());
    assert_eq!(OcspRequest::parse(&der).unwrap().certificates[0].der, id);
    let broken_signature = tlv(0xa0, &tlv(0x30, &tlv(3, &[0, 1])));
    assert!(is_malformed(&tlv(0x30, &[to_be_signed, broken_signature].concat())));
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = OcspRequest::parse(&octets);
    }

    #[test]
    fn a_changed_request_is_read_within_bounds_or_refused(at in 0_usize..150, value in any::<u8>()) {
        let mut der = request_of(&[cert_id(&[1; 20])], &nonce_of(&[7; 32]));
        let at = at % der.len();
        der[at] = value;
        if let Ok(read) = OcspRequest::parse(&der) {
            prop_assert!((1..=16).contains(&read.certificates.len()));
            prop_assert!(read.nonce.is_none_or(|nonce| (1..=128).contains(&nonce.len())));
        }
    }
}

#[test]
fn failures_are_whole_responses() {
    for (failure, number) in [
        (OcspFailure::MalformedRequest, 1),
        (OcspFailure::InternalError, 2),
        (OcspFailure::TryLater, 3),
        (OcspFailure::Unauthorized, 6),
    ] {
        assert_eq!(failure.der(), tlv(0x30, &tlv(0x0a, &[number])));
    }
}

fn write(folder: &Path, name: &str, octets: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), octets).unwrap();
}

/// What OpenSSL says of an answer to its own request about `leaf.pem`, trusting `ca.pem` alone.
async fn judged(root: CaKeyType, status: CertificateStatus, options: &[&str]) -> Option<String> {
    let authority = authority(settings(root)).await;
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    let leaf = authority.issue_device(&request(&authority, key)).await.unwrap();
    let signer = signer(&authority).await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "ca.pem", authority.certificate_pem());
    write(folder.path(), "leaf.pem", &leaf.pem);
    write(folder.path(), "signer.pem", &signer.certificate().pem);
    let mut arguments = vec!["ocsp", "-issuer", "ca.pem"];
    arguments.extend(options);
    arguments.extend(["-cert", "leaf.pem", "-reqout", "request.der"]);
    let made = openssl(folder.path(), &arguments)?;
    assert!(made.status.success(), "{made:?}");
    let asked = std::fs::read(folder.path().join("request.der")).unwrap();
    let asked = OcspRequest::parse(&asked).unwrap();
    let id = asked.certificates[0];
    assert!(authority.ocsp_issuer().is_named_by(&id));
    assert_eq!(id.serial_number, Some(leaf.serial));
    let answer = signer.sign(&OcspAnswer {
        produced_at: NOW,
        next_update: NOW + Duration::hours(1),
        certificates: &[SingleAnswer { cert_id: id.der, status, this_update: NOW }],
        nonce: asked.nonce,
    });
    write(folder.path(), "answer.der", answer.unwrap());
    let at = NOW.unix_timestamp().to_string();
    let chain = openssl(
        folder.path(),
        &["verify", "-x509_strict", "-purpose", "ocsphelper", "-attime", &at, "-CAfile", "ca.pem", "signer.pem"],
    )?;
    assert!(chain.status.success(), "{chain:?}");
    let mut arguments = vec!["ocsp", "-reqin", "request.der", "-respin", "answer.der", "-CAfile", "ca.pem"];
    arguments.extend(["-attime", &at, "-resp_text"]);
    let output = openssl(folder.path(), &arguments)?;
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn openssl_believes_the_delegated_signer_whatever_the_authoritys_key() {
    for root in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let Some(said) = judged(root, CertificateStatus::Good, &["-no_nonce"]).await else { return };
        assert!(said.contains("Response verify OK"), "{said}");
        assert!(said.contains("Cert Status: good"), "{said}");
        assert!(said.contains("OCSP No Check"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
    }
}

#[tokio::test]
async fn openssl_reads_revocations_and_what_is_unknown_under_every_hash() {
    for hash in ["-sha1", "-sha256", "-sha384", "-sha512"] {
        let revoked = CertificateStatus::Revoked { at: NOW - Duration::hours(2), reason: Some(ReasonCode::SUPERSEDED) };
        let Some(said) = judged(CaKeyType::EcdsaP256, revoked, &[hash]).await else { return };
        assert!(said.contains("Response verify OK"), "{said}");
        assert!(said.contains("Revocation Reason: superseded (0x4)"), "{said}");
        assert!(said.contains("Revocation Time: Jun  1 10:00:00 2025 GMT"), "{said}");
        assert!(said.contains("OCSP Nonce"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
    }
    let silent = CertificateStatus::Revoked { at: NOW, reason: None };
    let Some(said) = judged(CaKeyType::EcdsaP256, silent, &["-no_nonce"]).await else { return };
    assert!(said.contains("Cert Status: revoked") && !said.contains("Revocation Reason"), "{said}");
    let Some(said) = judged(CaKeyType::EcdsaP256, CertificateStatus::Unknown, &["-no_nonce"]).await else { return };
    assert!(said.contains("Response verify OK") && said.contains("Cert Status: unknown"), "{said}");
}

#[tokio::test]
async fn an_authority_answers_to_its_own_name_and_key_only() {
    let (ours, other) =
        (authority(settings(CaKeyType::EcdsaP256)).await, authority(settings(CaKeyType::EcdsaP256)).await);
    let der = request_of(&[cert_id(&[1])], &[]);
    let parsed = OcspRequest::parse(&der).unwrap();
    assert!(!ours.ocsp_issuer().is_named_by(&parsed.certificates[0]));
    assert_eq!(ours.subject(), other.subject(), "the name alone does not tell them apart");
}

#[tokio::test]
async fn no_signer_outlives_its_authority() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let late = authority.own_validity().not_after - Duration::days(1);
    let key = ServiceKey::generate().unwrap();
    let signer = authority.issue_ocsp_signer(&key, serial(9), authority.validity(late, 7)).await.unwrap();
    assert_eq!(signer.certificate().validity.not_after, authority.own_validity().not_after);
    assert_eq!(signer.certificate().subject, CertificateAuthority::OCSP_SIGNER_SUBJECT);
    assert_eq!(signer.certificate().public_key_sha256, key.public_key_sha256());
    assert!(!format!("{signer:?} {key:?}").contains("pkcs8"));
}

//! The envelopes and requests of EST, in the eyes of OpenSSL too.

use rcgen::{Attribute, CertificateParams, DnType, DnValue, KeyPair};
use signalbeam_pki::enrolment::{RequestFacts, csr_attributes};
use signalbeam_pki::{CaKeyType, CsrError, DeviceKeyAlgorithm, DeviceKeyType, cms};

use crate::fixture::{authority, device_key, request, settings};
use crate::openssl::openssl;

#[tokio::test]
async fn openssl_finds_every_certificate_in_the_envelope() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    let issued = authority.issue_device(&request(&authority, key)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (certificates, subjects) in
        [(vec![authority.certificate_der()], 1), (vec![issued.der.as_slice(), authority.certificate_der()], 2)]
    {
        std::fs::write(folder.path().join("certs.p7"), cms::certs_only(certificates)).unwrap();
        let read = ["pkcs7", "-inform", "DER", "-in", "certs.p7", "-print_certs", "-noout"];
        let Some(output) = openssl(folder.path(), &read) else { return };
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.matches("subject=").count(), subjects, "{text}");
        let cms = openssl(folder.path(), &["cms", "-cmsout", "-print", "-inform", "DER", "-in", "certs.p7"]).unwrap();
        let text = String::from_utf8(cms.stdout).unwrap();
        assert!(cms.status.success() && text.contains("pkcs7-signedData"), "{text}");
        assert!(text.contains("eContent: <ABSENT>") && text.contains("signerInfos:\n      <EMPTY>"), "{text}");
    }
}

#[test]
fn openssl_reads_what_a_request_should_be_made_of() {
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, wanted) in [
        (DeviceKeyAlgorithm::EcdsaP256, ["ecdsa-with-SHA256", "id-ecPublicKey", "prime256v1"]),
        (DeviceKeyAlgorithm::Rsa, ["sha256WithRSAEncryption", ":rsaEncryption", ":0800"]),
    ] {
        std::fs::write(folder.path().join("attributes.der"), csr_attributes(algorithm)).unwrap();
        let Some(output) = openssl(folder.path(), &["asn1parse", "-inform", "DER", "-in", "attributes.der"]) else {
            return;
        };
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && wanted.iter().all(|name| text.contains(name)), "{text}");
    }
}

fn named(name: Option<DnValue>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn a_request_says_its_name() {
    let name = |value| RequestFacts::from_csr_der(&named(value)).unwrap().common_name;
    assert_eq!(name(Some(DnValue::Utf8String("Halle 3".to_owned()))), Some("Halle 3".to_owned()));
    assert_eq!(name(Some(DnValue::PrintableString("sensor".try_into().unwrap()))), Some("sensor".to_owned()));
    assert_eq!(name(None), None);
}

/// A request with an attribute whose set holds one octet string.
fn with_attribute(oid: &'static [u64]) -> Vec<u8> {
    let attribute = Attribute { oid, values: vec![0x31, 0x03, 0x04, 0x01, 0x07] };
    let params = CertificateParams::default();
    let key = KeyPair::generate().unwrap();
    params.serialize_request_with_attributes(&key, vec![attribute]).unwrap().der().to_vec()
}

#[test]
fn a_wish_for_an_encrypted_key_is_seen() {
    let wants = |der: &[u8]| RequestFacts::from_csr_der(der).unwrap().wants_encrypted_key;
    assert!(wants(&with_attribute(&[1, 2, 840, 113_549, 1, 9, 16, 2, 37])));
    assert!(wants(&with_attribute(&[1, 2, 840, 113_549, 1, 9, 16, 2, 54])));
    assert!(!wants(&with_attribute(&[1, 2, 840, 113_549, 1, 9, 15])));
    assert!(!wants(&named(None)));
}

#[test]
fn what_is_no_request_is_refused() {
    let good = named(None);
    for bad in [vec![], b"MIIB".to_vec(), good[..good.len() - 1].to_vec(), [good, vec![0]].concat(), vec![0x30; 20_000]]
    {
        assert!(matches!(RequestFacts::from_csr_der(&bad), Err(CsrError::InvalidCsr(_))));
    }
}

//! Keys that are made here: in one answer, and nowhere else.

use rcgen::{Attribute, CertificateParams, PublicKeyData as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use signalbeam_authn::ErrorCode;

use super::*;
use crate::world::{TENANT_A, World};

/// The bodies of an answer in two parts, each with its media type.
fn parts(answer: Answer) -> Vec<(String, String)> {
    let content_type = answer.headers["content-type"].to_str().unwrap().to_owned();
    let boundary = content_type.strip_prefix("multipart/mixed; boundary=").unwrap();
    let body = answer.expect(200).as_str().unwrap().to_owned();
    let body = body.strip_suffix(&format!("--{boundary}--\r\n")).unwrap();
    let separator = format!("--{boundary}\r\n");
    let parts = body.split(&separator).skip(1);
    let parts = parts.map(|part| {
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nContent-Transfer-Encoding: base64"), "{head}");
        let content_type = head.lines().next().unwrap().strip_prefix("Content-Type: ").unwrap();
        (content_type.to_owned(), body.strip_suffix("\r\n").unwrap().to_owned())
    });
    parts.collect()
}

#[tokio::test]
async fn a_key_and_its_certificate_come_together_and_the_key_is_kept_nowhere() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let own = KeyPair::generate().unwrap();
    let ask = || world.post(SERVER_KEY).basic_device(&device).asking(&request_over(&own));
    let mut seen = vec![];
    for _ in 0..2 {
        let answer = ask().send().await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        let parts = parts(answer);
        assert_eq!(parts[0].0, "application/pkcs8");
        assert_eq!(parts[1].0, "application/pkcs7-mime; smime-type=certs-only");
        assert_eq!(parts.len(), 2);
        let key = STANDARD.decode(&parts[0].1).unwrap();
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), &rcgen::PKCS_RSA_SHA256);
        let certificate = world.shown(&device, enveloped(&parts[1].1)).await;
        let has = |key: &[u8]| certificate.der.windows(key.len()).any(|window| window == key);
        assert!(has(pair.unwrap().der_bytes()), "the certificate is for the key beside it");
        assert!(!has(own.der_bytes()), "and not for the request's");
        world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
        let log = format!("{:?}", world.log().await);
        assert!(!log.contains(&parts[0].1[..64]));
        seen.push(parts[0].1.clone());
    }
    assert_ne!(seen[0], seen[1], "another key each time");
}

#[tokio::test]
async fn the_requests_own_signature_is_not_looked_at() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let mut der = STANDARD.decode(request()).unwrap();
    *der.last_mut().unwrap() ^= 1;
    let ask = |route: &str| world.post(route).basic_device(&device).asking(&STANDARD.encode(&der));
    ask(ENROL).send().await.problem(ErrorCode::InvalidCsr);
    assert_eq!(parts(ask(SERVER_KEY).send().await).len(), 2);
}

#[tokio::test]
async fn a_key_that_shall_be_encrypted_beyond_tls_is_not_made() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let attribute =
        Attribute { oid: &[1, 2, 840, 113_549, 1, 9, 16, 2, 37], values: vec![0x31, 0x03, 0x04, 0x01, 0x07] };
    let request = CertificateParams::default()
        .serialize_request_with_attributes(&KeyPair::generate().unwrap(), vec![attribute])
        .unwrap();
    let asked = world.post(SERVER_KEY).basic_device(&device).asking(&STANDARD.encode(request.der())).send().await;
    let detail = asked.problem(ErrorCode::InvalidCsr)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("encrypted"), "{detail}");
    assert!(world.types(&device.certificates()).await.is_empty());
}

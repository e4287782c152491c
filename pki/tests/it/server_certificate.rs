//! The listener's own certificate, and when it is replaced.

use rustls_pki_types::ServerName;
use signalbeam_pki::{
    AuthorityError, CaKeyType, CertificateAuthority, RenewalReason, ServerCertificateRequest, ServiceKey,
    server_certificate_needs_renewal,
};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fixture::{NOW, authority, device_key, request, serial, settings};

fn names(names: &[&str]) -> Vec<ServerName<'static>> {
    names.iter().map(|name| ServerName::try_from(*name).unwrap().to_owned()).collect()
}

async fn issue(authority: &CertificateAuthority, wanted: &[&str]) -> signalbeam_pki::IssuedServerCertificate {
    let validity = authority.validity(NOW, ServerCertificateRequest::DEFAULT_DAYS);
    let request = ServerCertificateRequest { serial: serial(2), names: names(wanted), validity };
    authority.issue_server(&request, &ServiceKey::generate().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_server_certificate_is_for_servers_only_and_for_its_names() {
    let authority = authority(settings(CaKeyType::Rsa2048)).await;
    let issued = issue(&authority, &["localhost", "127.0.0.1", "::1"]).await;
    let (_, leaf) = X509Certificate::from_der(&issued.certificate.der).unwrap();
    assert_eq!(leaf.subject().to_string(), "CN=SignalBeam server, O=SignalBeam");
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.to_string(), "Digital Signature");
    let usages = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usages.server_auth && !usages.client_auth && !usages.any);
    let mut loopback6 = [0; 16];
    loopback6[15] = 1;
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    let expected = [
        GeneralName::DNSName("localhost"),
        GeneralName::IPAddress(&[127, 0, 0, 1]),
        GeneralName::IPAddress(&loopback6),
    ];
    assert_eq!(names[..], expected);
    assert_eq!(issued.chain_der.len(), 1, "nobody needs to be sent a root");
    assert_eq!(issued.chain_pem, issued.certificate.pem);
    assert_eq!(issued.private_key_der().unwrap().secret_pkcs8_der()[0], 0x30);
    let body = issued.private_key.expose().lines().nth(1).unwrap().to_owned();
    assert!(!format!("{issued:?}").contains(&body), "a private key must not print");
}

#[tokio::test]
async fn a_server_certificate_without_names_is_refused() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let request = ServerCertificateRequest { serial: serial(2), names: vec![], validity: authority.validity(NOW, 90) };
    assert!(matches!(
        authority.issue_server(&request, &ServiceKey::generate().unwrap()).await,
        Err(AuthorityError::NoServerName)
    ));
}

#[tokio::test]
async fn it_is_renewed_for_each_good_reason_and_no_other() {
    let ours = authority(settings(CaKeyType::EcdsaP256)).await;
    let foreign = authority(settings(CaKeyType::EcdsaP256)).await;
    let der = issue(&ours, &["localhost", "127.0.0.1"]).await.certificate.der;
    let wanted = names(&["localhost", "127.0.0.1"]);
    let judge = |now: OffsetDateTime| server_certificate_needs_renewal(&der, now, &wanted, &ours);
    assert_eq!(judge(NOW), None);
    assert_eq!(judge(NOW + Duration::days(59)), None);
    assert_eq!(judge(NOW + Duration::days(61)), Some(RenewalReason::Ageing));
    assert_eq!(judge(NOW + Duration::days(100)), Some(RenewalReason::Ageing));
    assert_eq!(judge(NOW - Duration::days(1)), Some(RenewalReason::NotYetValid));
    let fewer = names(&["127.0.0.1"]);
    assert_eq!(server_certificate_needs_renewal(&der, NOW, &fewer, &ours), None, "a name too many does no harm");
    for missing in ["hub.example.com", "::1"] {
        let more = names(&["localhost", missing]);
        assert_eq!(server_certificate_needs_renewal(&der, NOW, &more, &ours), Some(RenewalReason::NameMissing));
    }
    assert_eq!(server_certificate_needs_renewal(&der, NOW, &wanted, &foreign), Some(RenewalReason::NotOurs));
    assert_eq!(server_certificate_needs_renewal(b"x", NOW, &wanted, &ours), Some(RenewalReason::Unreadable));
    let (_, key) = device_key(signalbeam_pki::DeviceKeyType::EcdsaP256).await;
    let device = ours.issue_device(&request(&ours, key)).await.unwrap().der;
    assert_eq!(server_certificate_needs_renewal(&device, NOW, &[], &ours), Some(RenewalReason::NotOurs));
}

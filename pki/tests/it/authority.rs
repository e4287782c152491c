//! What stands in the certificates, field by field, and when they hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use signalbeam_domain::SerialNumber;
use signalbeam_pki::{
    AuthorityError, AuthoritySettings, BlockingPool, CaKeyStore, CaKeyType, CertificateAuthority,
    DeviceCertificateRequest, DeviceKeyType, FileKeyStore, IssuedCertificate, MemoryKeyStore, PublishedUrl,
    TrustDomain, Validity, fingerprint,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::fixture::{DEVICE, Forge, NOW, authority, device_key, request, serial, settings, spiffe_id};

fn parse(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    certificate
}

/// Each extension's object identifier, with `!` where it is critical.
fn extensions(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let name = |oid: String, critical: bool| if critical { format!("{oid}!") } else { oid };
    certificate.extensions().iter().map(|extension| name(extension.oid.to_id_string(), extension.critical)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

const SUBJECT_KEY_ID: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15!";
const ALTERNATIVE_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19!";
const CRL_DISTRIBUTION: &str = "2.5.29.31";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const AUTHORITY_INFO: &str = "1.3.6.1.5.5.7.1.1";

fn subject_key_id<'a>(certificate: &'a X509Certificate<'_>) -> &'a [u8] {
    let mut ids = certificate.iter_extensions().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    ids.next().unwrap()
}

fn authority_key_id<'a>(certificate: &'a X509Certificate<'_>) -> &'a [u8] {
    let mut ids = certificate.iter_extensions().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    ids.next().unwrap()
}

#[tokio::test]
async fn the_root_is_what_was_specified() {
    for (key_type, signature, key_bits) in [
        (CaKeyType::Rsa2048, "1.2.840.113549.1.1.11", 2048),
        (CaKeyType::Rsa3072, "1.2.840.113549.1.1.11", 3072),
        (CaKeyType::EcdsaP256, "1.2.840.10045.4.3.2", 256),
        (CaKeyType::EcdsaP384, "1.2.840.10045.4.3.3", 384),
    ] {
        let authority = authority(settings(key_type)).await;
        let root = parse(authority.certificate_der());
        assert_eq!(root.version(), X509Version::V3);
        assert_eq!(root.subject().to_string(), "CN=SignalBeam Root CA, O=SignalBeam, C=US");
        assert_eq!(authority.subject(), root.subject().to_string());
        assert_eq!(root.subject(), root.issuer());
        assert_eq!(root.raw_serial(), serial(0xca).as_octets());
        assert_eq!(root.signature_algorithm.algorithm.to_id_string(), signature);
        assert_eq!(root.public_key().parsed().unwrap().key_size(), key_bits);
        assert_eq!(root.validity().not_before.to_datetime(), datetime!(2025-06-01 11:55:00 UTC));
        assert_eq!(root.validity().not_after.to_datetime(), datetime!(2035-06-01 12:00:00 UTC));
        assert_eq!(extensions(&root), set(&[BASIC_CONSTRAINTS, KEY_USAGE, SUBJECT_KEY_ID]));
        assert!(root.is_ca());
        let usage = root.key_usage().unwrap().unwrap().value;
        assert_eq!(usage.to_string(), "Key Cert Sign, CRL Sign");
        assert_eq!(authority.fingerprint(), fingerprint(authority.certificate_der()));
        assert_eq!(authority.public_key().key_type(), key_type);
        assert!(authority.is_new() && authority.is_root());
    }
}

/// What holds for each device certificate, whatever its key and the settings.
fn assert_device_profile(
    authority: &CertificateAuthority,
    issued: &IssuedCertificate,
    request: &DeviceCertificateRequest,
) {
    let root = parse(authority.certificate_der());
    let leaf = parse(&issued.der);
    assert_eq!(leaf.version(), X509Version::V3);
    assert_eq!(leaf.raw_serial(), request.serial.as_octets());
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    assert_eq!(leaf.subject().to_string(), format!("CN=device-{DEVICE}, O=SignalBeam"));
    assert_eq!(leaf.public_key().raw, request.public_key.spki_der());
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let usages = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usages.client_auth && !usages.any && !usages.server_auth && usages.other.is_empty());
    assert!(!usages.code_signing && !usages.email_protection && !usages.time_stamping && !usages.ocsp_signing);
    assert_eq!(subject_key_id(&leaf).len(), 20);
    assert_eq!(authority_key_id(&leaf), subject_key_id(&root));
    assert_eq!(issued.serial, request.serial);
    assert_eq!(issued.fingerprint, fingerprint(&issued.der));
    assert_eq!(issued.subject, leaf.subject().to_string());
    assert_eq!(issued.public_key_sha256, request.public_key.sha256());
    assert_eq!(issued.validity, request.validity);
    assert_eq!(issued.validity.not_before, leaf.validity().not_before.to_datetime());
    assert_eq!(issued.validity.not_after, leaf.validity().not_after.to_datetime());
    assert!(issued.pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
}

#[tokio::test]
async fn a_device_certificate_follows_the_profile() {
    for root in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256] {
        for (kind, key_usage) in [
            (DeviceKeyType::Rsa2048, "Digital Signature, Key Encipherment"),
            (DeviceKeyType::EcdsaP256, "Digital Signature"),
        ] {
            let authority = authority(settings(root)).await;
            let (_, key) = device_key(kind).await;
            let request = request(&authority, key);
            let issued = authority.issue_device(&request).await.unwrap();
            assert_device_profile(&authority, &issued, &request);
            let leaf = parse(&issued.der);
            assert_eq!(leaf.key_usage().unwrap().unwrap().value.to_string(), key_usage);
            let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
            assert_eq!(names[..], [GeneralName::URI(&spiffe_id())]);
            let expected =
                [BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, ALTERNATIVE_NAME, SUBJECT_KEY_ID, AUTHORITY_KEY_ID];
            assert_eq!(extensions(&leaf), set(&expected), "no CDP or AIA unless configured");
        }
    }
}

#[tokio::test]
async fn configured_addresses_and_trust_domain_appear() {
    let mut settings = settings(CaKeyType::EcdsaP256);
    settings.trust_domain = TrustDomain::parse("fleet.example.com").unwrap();
    settings.urls.crl = Some(PublishedUrl::parse("http://pki.example.com/crl").unwrap());
    settings.urls.ocsp = Some(PublishedUrl::parse("http://pki.example.com/ocsp").unwrap());
    let long = format!("http://pki.example.com/{}", "a".repeat(300));
    settings.urls.issuer = Some(PublishedUrl::parse(&long).unwrap());
    let authority = authority(settings).await;
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    let request = request(&authority, key);
    let issued = authority.issue_device(&request).await.unwrap();
    assert_device_profile(&authority, &issued, &request);
    let leaf = parse(&issued.der);
    let mut found = Vec::new();
    for extension in leaf.iter_extensions() {
        match extension.parsed_extension() {
            ParsedExtension::CRLDistributionPoints(points) => {
                found.extend(points.iter().map(|point| format!("crl {:?}", point.distribution_point)));
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                found.extend(access.iter().map(|at| format!("{} {}", at.access_method, at.access_location)));
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                assert_eq!(
                    names.general_names,
                    [GeneralName::URI(&spiffe_id().replace("signalbeam.local", "fleet.example.com"))]
                );
            }
            _ => {}
        }
    }
    found.sort();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "1.3.6.1.5.5.7.48.1 URI(http://pki.example.com/ocsp)");
    assert_eq!(found[1], format!("1.3.6.1.5.5.7.48.2 URI({long})"));
    assert!(found[2].contains("http://pki.example.com/crl"), "{found:?}");
    assert!(extensions(&leaf).is_superset(&set(&[CRL_DISTRIBUTION, AUTHORITY_INFO])));
    let root = parse(authority.certificate_der());
    assert!(extensions(&root).is_disjoint(&set(&[CRL_DISTRIBUTION, AUTHORITY_INFO])), "a root has no issuer to ask");
}

#[tokio::test]
async fn validity_is_backdated_and_counted_from_now() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let later = NOW + Duration::days(30);
    let validity = authority.validity(later, 90);
    assert_eq!(validity.not_before, datetime!(2025-07-01 11:55:00 UTC));
    assert_eq!(validity.not_after, datetime!(2025-09-29 12:00:00 UTC));
}

#[tokio::test]
async fn no_certificate_reaches_beyond_its_authority() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let own = authority.own_validity();
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    let asked = |from: OffsetDateTime, to: OffsetDateTime| DeviceCertificateRequest {
        validity: Validity::new(from, to),
        ..request(&authority, key.clone())
    };
    let around = asked(own.not_before - Duration::days(1), own.not_after + Duration::days(1));
    let issued = authority.issue_device(&around).await.unwrap();
    assert_eq!(issued.validity, own);
    assert_eq!(parse(&issued.der).validity().not_after.to_datetime(), own.not_after);
    assert_eq!(authority.validity(own.not_after - Duration::days(5), 90).not_after, own.not_after);
    for outside in [
        asked(own.not_after + Duration::seconds(1), own.not_after + Duration::days(90)),
        asked(own.not_before - Duration::days(90), own.not_before - Duration::seconds(1)),
        asked(NOW, NOW - Duration::days(1)),
    ] {
        let refused = authority.issue_device(&outside).await;
        assert!(matches!(refused, Err(AuthorityError::OutsideValidity(validity)) if validity == own), "{refused:?}");
    }
}

#[tokio::test]
async fn every_serial_number_stands_in_the_certificate_octet_for_octet() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    let mut fingerprints = BTreeSet::new();
    for first in 0..=255 {
        let serial = SerialNumber::from_random(std::array::from_fn(|at| if at == 0 { first } else { 0 }));
        let request = DeviceCertificateRequest { serial, ..request(&authority, key.clone()) };
        let issued = authority.issue_device(&request).await.unwrap();
        assert_eq!(parse(&issued.der).raw_serial(), serial.as_octets());
        fingerprints.insert(issued.fingerprint);
    }
    assert_eq!(fingerprints.len(), 256, "each signature differs, also where a serial number is used twice");
}

#[tokio::test]
async fn an_authority_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = |seed: u8, key_type| {
        let store = Arc::new(FileKeyStore::new(folder.path().join("ca"), BlockingPool::new(1)));
        CertificateAuthority::open_or_create(store, settings(key_type), NOW, serial(seed))
    };
    let first = open(1, CaKeyType::EcdsaP256).await.unwrap();
    let second = open(2, CaKeyType::Rsa2048).await.unwrap();
    assert!(first.is_new() && !second.is_new());
    assert_eq!(first.id(), second.id());
    assert_eq!(first.certificate_pem(), second.certificate_pem());
    assert_eq!(second.public_key().key_type(), CaKeyType::EcdsaP256, "an existing authority keeps its key");
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    second.issue_device(&request(&second, key)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_no_authority_with_our_key_is_refused() {
    let settings = || AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
    let forge = Forge::root();
    for (certificate, why) in
        [(forge.certificate.clone(), "it belongs to another key"), (b"nonsense".to_vec(), "it cannot be read")]
    {
        let store = Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
        store.create_key(CaKeyType::EcdsaP256).await.unwrap();
        store.store_certificate(&certificate).await.unwrap();
        let refused = CertificateAuthority::open_or_create(store, settings(), NOW, serial(1)).await;
        assert!(matches!(refused, Err(AuthorityError::Certificate(reason)) if reason == why), "{refused:?}");
    }
}

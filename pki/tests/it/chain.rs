//! Which client certificates count as ours, and that nothing a stranger sends can do harm.

use proptest::prelude::*;
use rcgen::{BasicConstraints, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rsa::pkcs8::der::asn1::AnyRef;
use rsa::pkcs8::der::{Decode as _, Reader as _, SliceReader};
use signalbeam_pki::{
    AnchorError, BlockingPool, CaKeyStore, CaKeyType, ChainError, ChainVerifier, DeviceKeyType, DevicePublicKey,
    MemoryKeyStore, ServerCertificateRequest, Timeliness, Validity, fingerprint, peek_validity,
};
use time::Duration;

use crate::fixture::{
    Forge, NOW, authority, device_id, device_key, request, serial, settings, spiffe_id, tenant_id, tlv,
};

fn verifier(forge: &Forge) -> ChainVerifier {
    ChainVerifier::new([&forge.certificate]).unwrap()
}

fn assert_not_ours(judged: &Result<signalbeam_pki::VerifiedDeviceCertificate, ChainError>) {
    assert!(matches!(judged, Err(ChainError::NotOurs(_))), "{judged:?}");
}

#[tokio::test]
async fn a_certificate_of_ours_tells_whose_it_is() {
    for root in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let authority = authority(settings(root)).await;
        let verifier = ChainVerifier::new([authority.certificate_der()]).unwrap();
        for kind in [DeviceKeyType::Rsa2048, DeviceKeyType::EcdsaP256] {
            let (_, key) = device_key(kind).await;
            let issued = authority.issue_device(&request(&authority, key)).await.unwrap();
            let judged = verifier.verify(&issued.der).unwrap();
            assert_eq!(judged.fingerprint, issued.fingerprint);
            assert_eq!(judged.serial, issued.serial);
            assert_eq!(judged.device_id, device_id());
            assert_eq!(judged.tenant_id, tenant_id());
            assert_eq!(judged.validity, issued.validity);
            assert_eq!(judged.issuers_validity, authority.own_validity());
            assert_eq!(peek_validity(&issued.der), Some(issued.validity));
        }
    }
}

#[test]
fn a_foreign_authority_with_our_subject_and_a_stolen_serial_is_not_ours() {
    let (ours, foreign) = (Forge::root(), Forge::root());
    let genuine = ours.leaf(|_| {});
    let forged = foreign.leaf(|_| {});
    assert!(verifier(&ours).verify(&genuine).is_ok());
    assert_not_ours(&verifier(&ours).verify(&forged));
    assert_ne!(fingerprint(&genuine), fingerprint(&forged));
}

#[test]
fn an_expired_certificate_is_still_known_as_ours() {
    let forge = Forge::root();
    let expired = forge.leaf(|params| {
        params.not_before = NOW - Duration::days(9);
        params.not_after = NOW - Duration::days(1);
    });
    let verified = verifier(&forge).verify(&expired).unwrap();
    assert_eq!(verified.validity.timeliness(NOW), Timeliness::Past);
    let foreign = Forge::root().leaf(|params| params.not_after = NOW - Duration::hours(1));
    assert_not_ours(&verifier(&forge).verify(&foreign));
    assert_eq!(peek_validity(&foreign).unwrap().timeliness(NOW), Timeliness::Past, "expiry is told first");
}

#[test]
fn the_anchors_own_end_is_told() {
    let forge = Forge::root_with(KeyPair::generate().unwrap(), |params| params.not_after = NOW - Duration::days(1));
    let leaf = forge.leaf(|_| {});
    let verified = verifier(&forge).verify(&leaf).unwrap();
    assert_eq!(verified.validity.timeliness(NOW), Timeliness::Within);
    assert_eq!(verified.issuers_validity.timeliness(NOW), Timeliness::Past);
}

#[test]
fn the_usage_must_be_client_authentication() {
    let forge = Forge::root();
    let silent = forge.leaf(|params| params.extended_key_usages.clear());
    assert_eq!(verifier(&forge).verify(&silent), Err(ChainError::NotForClients));
    for usages in [vec![ExtendedKeyUsagePurpose::ServerAuth], vec![ExtendedKeyUsagePurpose::Any]] {
        let leaf = forge.leaf(|params| params.extended_key_usages = usages);
        assert_not_ours(&verifier(&forge).verify(&leaf));
    }
    let authority = forge.leaf(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_not_ours(&verifier(&forge).verify(&authority));
    assert_not_ours(&verifier(&forge).verify(&forge.certificate));
}

#[tokio::test]
async fn our_servers_certificate_is_no_devices() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let names = vec!["localhost".try_into().unwrap()];
    let request = ServerCertificateRequest { serial: serial(3), names, validity: authority.validity(NOW, 90) };
    let server = authority.issue_server(&request).await.unwrap();
    let verifier = ChainVerifier::new([authority.certificate_der()]).unwrap();
    assert_not_ours(&verifier.verify(&server.certificate.der));
}

#[test]
fn a_certificate_without_exactly_one_device_uri_names_no_device() {
    let forge = Forge::root();
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    for names in [
        vec![],
        vec![SanType::DnsName("device.example.com".try_into().unwrap())],
        vec![uri("spiffe://signalbeam.local/host/x")],
        vec![uri(&spiffe_id()), uri("https://example.com")],
        vec![uri(&spiffe_id()), uri(&spiffe_id())],
    ] {
        let leaf = forge.leaf(|params| params.subject_alt_names = names);
        assert_eq!(verifier(&forge).verify(&leaf), Err(ChainError::NotADevice));
    }
    let by_subject_alone = forge.leaf(|params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, format!("device-{}", device_id()));
    });
    assert_eq!(verifier(&forge).verify(&by_subject_alone), Err(ChainError::NotADevice));
    let short_serial = forge.leaf(|params| params.serial_number = Some(7.into()));
    assert_eq!(verifier(&forge).verify(&short_serial), Err(ChainError::NotADevice));
}

#[test]
fn each_issuing_authority_is_trusted_for_itself_alone() {
    let root = Forge::root();
    let (trusted, retired) = (root.intermediate(|_| {}), root.intermediate(|_| {}));
    let own = peek_validity(&trusted.certificate).unwrap();
    let shorter = Validity::new(own.not_before, NOW + Duration::days(5));
    let verifier = ChainVerifier::with_validities([(&trusted.certificate, shorter)]).unwrap();
    assert_eq!(verifier.verify(&trusted.leaf(|_| {})).unwrap().issuers_validity, shorter, "its root ends before it");
    assert_not_ours(&verifier.verify(&retired.leaf(|_| {})));
    assert_not_ours(&verifier.verify(&root.leaf(|_| {})));
}

#[test]
fn several_anchors_are_tried_and_the_longest_lived_of_a_key_counts() {
    let (old, new) = (Forge::root(), Forge::root());
    let both = ChainVerifier::new([&old.certificate, &new.certificate]).unwrap();
    assert!(both.verify(&old.leaf(|_| {})).is_ok());
    assert!(both.verify(&new.leaf(|_| {})).is_ok());
    assert_not_ours(&both.verify(&Forge::root().leaf(|_| {})));

    let key = KeyPair::generate().unwrap();
    let renewed_key = KeyPair::try_from(key.serialize_der()).unwrap();
    let ending = Forge::root_with(key, |params| params.not_after = NOW + Duration::days(1));
    let renewed = Forge::root_with(renewed_key, |_| {});
    let leaf = ending.leaf(|_| {});
    for anchors in [[&ending, &renewed], [&renewed, &ending]] {
        let both = ChainVerifier::new(anchors.map(|forge| &forge.certificate)).unwrap();
        let verified = both.verify(&leaf).unwrap();
        assert_eq!(Some(verified.issuers_validity), peek_validity(&renewed.certificate));
    }
}

#[test]
fn anchors_must_be_certificates() {
    assert_eq!(ChainVerifier::new(Vec::<Vec<u8>>::new()).unwrap_err(), AnchorError::None);
    assert_eq!(ChainVerifier::new([b"nonsense"]).unwrap_err(), AnchorError::Malformed);
}

#[test]
fn what_is_no_certificate_is_malformed() {
    let forge = Forge::root();
    let mut trailing = forge.leaf(|_| {});
    trailing.push(0);
    for bad in [vec![], b"nonsense".to_vec(), trailing] {
        assert_eq!(verifier(&forge).verify(&bad), Err(ChainError::Malformed));
        assert_eq!(peek_validity(&bad), None);
    }
}

/// Version 1 has no extensions, so nothing says what the certificate is for.
#[tokio::test]
async fn a_version_1_certificate_signed_by_our_key_is_refused() {
    let store = std::sync::Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
    let settings = settings(CaKeyType::EcdsaP256);
    let authority =
        signalbeam_pki::CertificateAuthority::open_or_create(store.clone(), settings, NOW, serial(1)).await.unwrap();
    let (_, key) = device_key(DeviceKeyType::EcdsaP256).await;
    let issued = authority.issue_device(&request(&authority, key)).await.unwrap();

    let elements = |sequence: &[u8]| -> Vec<Vec<u8>> {
        let mut reader = SliceReader::new(AnyRef::from_der(sequence).unwrap().value()).unwrap();
        std::iter::from_fn(|| (!reader.is_finished()).then(|| reader.tlv_bytes().unwrap().to_vec())).collect()
    };
    let whole = elements(&issued.der);
    let fields = elements(&whole[0]);
    assert_eq!((fields[0][0], fields.last().unwrap()[0]), (0xa0, 0xa3), "version and extensions");
    let v1 = tlv(0x30, &fields[1..fields.len() - 1].concat());
    let signature = [&[0], &store.sign(&v1).await.unwrap()[..]].concat();
    let certificate = tlv(0x30, &[v1, whole[1].clone(), tlv(0x03, &signature)].concat());
    assert_eq!(peek_validity(&certificate), Some(issued.validity), "it is well-formed");
    let verifier = ChainVerifier::new([authority.certificate_der()]).unwrap();
    assert_eq!(verifier.verify(&certificate), Err(ChainError::Malformed));
}

#[test]
fn the_instant_of_judgement_is_one_at_which_the_certificate_holds() {
    let forge = Forge::root();
    for (from, to) in [
        (NOW + Duration::days(100), NOW + Duration::days(200)),
        (NOW - Duration::days(20_000), NOW - Duration::days(19_999)),
    ] {
        let leaf = forge.leaf(|params| (params.not_before, params.not_after) = (from, to));
        assert_eq!(verifier(&forge).verify(&leaf).unwrap().validity, Validity::new(from, to));
    }
    let before_1970 = forge.leaf(|params| params.not_before = NOW - Duration::days(25_000));
    assert!(verifier(&forge).verify(&before_1970).is_err());
    let backwards = forge.leaf(|params| params.not_after = NOW - Duration::days(2));
    assert!(verifier(&forge).verify(&backwards).is_err());
}

/// Octets to overwrite, as (position, value), and where to cut.
fn mutation() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)> {
    (
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
    )
}

fn mutated(der: &[u8], (changes, cut): &(Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)) -> Vec<u8> {
    let mut der = der.to_vec();
    for (at, value) in changes {
        let at = at.index(der.len());
        der[at] = *value;
    }
    if let Some(cut) = cut {
        der.truncate(cut.index(der.len()));
    }
    der
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutated_certificate_panics_or_passes(mutation in mutation()) {
        static CHAIN: std::sync::LazyLock<(ChainVerifier, Vec<u8>)> = std::sync::LazyLock::new(|| {
            let forge = Forge::root();
            (verifier(&forge), forge.leaf(|_| {}))
        });
        let (verifier, leaf) = &*CHAIN;
        let der = mutated(leaf, &mutation);
        let _ = peek_validity(&der);
        let judged = verifier.verify(&der);
        prop_assert!(der == *leaf || judged.is_err(), "{judged:?}");
    }

    #[test]
    fn no_mutated_request_panics_or_passes(mutation in mutation()) {
        static REQUEST: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let key = KeyPair::generate().unwrap();
            rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
        });
        let der = mutated(&REQUEST, &mutation);
        let judged = DevicePublicKey::from_csr_der(&der);
        prop_assert!(der == *REQUEST || judged.is_err(), "{judged:?}");
    }

    #[test]
    fn no_octets_panic(der in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(DevicePublicKey::from_csr_der(&der).is_err());
        prop_assert!(DevicePublicKey::from_spki_der(&der).is_err());
        prop_assert_eq!(peek_validity(&der), None);
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        prop_assert!(DevicePublicKey::from_csr_pem(&text).is_err());
    }
}

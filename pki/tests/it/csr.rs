//! Certificate signing requests: what is taken from them, and what makes them unacceptable.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType, SigningKey as _,
};
use signalbeam_pki::{
    AuthorityError, CaKeyType, CsrError, DeviceKeyAlgorithm, DeviceKeyType, DevicePublicKey, KeyWeakness, Profile,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fixture::{authority, device_key, request, settings, tlv};
use crate::openssl::openssl;

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

async fn rsa_pair() -> KeyPair {
    KeyPair::from_pem(device_key(DeviceKeyType::Rsa2048).await.0.expose()).unwrap()
}

fn plain(pair: &KeyPair) -> String {
    CertificateParams::default().serialize_request(pair).unwrap().pem().unwrap()
}

fn refusal(csr: &str) -> CsrError {
    DevicePublicKey::from_csr_pem(csr).unwrap_err()
}

fn assert_invalid(csr: &str) {
    let refused = DevicePublicKey::from_csr_pem(csr);
    assert!(matches!(refused, Err(CsrError::InvalidCsr(_))), "{refused:?}");
}

#[tokio::test]
async fn the_key_of_a_request_is_taken_octet_for_octet() {
    for (pair, algorithm) in [
        (rsa_pair().await, DeviceKeyAlgorithm::Rsa),
        (key(&rcgen::PKCS_ECDSA_P256_SHA256), DeviceKeyAlgorithm::EcdsaP256),
        (key(&rcgen::PKCS_ECDSA_P384_SHA384), DeviceKeyAlgorithm::EcdsaP384),
        (key(&rcgen::PKCS_ED25519), DeviceKeyAlgorithm::Ed25519),
    ] {
        let public = DevicePublicKey::from_csr_pem(&plain(&pair)).unwrap();
        assert_eq!(public.algorithm(), algorithm);
        assert_eq!(public.spki_der(), pair.subject_public_key_info());
        assert_eq!(DevicePublicKey::from_spki_der(public.spki_der()).unwrap().sha256(), public.sha256());
    }
}

/// Asks for everything that a device must not get.
fn hostile() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::CodeSigning];
    params.distinguished_name.push(DnType::CommonName, "admin.example.com");
    params.subject_alt_names = vec![
        SanType::DnsName("hub.example.com".try_into().unwrap()),
        SanType::URI("spiffe://signalbeam.local/tenant/x/device/y".try_into().unwrap()),
    ];
    let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![0x04, 0x01, 0x41]);
    odd.set_criticality(true);
    params.custom_extensions = vec![odd];
    params
}

#[tokio::test]
async fn nothing_that_a_request_asks_for_reaches_the_certificate() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let pair = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let plain_key = DevicePublicKey::from_csr_pem(&plain(&pair)).unwrap();
    let asked = hostile().serialize_request(&pair).unwrap().pem().unwrap();
    let hostile_key = DevicePublicKey::from_csr_pem(&asked).unwrap();
    assert_eq!(plain_key, hostile_key);
    let issued = authority.issue_device(&request(&authority, hostile_key)).await.unwrap();
    let expected = authority.issue_device(&request(&authority, plain_key)).await.unwrap();
    let [issued, expected] = [&issued.der, &expected.der].map(|der| X509Certificate::from_der(der).unwrap().1);
    assert_eq!(issued.tbs_certificate.as_ref(), expected.tbs_certificate.as_ref());
    assert!(!issued.is_ca());
}

/// A request put together by hand and signed by `pair`.
fn assembled(pair: &KeyPair, version: u8, spki: &[u8], attributes: &[u8]) -> String {
    let info = tlv(0x30, &[&tlv(0x02, &[version])[..], &tlv(0x30, &[]), spki, attributes].concat());
    let ecdsa_with_sha256 = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let signature = [&[0], &pair.sign(&info).unwrap()[..]].concat();
    let der = tlv(0x30, &[&info[..], &ecdsa_with_sha256, &tlv(0x03, &signature)].concat());
    armour("CERTIFICATE REQUEST", &der)
}

fn armour(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn attributes_are_not_even_parsed() {
    let pair = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let spki = pair.subject_public_key_info();
    for attributes in [
        vec![],
        tlv(0xa0, &[]),
        tlv(0xa0, b"no attributes but noise"),
        // An extensionRequest whose extensions are cut short.
        tlv(0xa0, &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e, 0x31, 0x00]),
    ] {
        assert!(DevicePublicKey::from_csr_pem(&assembled(&pair, 0, &spki, &attributes)).is_ok(), "{attributes:02x?}");
    }
}

#[test]
fn possession_of_the_private_key_must_be_proved() {
    let (pair, other) = (key(&rcgen::PKCS_ECDSA_P256_SHA256), key(&rcgen::PKCS_ECDSA_P256_SHA256));
    let attributes = tlv(0xa0, &[]);
    let own = assembled(&pair, 0, &pair.subject_public_key_info(), &attributes);
    assert!(DevicePublicKey::from_csr_pem(&own).is_ok());
    let stolen = assembled(&pair, 0, &other.subject_public_key_info(), &attributes);
    assert_invalid(&stolen);
    assert!(refusal(&stolen).to_string().contains("possession"));
}

#[test]
fn what_is_not_one_well_formed_request_is_invalid() {
    let pair = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let good = plain(&pair);
    let der = CertificateParams::default().serialize_request(&pair).unwrap().der().to_vec();
    assert!(DevicePublicKey::from_csr_pem(&armour("CERTIFICATE REQUEST", &der)).is_ok());
    assert!(DevicePublicKey::from_csr_pem(&armour("NEW CERTIFICATE REQUEST", &der)).is_ok());
    let trailing = [&der[..], &[0]].concat();
    for bad in [
        String::new(),
        "not PEM at all".to_owned(),
        good.repeat(2),
        format!("{good}{}", pair.serialize_pem()),
        armour("CERTIFICATE", &der),
        armour("PRIVATE KEY", &der),
        armour("CERTIFICATE REQUEST", &trailing),
        armour("CERTIFICATE REQUEST", &der[..der.len() - 1]),
        armour("CERTIFICATE REQUEST", &[]),
        assembled(&pair, 1, &pair.subject_public_key_info(), &tlv(0xa0, &[])),
        assembled(&pair, 0, &tlv(0x30, &[]), &tlv(0xa0, &[])),
        CertificateParams::default().self_signed(&pair).unwrap().pem(),
    ] {
        assert_invalid(&bad);
    }
}

#[test]
fn size_is_bounded() {
    let good = plain(&key(&rcgen::PKCS_ECDSA_P256_SHA256));
    let padded = |length: usize| format!("{}{good}", "\n".repeat(length - good.len()));
    assert!(DevicePublicKey::from_csr_pem(&padded(16 * 1024)).is_ok());
    assert_eq!(refusal(&padded(16 * 1024 + 1)), CsrError::InvalidCsr("it is larger than 16 KiB"));
    assert!(DevicePublicKey::from_csr_der(&vec![0x30; 16 * 1024 + 1]).is_err());
}

#[tokio::test]
async fn kinds_of_key_that_the_profile_does_not_have_are_not_certified() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    for (algorithm, key_type) in
        [(&rcgen::PKCS_ECDSA_P384_SHA384, DeviceKeyType::EcdsaP384), (&rcgen::PKCS_ED25519, DeviceKeyType::Ed25519)]
    {
        let public = DevicePublicKey::from_csr_pem(&plain(&key(algorithm))).unwrap();
        let weakness = CsrError::WeakKey(KeyWeakness::NotInProfile(key_type));
        assert_eq!(Profile::default().check_key(&public), Err(weakness));
        let refused = authority.issue_device(&request(&authority, public)).await;
        assert!(matches!(refused, Err(AuthorityError::Key(refused)) if refused == weakness));
    }
}

/// `SubjectPublicKeyInfo` of a pair with other key octets.
fn with_point(pair: &KeyPair, point: &[u8]) -> Vec<u8> {
    let spki = pair.subject_public_key_info();
    let own = spki.len() - pair.der_bytes().len() - 3;
    tlv(0x30, &[&spki[2..own], &tlv(0x03, &[&[0], point].concat())].concat())
}

#[test]
fn what_is_no_point_of_its_curve_is_no_key() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let pair = key(algorithm);
        let point = pair.der_bytes().to_vec();
        assert!(DevicePublicKey::from_spki_der(&with_point(&pair, &point)).is_ok());
        let last = point.len() - 1;
        let changed = |at: usize, to: u8| {
            let mut point = point.clone();
            point[at] = to;
            point
        };
        for bad in [
            changed(last, point[last] ^ 1),
            changed(1, !point[1]),
            changed(0, 0x06),
            changed(0, 0x05),
            point[..last].to_vec(),
            [&point[..], &[0]].concat(),
            [&[4][..], &vec![0xff; last]].concat(),
            [&[4][..], &vec![0; last]].concat(),
            vec![0],
            vec![],
        ] {
            let refused = DevicePublicKey::from_spki_der(&with_point(&pair, &bad)).unwrap_err();
            assert!(matches!(refused, CsrError::InvalidCsr(_)), "{bad:02x?}");
        }
    }
    let pair = key(&rcgen::PKCS_ED25519);
    for bad in [vec![7; 31], vec![7; 33], vec![]] {
        assert!(DevicePublicKey::from_spki_der(&with_point(&pair, &bad)).is_err());
    }
}

/// Everybody can sign under a key of small order: a signature whose R is the neutral element and whose S is 0 holds for one
/// message in so many as the key's order.
#[test]
fn an_ed25519_key_of_small_order_is_weak_although_its_signature_holds() {
    let hex = |text: &str| -> Vec<u8> {
        (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let pair = key(&rcgen::PKCS_ED25519);
    let signature: Vec<u8> = [[1].as_slice(), &[0; 63]].concat();
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let point = hex(point);
        let verifies = |message: u16| {
            let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &point);
            key.verify(&message.to_be_bytes(), &signature).is_ok()
        };
        assert!((0..u16::MAX).any(verifies), "{point:02x?} is of small order");
        let refused = DevicePublicKey::from_spki_der(&with_point(&pair, &point)).unwrap_err();
        assert_eq!(refused, CsrError::WeakKey(KeyWeakness::SmallOrder), "{point:02x?}");
    }
}

#[test]
fn a_compressed_point_is_invalid() {
    let pair = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let mut compressed = pair.der_bytes()[..33].to_vec();
    compressed[0] = 2 + (pair.der_bytes()[64] & 1);
    let spki = pair.subject_public_key_info();
    let algorithm = &spki[2..spki.len() - 68];
    let spki = tlv(0x30, &[algorithm, &tlv(0x03, &[&[0], &compressed[..]].concat())].concat());
    assert_invalid(&assembled(&pair, 0, &spki, &tlv(0xa0, &[])));
}

/// Runs `openssl req` with its own configuration, and gives the request.
fn by_openssl(key: &[&str], more: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "[req]\ndistinguished_name=dn\nprompt=no\nreq_extensions=ext\n[dn]\nCN=root\n\
        [ext]\nbasicConstraints=critical,CA:TRUE\nsubjectAltName=dirName:dn,RID:1.2.3,otherName:1.2.3;UTF8:x\n\
        nsComment=odd\n1.2.3.4=critical,DER:0500\nnameConstraints=permitted;DNS:example.com\n";
    std::fs::write(folder.path().join("odd.cnf"), configuration).unwrap();
    let made = openssl(folder.path(), &[&["genpkey", "-out", "key.pem"], key].concat())?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let request = openssl(folder.path(), &[&["req", "-new", "-config", "odd.cnf", "-key", "key.pem"], more].concat())?;
    assert!(request.status.success(), "{}", String::from_utf8_lossy(&request.stderr));
    Some(String::from_utf8(request.stdout).unwrap())
}

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const ED25519: [&str; 2] = ["-algorithm", "ED25519"];
const RSA: [&str; 4] = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

#[test]
fn requests_by_openssl_with_odd_wishes_are_accepted() {
    for (key, more) in [
        (&P256[..], &["-sha256"][..]),
        (&P256, &["-sha384"]),
        (&P256, &["-sha256", "-newhdr", "-text"]),
        (&P384, &["-sha256"]),
        (&P384, &["-sha384"]),
        (&ED25519, &[]),
        (&RSA, &["-sha256"]),
        (&RSA, &["-sha384"]),
        (&RSA, &["-sha512"]),
    ] {
        let Some(csr) = by_openssl(key, more) else { return };
        assert!(DevicePublicKey::from_csr_pem(&csr).is_ok(), "{more:?}: {csr}");
    }
}

#[test]
fn requests_by_openssl_with_bad_keys_or_signatures_are_refused() {
    let weak = |weakness| CsrError::WeakKey(weakness);
    let signature = CsrError::InvalidCsr("its signature algorithm is not supported");
    let explicit = [&P256[..], &["-pkeyopt", "ec_param_enc:explicit"]].concat();
    for (key, more, expected) in [
        (&RSA[..], &["-sha1"][..], signature),
        (&RSA, &["-md5"], signature),
        (&RSA, &["-sha256", "-sigopt", "rsa_padding_mode:pss"], signature),
        (&P256, &["-sha1"], signature),
        (&["-algorithm", "RSA-PSS"], &["-sha256"], weak(KeyWeakness::Algorithm)),
        (&["-algorithm", "ED448"], &[], weak(KeyWeakness::Algorithm)),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], &["-sha256"], weak(KeyWeakness::Algorithm)),
        (&P384, &["-sha512"], signature),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"], &["-sha256"], weak(KeyWeakness::Algorithm)),
        (&explicit, &["-sha256"], weak(KeyWeakness::Algorithm)),
        (
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
            &["-sha256"],
            weak(KeyWeakness::ModulusSize { bits: 1024 }),
        ),
    ] {
        let Some(csr) = by_openssl(key, more) else { return };
        assert_eq!(refusal(&csr), expected, "{key:?} {more:?}");
    }
}

//! A run of a thousand certificates over every shape of authority, profile and key, in the eyes of OpenSSL.

use std::collections::HashSet;
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use signalbeam_domain::{DeviceId, Digest, ProfileName, SerialNumber};
use signalbeam_pki::authority::NewAuthority;
use signalbeam_pki::{
    BlockingPool, CaKeyType, CertificateAuthority, DeviceCertificateRequest, DeviceKeyType, DevicePublicKey,
    Intermediate, MemoryKeyStore, Profile, ProfileSettings, PublishedUrl,
};
use time::Duration;
use uuid::Uuid;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::fixture::{NOW, authority, device_key, settings, tenant_id};
use crate::openssl::openssl;

const RUN: usize = 1_000;

fn profile(name: &str, change: impl FnOnce(&mut ProfileSettings)) -> Arc<Profile> {
    let name = ProfileName::parse(name).unwrap();
    let key_types = DeviceKeyType::ALL.to_vec();
    let mut settings = ProfileSettings { name, key_types, ..ProfileSettings::default() };
    change(&mut settings);
    Arc::new(Profile::new(&settings).unwrap())
}

/// As the built-in one, with everything that there is, and with next to nothing.
fn profiles() -> [Arc<Profile>; 3] {
    [
        profile("device", |_| {}),
        profile("gateway", |settings| {
            settings.extended_key_usages =
                ["client_auth", "server_auth", "1.3.6.1.4.1.99999.3"].map(str::to_owned).to_vec();
            "CN=gateway {deviceId}, serialNumber={tenantId}, OU=Gäste\\, Tore, O=Example, L=Bonn, \
                                ST=NRW, C=DE"
                .clone_into(&mut settings.subject);
            settings.dns_names = vec!["{deviceId}.gateways.example.com".to_owned(), "gw-{deviceId}.lan".to_owned()];
            settings.extensions =
                vec!["1.3.6.1.4.1.99999.1=0403010203".to_owned(), "1.3.6.1.4.1.99999.2=0500".to_owned()];
            settings.backdating_minutes = 1_440;
        }),
        profile("brief", |settings| {
            "CN={deviceId}".clone_into(&mut settings.subject);
            (settings.min_validity_days, settings.validity_days, settings.max_validity_days) = (1, 1, 1);
            settings.backdating_minutes = 0;
        }),
    ]
}

/// A root of each type of key, the last with published addresses, and an issuing authority under one of them.
async fn authorities() -> Vec<CertificateAuthority> {
    let mut authorities = Vec::new();
    for key_type in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let mut settings = settings(key_type);
        let url = |path: &str| Some(PublishedUrl::parse(&format!("http://pki.example.com/{path}")).unwrap());
        (settings.urls.crl, settings.urls.ocsp, settings.urls.issuer) = (url("crl"), url("ocsp"), url("ca"));
        authorities.push(authority(settings).await);
    }
    let root = authority(settings(CaKeyType::EcdsaP384)).await;
    let new = NewAuthority { common_name: "Issuing", serial: SerialNumber::from_random([0xcb; 20]), now: NOW };
    let store = Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
    let Intermediate::Draft(draft) =
        Intermediate::find(store.clone(), settings(CaKeyType::EcdsaP256), &root, new.clone()).await.unwrap()
    else {
        panic!("nothing was signed yet");
    };
    let told = (draft.serial_number(), draft.subject(), draft.public_key_sha256(), draft.validity());
    let under = draft.sign(&root).await.unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, under.public_key().spki_der());
    let public_key = Digest(digest.as_ref().try_into().unwrap());
    assert_eq!(told, (under.serial_number(), under.subject().to_owned(), public_key, under.own_validity()));
    let again = Intermediate::find(store, settings(CaKeyType::EcdsaP256), &root, new).await.unwrap();
    assert!(matches!(again, Intermediate::Made(made) if made.certificate_der() == under.certificate_der()));
    authorities.push(under);
    authorities
}

fn random_serial() -> SerialNumber {
    let mut octets = [0; 20];
    SystemRandom::new().fill(&mut octets).unwrap();
    SerialNumber::from_random(octets)
}

async fn keys() -> Vec<DevicePublicKey> {
    let mut keys = Vec::new();
    for kind in DeviceKeyType::ALL {
        keys.push(device_key(kind).await.1);
    }
    keys
}

#[tokio::test]
async fn every_certificate_of_a_run_verifies_strictly_and_has_a_serial_number_of_its_own() {
    let (authorities, profiles, keys) = (authorities().await, profiles(), keys().await);
    let folder = tempfile::tempdir().unwrap();
    let mut leaves = vec![Vec::new(); authorities.len()];
    let mut serials = HashSet::new();
    for nth in 0..RUN {
        let which = nth % authorities.len();
        let authority = &authorities[which];
        let profile = &profiles[nth / authorities.len() % profiles.len()];
        let key = &keys[nth / authorities.len() / profiles.len() % keys.len()];
        let days = profile.validity().judge(None).unwrap().get();
        let request = DeviceCertificateRequest {
            serial: random_serial(),
            tenant_id: tenant_id(),
            device_id: DeviceId::from_uuid(Uuid::from_u128(nth as u128)),
            public_key: key.clone(),
            profile: Arc::clone(profile),
            validity: authority.device_validity(profile, NOW, days.into()),
        };
        let issued = authority.issue_device(&request).await.unwrap();
        let parsed = X509Certificate::from_der(&issued.der).unwrap().1;
        assert_eq!(parsed.public_key().raw, key.spki_der());
        let serial = parsed.raw_serial().to_vec();
        assert!(serial.len() == 20 && (0x01..0x80).contains(&serial[0]), "{serial:02x?}");
        assert!(serials.insert(serial), "a serial number twice");
        let name = format!("{nth}.pem");
        std::fs::write(folder.path().join(&name), issued.pem).unwrap();
        leaves[which].push(name);
    }
    let at = (NOW + Duration::hours(1)).unix_timestamp().to_string();
    for (authority, leaves) in authorities.iter().zip(&leaves) {
        std::fs::write(folder.path().join("root.pem"), pem(authority.root_der())).unwrap();
        std::fs::write(folder.path().join("chain.pem"), authority.intermediates_pem()).unwrap();
        let mut arguments = vec!["verify", "-x509_strict", "-check_ss_sig", "-attime", &at, "-CAfile", "root.pem"];
        arguments.extend(["-purpose", "sslclient"]);
        if !authority.intermediates_pem().is_empty() {
            arguments.extend(["-untrusted", "chain.pem"]);
        }
        arguments.extend(leaves.iter().map(String::as_str));
        let Some(output) = openssl(folder.path(), &arguments) else { return };
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches(": OK").count(), leaves.len());
    }
}

#[tokio::test]
async fn openssl_sees_in_a_certificate_what_its_profile_says() {
    let authority = authority(settings(CaKeyType::EcdsaP256)).await;
    let [_, gateway, _] = profiles();
    let device_id = DeviceId::from_uuid(Uuid::from_u128(7));
    let folder = tempfile::tempdir().unwrap();
    for (kind, usage) in [
        (DeviceKeyType::Rsa2048, "Digital Signature, Key Encipherment\n"),
        (DeviceKeyType::EcdsaP384, "Digital Signature\n"),
        (DeviceKeyType::Ed25519, "Digital Signature\n"),
    ] {
        let request = DeviceCertificateRequest {
            serial: random_serial(),
            tenant_id: tenant_id(),
            device_id,
            public_key: device_key(kind).await.1,
            profile: Arc::clone(&gateway),
            validity: authority.device_validity(&gateway, NOW, 90),
        };
        let issued = authority.issue_device(&request).await.unwrap();
        let own = authority.own_validity().not_before;
        assert_eq!(issued.validity.not_before, own, "backdated, and not to before its issuer began");
        std::fs::write(folder.path().join("leaf.pem"), &issued.pem).unwrap();
        let arguments = ["x509", "-in", "leaf.pem", "-noout", "-text", "-nameopt", "RFC2253,utf8,-esc_msb"];
        let Some(output) = openssl(folder.path(), &arguments) else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        for expected in [
            &format!(
                "Subject: C=DE,ST=NRW,L=Bonn,O=Example,OU=Gäste\\, Tore,serialNumber={},CN=gateway {device_id}",
                tenant_id()
            ),
            &format!("DNS:{device_id}.gateways.example.com, DNS:gw-{device_id}.lan"),
            usage,
            "TLS Web Client Authentication, TLS Web Server Authentication, 1.3.6.1.4.1.99999.3",
            "1.3.6.1.4.1.99999.1: \n",
        ] {
            assert!(text.contains(expected), "{kind}: {expected}\n{text}");
        }
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

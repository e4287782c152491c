//! The contract of every key store, run on every adapter.

mod files;
mod pkcs11;
mod softhsm;

use std::sync::Arc;
use std::task::Poll;

use signalbeam_pki::{
    BlockingPool, CaKeyStore, CaKeyType, CaMaterial, CertificateAuthority, KeyStoreError, KeyStoreSecret,
    MemoryKeyStore,
};

use crate::fixture::{Forge, NOW, serial, settings};
use files::{ca, file_store, names};

/// Opens the stores of these tests: passphrase, PIN, token for the vault. It must not print.
const SECRET: &str = "4711-opens-it";

/// What every adapter must do. `open` answers one more instance on the same place, which is empty at first.
async fn keeps_the_contract(key_type: CaKeyType, open: impl Fn() -> Arc<dyn CaKeyStore>) {
    let first = open();
    assert_eq!(first.load().await.unwrap(), CaMaterial::Absent);
    assert!(matches!(first.sign(b"too early").await, Err(KeyStoreError::NoKey)));
    assert!(matches!(first.store_certificate(b"too early").await, Err(KeyStoreError::NoKey)));
    let certificates = [Forge::root().certificate, Forge::root().certificate];

    let key = first.create_key(key_type).await.unwrap();
    assert_eq!(key.key_type(), key_type);
    let second = open();
    assert_eq!(second.load().await.unwrap(), CaMaterial::KeyOnly(key.clone()), "found by another instance");
    assert_eq!(second.create_key(CaKeyType::EcdsaP384).await.unwrap(), key, "the existing key stays");

    assert_eq!(first.store_certificate(&certificates[0]).await.unwrap(), certificates[0]);
    let kept = second.store_certificate(&certificates[1]).await.unwrap();
    assert_eq!(kept, certificates[0], "the existing certificate stays");
    let complete = CaMaterial::Complete { public_key: key.clone(), certificate: kept };
    for store in [first, second, open()] {
        assert_eq!(store.load().await.unwrap(), complete);
        for message in [&b""[..], b"message", &[0xa5; 4096]] {
            let signature = store.sign(message).await.unwrap();
            assert!(holds(key_type, key.spki_der(), message, &signature));
            assert!(!holds(key_type, key.spki_der(), b"another message", &signature));
        }
        assert!(signs_beside_the_others(&*store).await, "it blocks the asynchronous tasks");
        let printed = format!("{store:?}");
        assert!(!printed.contains("PRIVATE KEY") && !printed.contains(SECRET), "{printed}");
    }
}

/// Whether the store lets go of its thread while it signs. A signature elsewhere may be ready before it is first asked
/// for, so one of several has to be seen unfinished; one that is made on this very thread never is.
async fn signs_beside_the_others(store: &dyn CaKeyStore) -> bool {
    for _ in 0..100 {
        let mut signing = store.sign(b"message");
        let is_pending = std::future::poll_fn(|context| Poll::Ready(signing.as_mut().poll(context).is_pending())).await;
        if is_pending {
            return signing.await.is_ok();
        }
    }
    false
}

fn holds(key_type: CaKeyType, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    };
    use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
    let algorithm: &dyn VerificationAlgorithm = match key_type {
        CaKeyType::Rsa2048 | CaKeyType::Rsa3072 | CaKeyType::Rsa4096 => &RSA_PKCS1_2048_8192_SHA256,
        CaKeyType::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
        CaKeyType::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
    };
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki).unwrap();
    UnparsedPublicKey::new(algorithm, &spki.subject_public_key.data).verify(message, signature).is_ok()
}

/// Several open or create at once, each with an instance of its own: all must end with one authority.
async fn ends_with_one_authority(open: impl Fn() -> Arc<dyn CaKeyStore>) {
    let tasks: Vec<_> = (0..8)
        .map(|seed| {
            let store = open();
            tokio::spawn(CertificateAuthority::open_or_create(store, settings(CaKeyType::EcdsaP256), NOW, serial(seed)))
        })
        .collect();
    let mut authorities = Vec::new();
    for task in tasks {
        authorities.push(task.await.unwrap().unwrap());
    }
    assert!(authorities.iter().all(|authority| authority.id() == authorities[0].id()));
    assert_eq!(authorities.iter().filter(|authority| authority.is_new()).count(), 1, "one of them created it");
}

#[tokio::test]
async fn files_keep_the_contract() {
    for key_type in [CaKeyType::Rsa2048, CaKeyType::Rsa3072, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let folder = tempfile::tempdir().unwrap();
        keeps_the_contract(key_type, || file_store(&folder)).await;
    }
}

#[tokio::test]
async fn encrypted_files_keep_the_contract() {
    for key_type in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let folder = tempfile::tempdir().unwrap();
        keeps_the_contract(key_type, || files::encrypted_store(&folder, SECRET)).await;
    }
}

#[test]
fn secrets_do_not_print() {
    let secret = KeyStoreSecret::new(SECRET.to_owned());
    assert_eq!(format!("{secret:?}"), "KeyStoreSecret([redacted])");
    assert_eq!(secret.expose(), SECRET);
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    for key_type in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256, CaKeyType::EcdsaP384] {
        let store = Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
        keeps_the_contract(key_type, || store.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_at_once_ends_with_one_authority() {
    let memory = Arc::new(MemoryKeyStore::new(BlockingPool::new(2)));
    ends_with_one_authority(|| memory.clone()).await;
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        ends_with_one_authority(|| file_store(&folder)).await;
        assert_eq!(names(&ca(&folder)), ["ca-cert.pem", "ca-key.pem"], "nothing unfinished is left");
    }
}

#[test]
fn key_types_have_the_names_of_the_configuration() {
    for (name, key_type) in
        ["rsa-2048", "rsa-3072", "rsa-4096", "ecdsa-p256", "ecdsa-p384"].into_iter().zip(CaKeyType::ALL)
    {
        assert_eq!(name.parse(), Ok(key_type));
        assert_eq!(key_type.to_string(), name);
    }
    assert!("RSA-2048".parse::<CaKeyType>().is_err() && "".parse::<CaKeyType>().is_err());
    assert_eq!(CaKeyType::default(), CaKeyType::Rsa2048);
}

//! The contract of every key store, and what is particular to files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use signalbeam_pki::{
    BlockingPool, CaKeyStore, CaKeyType, CaMaterial, CertificateAuthority, FileKeyStore, KeyStoreError, MemoryKeyStore,
};
use tempfile::TempDir;

use crate::fixture::{NOW, serial, settings};

/// What every adapter must do. `open` answers one more instance on the same place, which is empty at first.
async fn keeps_the_contract(key_type: CaKeyType, open: impl Fn() -> Arc<dyn CaKeyStore>) {
    let first = open();
    assert_eq!(first.load().await.unwrap(), CaMaterial::Absent);
    assert!(matches!(first.sign(b"too early").await, Err(KeyStoreError::NoKey)));
    assert!(matches!(first.store_certificate(b"too early").await, Err(KeyStoreError::NoKey)));

    let key = first.create_key(key_type).await.unwrap();
    assert_eq!(key.key_type(), key_type);
    let second = open();
    assert_eq!(second.load().await.unwrap(), CaMaterial::KeyOnly(key.clone()), "found by another instance");
    assert_eq!(second.create_key(CaKeyType::EcdsaP384).await.unwrap(), key, "the existing key stays");

    assert_eq!(first.store_certificate(b"first").await.unwrap(), b"first");
    assert_eq!(second.store_certificate(b"second").await.unwrap(), b"first", "the existing certificate stays");
    let complete = CaMaterial::Complete { public_key: key.clone(), certificate: b"first".to_vec() };
    for store in [first, second, open()] {
        assert_eq!(store.load().await.unwrap(), complete);
        for message in [&b""[..], b"message", &[0xa5; 4096]] {
            let signature = store.sign(message).await.unwrap();
            assert!(holds(key_type, key.spki_der(), message, &signature));
            assert!(!holds(key_type, key.spki_der(), b"another message", &signature));
        }
        assert!(!format!("{store:?}").contains("PRIVATE KEY"));
    }
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

fn file_store(folder: &TempDir) -> Arc<dyn CaKeyStore> {
    Arc::new(FileKeyStore::new(ca(folder), BlockingPool::new(2)))
}

fn ca(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("data").join("ca")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn created() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = file_store(&folder);
    store.create_key(CaKeyType::EcdsaP256).await.unwrap();
    store.store_certificate(b"certificate").await.unwrap();
    folder
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn only_the_owner_can_read_the_key() {
    let folder = created().await;
    let ca = ca(&folder);
    assert_eq!(mode(&ca), 0o700);
    assert_eq!(mode(&ca.join("ca-key.pem")), 0o600);
    let key = fs::read_to_string(ca.join("ca-key.pem")).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n") && key.ends_with("-----END PRIVATE KEY-----\n"));
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_with_the_command_to_type() {
    for bits in [0o640, 0o604, 0o620, 0o601] {
        let folder = created().await;
        let key = ca(&folder).join("ca-key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(bits)).unwrap();
        let refused = file_store(&folder).load().await.unwrap_err();
        assert!(matches!(&refused, KeyStoreError::NotPrivate { mode, .. } if *mode == bits), "{refused:?}");
        assert!(refused.to_string().contains(&format!("chmod 600 {}", key.display())), "{refused}");
        assert!(file_store(&folder).sign(b"message").await.is_err());
    }
}

#[tokio::test]
async fn a_key_without_certificate_is_completed_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = file_store(&folder).create_key(CaKeyType::EcdsaP256).await.unwrap();
    let store = file_store(&folder);
    let authority =
        CertificateAuthority::open_or_create(store, settings(CaKeyType::Rsa2048), NOW, serial(1)).await.unwrap();
    assert!(authority.is_new());
    assert_eq!(authority.public_key(), &key);
}

#[tokio::test]
async fn a_certificate_without_key_is_an_error_that_says_what_to_do() {
    let folder = created().await;
    let ca = ca(&folder);
    fs::remove_file(ca.join("ca-key.pem")).unwrap();
    let refused =
        CertificateAuthority::open_or_create(file_store(&folder), settings(CaKeyType::EcdsaP256), NOW, serial(1))
            .await
            .unwrap_err()
            .to_string();
    assert!(refused.contains("backup") && refused.contains("move the certificate away"), "{refused}");
    assert_eq!(names(&ca), ["ca-cert.pem"], "no second key was made");
}

#[tokio::test]
async fn what_a_crash_left_unfinished_is_cleared_away() {
    let folder = created().await;
    let ca = ca(&folder);
    fs::write(ca.join(".unfinished-0123456789abcdef"), "half a key").unwrap();
    file_store(&folder).load().await.unwrap();
    assert_eq!(names(&ca), ["ca-cert.pem", "ca-key.pem"]);
}

#[tokio::test]
async fn damaged_files_are_named_and_never_overwritten() {
    for file in ["ca-key.pem", "ca-cert.pem"] {
        for damage in [
            &b""[..],
            b"\xff\xfe",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            &vec![b'a'; 70_000],
        ] {
            let folder = created().await;
            let path = ca(&folder).join(file);
            fs::write(&path, damage).unwrap();
            let store = file_store(&folder);
            let refused = store.load().await.unwrap_err();
            assert!(matches!(refused, KeyStoreError::Malformed { .. }), "{refused:?}");
            assert!(refused.to_string().contains(file), "{refused}");
            assert_eq!(fs::read(&path).unwrap(), damage);
        }
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data"), "a file where the folder should be").unwrap();
    let refused = file_store(&folder).create_key(CaKeyType::EcdsaP256).await.unwrap_err();
    assert!(matches!(refused, KeyStoreError::Io { .. }), "{refused:?}");
}

//! What is particular to files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signalbeam_pki::{
    BlockingPool, CaKeyStore, CaKeyType, CaMaterial, CertificateAuthority, FileKeyStore, KeyStoreError, KeyStoreSecret,
};
use tempfile::TempDir;

use crate::fixture::{NOW, serial, settings};

pub(super) fn file_store(folder: &TempDir) -> Arc<dyn CaKeyStore> {
    Arc::new(FileKeyStore::new(ca(folder), BlockingPool::new(2)))
}

pub(super) fn encrypted_store(folder: &TempDir, passphrase: &str) -> Arc<dyn CaKeyStore> {
    let passphrase = Some(KeyStoreSecret::new(passphrase.to_owned()));
    Arc::new(FileKeyStore::with_passphrase(ca(folder), passphrase, BlockingPool::new(2)))
}

pub(super) fn ca(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("data").join("ca")
}

pub(super) fn names(folder: &Path) -> Vec<String> {
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

/// OpenSSL's answer to a command on the key, with the passphrase `right`.
fn openssl(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new("openssl").args(arguments).output().unwrap()
}

#[tokio::test]
async fn an_encrypted_key_is_openssls_and_opens_with_its_passphrase_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = encrypted_store(&folder, "right");
    let key = store.create_key(CaKeyType::EcdsaP256).await.unwrap();
    let file = ca(&folder).join("ca-key.pem");
    assert_eq!(mode(&file), 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");

    let path = file.to_str().unwrap();
    let read = openssl(&["pkey", "-in", path, "-passin", "pass:right", "-pubout", "-outform", "DER"]);
    assert_eq!(read.stdout, key.spki_der(), "{}", String::from_utf8_lossy(&read.stderr));
    assert!(!openssl(&["pkey", "-in", path, "-passin", "pass:wrong", "-noout"]).status.success());

    let wrong = encrypted_store(&folder, "wrong").load().await.unwrap_err();
    assert!(matches!(wrong, KeyStoreError::WrongPassphrase { .. }), "{wrong:?}");
    let missing = file_store(&folder).load().await.unwrap_err();
    assert!(matches!(missing, KeyStoreError::PassphraseMissing { .. }), "{missing:?}");
    for said in [wrong.to_string(), missing.to_string()] {
        assert!(said.contains("ca.key_passphrase_file") && said.contains("SIGNALBEAM__CA__KEY_PASSPHRASE"), "{said}");
        assert!(said.contains(path) && !said.contains("wrong"), "{said}");
    }
    assert!(encrypted_store(&folder, "wrong").sign(b"message").await.is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "nothing was made anew");
}

#[tokio::test]
async fn a_key_that_costs_too_much_to_open_is_refused_before_it_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    encrypted_store(&folder, "right").create_key(CaKeyType::EcdsaP256).await.unwrap();
    let file = ca(&folder).join("ca-key.pem");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&fs::read(&file).unwrap()).unwrap();
    // N = 2^14, r = 8, p = 5.
    let own = [0x02, 0x02, 0x40, 0x00, 0x02, 0x01, 0x08, 0x02, 0x01, 0x05];
    let place = pem.contents.windows(own.len()).position(|window| window == own).unwrap();
    for (offset, octet) in [(3, 0x01), (6, 0x7f), (6, 0x00), (9, 0x7f), (9, 0x00)] {
        let mut der = pem.contents.clone();
        der[place + offset] = octet;
        let base64 = STANDARD.encode(der);
        let label = "ENCRYPTED PRIVATE KEY";
        fs::write(&file, format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")).unwrap();
        let refused = encrypted_store(&folder, "right").load().await.unwrap_err();
        assert!(matches!(refused, KeyStoreError::Malformed { .. }), "{offset} {octet}: {refused:?}");
        assert!(refused.to_string().contains("at a cost"), "{refused}");
    }
}

#[tokio::test]
async fn a_key_in_the_clear_works_with_a_passphrase_and_openssl_can_encrypt_it() {
    for encryption in [&["-scrypt"][..], &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", "100000"]] {
        let folder = tempfile::tempdir().unwrap();
        let key = file_store(&folder).create_key(CaKeyType::EcdsaP384).await.unwrap();
        assert_eq!(encrypted_store(&folder, "new").create_key(CaKeyType::Rsa2048).await.unwrap(), key);

        let (plain, encrypted) = (ca(&folder).join("ca-key.pem"), ca(&folder).join("ca-key.pem.new"));
        let mut command = vec!["pkcs8", "-topk8", "-passout", "pass:new", "-in", plain.to_str().unwrap()];
        command.extend(["-out", encrypted.to_str().unwrap()]);
        command.extend(encryption);
        assert!(openssl(&command).status.success());
        fs::set_permissions(&encrypted, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&encrypted, &plain).unwrap();
        assert_eq!(encrypted_store(&folder, "new").load().await.unwrap(), CaMaterial::KeyOnly(key));
    }
}

#[test]
fn a_passphrase_file_is_its_owners_alone_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passphrase");
    assert!(KeyStoreSecret::read(&file).unwrap_err().to_string().contains("does not exist"));
    for (text, passphrase) in [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("two words\r\nrest", "two words")] {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(KeyStoreSecret::read(&file).unwrap().expose(), passphrase);
    }
    fs::write(&file, "\ns3cret").unwrap();
    let empty = KeyStoreSecret::read(&file).unwrap_err().to_string();
    assert!(empty.contains("first line is empty") && !empty.contains("s3cret"), "{empty}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(KeyStoreSecret::read(&file), Err(KeyStoreError::NotPrivate { .. })));
}

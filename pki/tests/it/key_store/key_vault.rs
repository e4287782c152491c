//! The contract on an Azure Key Vault, and what is particular to vaults.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use signalbeam_pki::{
    CaKeyStore, CaKeyStores as _, CaKeyType, CaMaterial, KeySlot, KeyStoreError, KeyVault, KeyVaultIdentity,
    KeyVaultKeyStores, KeyVaultSettings,
};
use tempfile::TempDir;

use super::vault_stand_in::{ASSERTION, CLIENT, IDENTITY_HEADER, Mood, StandIn, TENANT, seen};
use super::{SECRET, ends_with_one_authority, holds, keeps_the_contract};

const FOLDER: &str = "SIGNALBEAM_TEST_VAULT_FOLDER";
const ADDRESS: &str = "SIGNALBEAM_TEST_VAULT_ADDRESS";

/// A vault, as the process sees it that was started for it.
struct Subject {
    folder: PathBuf,
    address: String,
}

impl Subject {
    fn vault(&self, identity: KeyVaultIdentity, settling: Duration) -> Result<Arc<KeyVault>, KeyStoreError> {
        let roots = vec![fs::read(self.folder.join("root.der")).unwrap().into()];
        KeyVault::new(KeyVaultSettings { uri: self.address.clone(), identity, roots, settling })
    }

    /// A store of its own.
    fn store(&self, name: &str) -> Arc<dyn CaKeyStore> {
        self.patient_store(name, Duration::ZERO)
    }

    fn patient_store(&self, name: &str, settling: Duration) -> Arc<dyn CaKeyStore> {
        on(self.vault(KeyVaultIdentity::Managed, settling).unwrap(), name)
    }
}

fn on(vault: Arc<KeyVault>, name: &str) -> Arc<dyn CaKeyStore> {
    KeyVaultKeyStores::new(vault, format!("{name}-key"), format!("{name}-cert")).open(&KeySlot::main()).unwrap()
}

/// Runs a test in a process whose environment says who it is in Azure, beside a stand-in. `test` is the function's name.
fn with_vault(test: &str, body: impl AsyncFnOnce(Subject)) {
    if let (Some(folder), Ok(address)) = (env::var_os(FOLDER), env::var(ADDRESS)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(body(Subject { folder: folder.into(), address }));
    }
    let folder = TempDir::new().unwrap();
    let stand_in = StandIn::start(folder.path());
    let assertion = folder.path().join("assertion");
    fs::write(&assertion, ASSERTION).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args([&format!("key_store::key_vault::{test}"), "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(ADDRESS, &stand_in.address)
        .env("IDENTITY_ENDPOINT", format!("{}/msi/token", stand_in.address))
        .env("IDENTITY_HEADER", IDENTITY_HEADER)
        .env("AZURE_AUTHORITY_HOST", &stand_in.address)
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", CLIENT)
        .env("AZURE_FEDERATED_TOKEN_FILE", &assertion)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn vaults_keep_the_contract() {
    with_vault("vaults_keep_the_contract", async |vault| {
        for key_type in CaKeyType::ALL {
            keeps_the_contract(key_type, || vault.store(key_type.as_str())).await;
        }
    });
}

#[test]
fn creating_at_once_ends_with_one_authority() {
    with_vault("creating_at_once_ends_with_one_authority", async |vault| {
        ends_with_one_authority(|| vault.patient_store("one", Duration::from_millis(2_500))).await;
        let made = seen(&vault.folder).iter().filter(|line| line.starts_with("POST /keys/one-key/create 200")).count();
        assert!(made > 1, "there was no race");
    });
}

#[test]
fn the_key_is_never_asked_for_and_the_token_is_kept() {
    with_vault("the_key_is_never_asked_for_and_the_token_is_kept", async |vault| {
        let store = vault.store("main");
        store.create_key(CaKeyType::EcdsaP256).await.unwrap();
        for _ in 0..3 {
            store.sign(b"message").await.unwrap();
        }
        let seen = seen(&vault.folder);
        let challenged = seen.iter().filter(|line| line.ends_with(" 401")).count();
        assert_eq!(challenged, 1, "{seen:#?}");
        assert!(seen.iter().all(|line| !line.contains("backup") && !line.contains("/secrets/main-key")), "{seen:#?}");
        assert_eq!(seen.iter().filter(|line| line.contains("/sign 200")).count(), 3, "one request a signature");
    });
}

#[test]
fn a_pods_identity_opens_the_vault_too() {
    with_vault("a_pods_identity_opens_the_vault_too", async |vault| {
        let key = vault.store("main").create_key(CaKeyType::EcdsaP384).await.unwrap();
        let store = on(vault.vault(KeyVaultIdentity::Workload, Duration::ZERO).unwrap(), "main");
        assert_eq!(store.load().await.unwrap(), CaMaterial::KeyOnly(key.clone()));
        assert!(holds(CaKeyType::EcdsaP384, key.spki_der(), b"message", &store.sign(b"message").await.unwrap()));
    });
}

fn assert_unavailable(failure: &KeyStoreError, vault: &Subject) {
    assert!(matches!(failure, KeyStoreError::Unavailable { .. }), "{failure:?}");
    let said = format!("{failure} {failure:?}");
    assert!(said.contains(&vault.address) && !said.contains(SECRET) && !said.contains(IDENTITY_HEADER), "{said}");
}

#[test]
fn a_vault_in_trouble_is_an_error_and_works_again_by_itself() {
    with_vault("a_vault_in_trouble_is_an_error_and_works_again_by_itself", async |vault| {
        let store = vault.store("main");
        let key = store.create_key(CaKeyType::EcdsaP256).await.unwrap();
        for mood in [Mood::Failing, Mood::Forbidding, Mood::Hanging] {
            mood.set(&vault.folder);
            // Bounded: the stand-in hangs for an hour.
            assert_unavailable(&store.sign(b"message").await.unwrap_err(), &vault);
            assert_unavailable(&vault.store("main").load().await.unwrap_err(), &vault);
            Mood::Well.set(&vault.folder);
            let signature = store.sign(b"message").await.unwrap();
            assert!(holds(CaKeyType::EcdsaP256, key.spki_der(), b"message", &signature));
        }
        Mood::Lying.set(&vault.folder);
        let refused = store.sign(b"message").await.unwrap_err();
        assert!(matches!(refused, KeyStoreError::Signing(_)), "{refused:?}");
    });
}

#[test]
fn a_throttled_request_is_repeated_when_the_vault_says() {
    with_vault("a_throttled_request_is_repeated_when_the_vault_says", async |vault| {
        let store = vault.store("main");
        store.create_key(CaKeyType::EcdsaP256).await.unwrap();
        Mood::Throttling(2).set(&vault.folder);
        store.sign(b"message").await.unwrap();
        let seen = seen(&vault.folder);
        let throttled = seen.iter().filter(|line| line.contains("/sign 429")).count();
        assert_eq!(throttled, 2, "{seen:#?}");
        Mood::Throttling(1_000).set(&vault.folder);
        assert_unavailable(&store.sign(b"message").await.unwrap_err(), &vault);
    });
}

#[test]
fn a_vault_that_nobody_vouches_for_gets_no_request() {
    with_vault("a_vault_that_nobody_vouches_for_gets_no_request", async |vault| {
        let stranger = crate::fixture::Forge::root().certificate;
        fs::write(vault.folder.join("root.der"), stranger).unwrap();
        let refused = vault.store("main").load().await.unwrap_err();
        assert_unavailable(&refused, &vault);
        assert!(refused.to_string().contains("certificate"), "{refused}");
        assert_eq!(seen(&vault.folder), [""; 0]);
    });
}

#[test]
fn what_opens_the_vault_goes_to_no_other_host() {
    with_vault("what_opens_the_vault_goes_to_no_other_host", async |vault| {
        let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        Mood::Luring(elsewhere.local_addr().unwrap().port()).set(&vault.folder);
        let refused = vault.store("main").load().await.unwrap_err();
        assert!(elsewhere.accept().is_err(), "somebody else was asked");
        assert!(refused.to_string().contains("another host"), "{refused}");
        assert_unavailable(&refused, &vault);
    });
}

/// The contract on a vault that is named from outside, such as Lowkey Vault.
#[test]
fn a_named_vault_keeps_the_contract() {
    let Ok(uri) = env::var("SIGNALBEAM_TEST_KEY_VAULT") else { return };
    let root = env::var("SIGNALBEAM_TEST_KEY_VAULT_CA").ok();
    let roots = root.map(|path| certificate(Path::new(&path)).into()).into_iter().collect::<Vec<_>>();
    let run = format!("{:x}", std::process::id());
    let store = |name: &str, settling| {
        let settings =
            KeyVaultSettings { uri: uri.clone(), identity: KeyVaultIdentity::Managed, roots: roots.clone(), settling };
        on(KeyVault::new(settings).unwrap(), &format!("{name}-{run}"))
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for key_type in CaKeyType::ALL {
            keeps_the_contract(key_type, || store(key_type.as_str(), Duration::ZERO)).await;
        }
        ends_with_one_authority(|| store("one", KeyVaultSettings::SETTLING)).await;
    });
}

fn certificate(path: &Path) -> Vec<u8> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(&fs::read(path).unwrap()).unwrap();
    pem.contents
}

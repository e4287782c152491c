//! A token of SoftHSM in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use signalbeam_pki::{CaKeyStore, KeyStoreSecret, Pkcs11KeyStore, Pkcs11Token, Pkcs11TokenSettings};
use tempfile::TempDir;

use super::SECRET;

/// Where Debian and others put the library.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
];
const TOKEN: &str = "signalbeam";
const FOLDER: &str = "SIGNALBEAM_TEST_SOFTHSM_FOLDER";

/// A token, as the process sees it that was started for it.
pub(super) struct SoftHsm {
    folder: PathBuf,
    pub(super) library: PathBuf,
}

/// Runs a test in a process of its own with a fresh token: the library is the whole process's, and reads where its tokens
/// are from the environment. `test` is the function's name in module `pkcs11`.
pub(super) fn with_token(test: &str, body: impl FnOnce(SoftHsm)) {
    let library = LIBRARIES.map(PathBuf::from).into_iter().find(|path| path.exists());
    let library = library.expect("SoftHSM is missing: apt-get install softhsm2");
    if let Some(folder) = env::var_os(FOLDER) {
        return body(SoftHsm { folder: folder.into(), library });
    }
    let folder = TempDir::new().unwrap();
    initialise(folder.path());
    let output = again(test, folder.path(), &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// This program with that one test, in the token's environment.
pub(super) fn again(test: &str, folder: &Path, variables: &[(&str, &str)]) -> Output {
    let name = format!("key_store::pkcs11::{test}");
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&name, "--exact", "--nocapture"]).envs(variables.iter().copied());
    command.env(FOLDER, folder).env("SOFTHSM2_CONF", folder.join("softhsm2.conf")).output().unwrap()
}

fn initialise(folder: &Path) {
    let tokens = folder.join("tokens");
    fs::create_dir(&tokens).unwrap();
    let configuration = folder.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
    fs::write(&configuration, text).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", TOKEN, "--so-pin", "12345678", "--pin", SECRET])
        .env("SOFTHSM2_CONF", &configuration)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl SoftHsm {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn settings(&self, pin: &str) -> Pkcs11TokenSettings {
        Pkcs11TokenSettings {
            module: self.library.clone(),
            token_label: TOKEN.to_owned(),
            pin: KeyStoreSecret::new(pin.to_owned()),
            settling: Duration::ZERO,
        }
    }

    /// A store of its own on a label.
    pub(super) fn store(&self, label: &str) -> Arc<dyn CaKeyStore> {
        Arc::new(Pkcs11KeyStore::new(Pkcs11Token::new(self.settings(SECRET)), label))
    }

    /// Takes the token out, as if its reader were unplugged.
    pub(super) fn take_out(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("taken-out")).unwrap();
    }

    pub(super) fn put_back(&self) {
        fs::rename(self.folder.join("taken-out"), self.folder.join("tokens")).unwrap();
    }
}

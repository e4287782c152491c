//! The programs of the agent's package, which stand beside the server's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A program of the agent's package. All are built here unless a CI has done so before.
pub(crate) fn agents_binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_signalbeam")).parent().unwrap();
        if !(file(folder, "signalbeam-agent").exists() && std::env::var_os("CI").is_some()) {
            let profile = match folder.file_name().unwrap().to_str().unwrap() {
                "debug" => "dev",
                other => other,
            };
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--package", "signalbeam-agent", "--bins"]);
            build.args(["--profile", profile, "--target-dir"]).arg(folder.parent().unwrap());
            let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
            assert!(status.success(), "the agent does not build: {status}");
        }
        folder.to_owned()
    });
    file(folder, name)
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

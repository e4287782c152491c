//! The real `signalbeam-agent` with a home directory of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::agents_binary;
use crate::device::TENANT;

pub(crate) struct Agent {
    home: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Agent {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(agents_binary("signalbeam-agent"));
        command.env_clear().env("HOME", self.home.path()).env("SIGNALBEAM_CERT_DIR", self.certs());
        command.args(["--output", "json"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// Begins a command whose answer will be lost.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// The command line that registers with a token at a server whose CA has this fingerprint.
    pub(crate) fn registration<'a>(url: &'a str, token: &'a str, ca_fingerprint: &'a str) -> [&'a str; 11] {
        ["register", "--tenant-id", TENANT, "--token", token, "--device-name", "agent-01", "--cloud-url", url]
            .into_iter()
            .chain(["--ca-fingerprint", ca_fingerprint])
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    pub(crate) fn certs(&self) -> PathBuf {
        self.home.path().join("certs")
    }

    pub(crate) fn credentials(&self) -> Value {
        serde_json::from_slice(&fs::read(self.home.path().join(".signalbeam/credentials.json")).unwrap()).unwrap()
    }

    pub(crate) fn device_id(&self) -> String {
        self.credentials()["deviceId"].as_str().unwrap().to_owned()
    }

    /// The installed certificate's serial number.
    #[track_caller]
    pub(crate) fn serial_number(&self) -> String {
        let status = self.run(&["certificate-status"]).expect(0).json();
        status["serialNumber"].as_str().unwrap_or_else(|| panic!("{status}")).to_owned()
    }
}

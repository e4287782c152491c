//! A device under test: the program, a home directory of its own, and a server to talk to.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use signalbeam_agent::cert_store::{CertStore, Installation};
use tempfile::TempDir;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::authority::{Authority, Life};
use crate::examples::{self, DEVICE_ID, TENANT_ID};
use crate::fake_server::{FakeServer, Reply};
use crate::model::{Fate, Model};

/// A well-formed registration token.
pub(crate) const TOKEN: &str = "sbt_a1b2c3d4_T0ken-Example_AAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// The API key of the examples.
pub(crate) const API_KEY: &str = "sb_device_e5f6g7h8_Key-Example_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) struct Device {
    pub(crate) authority: Authority,
    pub(crate) server: FakeServer,
    home: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

impl Device {
    /// Unregistered, with a server that trusts and is trusted.
    pub(crate) fn new() -> Self {
        let authority = Authority::new();
        let server = FakeServer::start(authority.server_certificate(Life::days(-1, 90)));
        Self { authority, server, home: tempfile::tempdir().unwrap() }
    }

    /// Registered and waiting for approval.
    pub(crate) fn registered() -> Self {
        let device = Self::new();
        device.server.on(REGISTER, |seen| Reply::json(201, &examples::registered(&seen.body["claimSecret"])));
        device.register(&[]).expect(0);
        device
    }

    /// Approved, with an API key.
    pub(crate) fn approved() -> Self {
        let device = Self::registered();
        device.server.reply(&status_route(), Reply::json(200, &examples::approved(in_days(90))));
        device.server.reply(&claim_route(), Reply::json(200, &examples::claimed(in_days(90))));
        device.run(&["status"]).expect(0);
        device
    }

    /// Approved, with an API key and a certificate of this life.
    pub(crate) fn certified(serial: u8, life: Life) -> Self {
        let device = Self::approved();
        device.issue_on_request(serial, life);
        device.run(&["request-certificate"]).expect(0);
        device
    }

    /// With a server that keeps the real rules: approved, with an API key and a certificate that were used.
    pub(crate) fn modelled() -> (Self, Model) {
        let device = Self::new();
        let model = Model::new(Arc::new(Authority::new()), Arc::new(OffsetDateTime::now_utc));
        model.serve(&device.server, |_| Fate::Answered);
        device.register(&[]).expect(0);
        for command in [&["status"][..], &["request-certificate"], &["run", "--once"]] {
            device.run(command).expect(0);
        }
        (device, model)
    }

    /// Makes the API key look as if it ended in a few days; tells when.
    pub(crate) fn age_api_key(&self) -> OffsetDateTime {
        let end = in_days(10);
        self.edit_credentials("apiKeyObtainedAt", "2000-01-01T00:00:00Z".into());
        self.edit_credentials("apiKeyExpiresAt", end.format(&Rfc3339).unwrap().into());
        end
    }

    /// Lets the server sign the next requests for issuance.
    pub(crate) fn issue_on_request(&self, serial: u8, life: Life) {
        let authority = Authority::new();
        let ca_pem = authority.pem().to_owned();
        self.server.forget(&issue_route()).on(&issue_route(), move |seen| {
            let pem = authority.certify_request(seen.body["csrPem"].as_str().unwrap(), serial, life);
            Reply::json(201, &examples::issued(&pem, &ca_pem))
        });
    }

    pub(crate) fn register(&self, more: &[&str]) -> Ended {
        Ended::from(self.register_with(more).output().unwrap())
    }

    /// The command that registers this device.
    pub(crate) fn register_command(&self) -> Command {
        self.register_with(&[])
    }

    fn register_with(&self, more: &[&str]) -> Command {
        let ca = self.home.path().join("ca.pem");
        fs::write(&ca, self.authority.pem()).unwrap();
        let mut arguments = vec!["register", "--tenant-id", TENANT_ID, "--device-name", "warehouse-01"];
        arguments.extend(["--ca-cert", ca.to_str().unwrap()]);
        if !more.contains(&"--cloud-url") {
            arguments.extend(["--cloud-url", self.server.url()]);
        }
        if !more.contains(&"--token") {
            arguments.extend(["--token", TOKEN]);
        }
        arguments.extend(more);
        self.command(&arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let ended = self.command(arguments).output().unwrap();
        Ended::from(ended)
    }

    /// The program with nothing of this process's environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbeam-agent"));
        command.env_clear().env("HOME", self.home.path()).env("SIGNALBEAM_CERT_DIR", self.cert_dir());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn credentials_path(&self) -> PathBuf {
        self.home.path().join(".signalbeam/credentials.json")
    }

    pub(crate) fn credentials(&self) -> Value {
        serde_json::from_slice(&fs::read(self.credentials_path()).unwrap()).unwrap()
    }

    /// Changes one field of the credentials file.
    pub(crate) fn edit_credentials(&self, field: &str, value: Value) {
        let mut credentials = self.credentials();
        credentials[field] = value;
        fs::write(self.credentials_path(), credentials.to_string()).unwrap();
    }

    pub(crate) fn cert_dir(&self) -> PathBuf {
        self.home.path().join("certs")
    }

    pub(crate) fn installed(&self) -> Option<Installation> {
        CertStore::new(self.cert_dir()).installed().unwrap()
    }

    /// The last two hex digits of the installed certificate's serial number.
    pub(crate) fn installed_serial(&self) -> Option<String> {
        self.installed().map(|installed| installed.identity.info().serial_number.clone())
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) const REGISTER: &str = "POST /api/devices";

pub(crate) fn status_route() -> String {
    format!("GET /api/devices/{DEVICE_ID}/registration-status")
}

pub(crate) fn claim_route() -> String {
    format!("POST /api/devices/{DEVICE_ID}/api-key/claim")
}

pub(crate) fn issue_route() -> String {
    format!("POST /api/certificates/{DEVICE_ID}/issue")
}

pub(crate) fn renew_route(serial: u8) -> String {
    format!("POST /api/certificates/{}/renew", crate::authority::serial_hex(serial))
}

pub(crate) fn heartbeat_route() -> String {
    format!("POST /api/devices/{DEVICE_ID}/heartbeat")
}

pub(crate) fn in_days(days: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::days(days)
}

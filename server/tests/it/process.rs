//! A server in a process of its own, as an operator runs it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The command, with what makes tests quick.
pub(crate) fn signalbeam(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbeam"));
    command
        .current_dir(data_dir.parent().unwrap())
        .env("SIGNALBEAM_DATA_DIR", data_dir)
        .env("SIGNALBEAM__AUTHENTICATION__BCRYPT_COST", "4")
        .env("SIGNALBEAM__CA__KEY_TYPE", "ecdsa-p256")
        .env("SIGNALBEAM__LISTENER__ADDRESS", "127.0.0.1:0")
        .env("SIGNALBEAM__LISTENER__OPS_ADDRESS", "127.0.0.1:0")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server that has said where it serves. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// What it printed at its start.
    pub(crate) banner: String,
    pub(crate) url: String,
    pub(crate) ops_url: String,
    pub(crate) http: Agent,
}

impl Server {
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_with(signalbeam(data_dir).arg("serve"), data_dir)
    }

    pub(crate) fn start_with(command: &mut Command, data_dir: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (said, lines) = channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        let mut banner = String::new();
        while !(banner.contains("(health and metrics") || banner.contains("signalbeam admin-token")) {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => banner.extend([line.as_str(), "\n"]),
                Err(RecvTimeoutError::Timeout) => panic!("it says nothing more than {banner}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let mut complaint = String::new();
                    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
                    panic!("it ended: {complaint}");
                }
            }
        }
        let find = |scheme: &str| {
            let word = banner.split_whitespace().find(|word| word.starts_with(scheme)).unwrap();
            word.trim_end_matches(')').to_owned()
        };
        let (url, ops_url) = (find("https://"), find("http://"));
        Self { child, url, ops_url, http: agent(data_dir), banner }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Status and body of a plain GET on the operations listener.
    pub(crate) fn ops(&self, path: &str) -> (u16, String) {
        let mut answer = self.http.get(format!("{}{path}", self.ops_url)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    /// Tells it to end and waits for that; the status and what it said on standard error.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        self.signal("-TERM");
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended where it was told to.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A client that trusts the authority in the data directory and nobody else.
fn agent(data_dir: &Path) -> Agent {
    let authority = std::fs::read(data_dir.join("ca/ca-cert.pem")).unwrap();
    let authority = Certificate::from_pem(&authority).unwrap();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[authority]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder().tls_config(tls).http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} does not come true");
        thread::yield_now();
    }
}

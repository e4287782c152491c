//! A data directory and the `signalbeam` processes that run on it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::waiting::{PATIENCE, eventually};

/// Where a server lives: its directory, its settings, and everything that its processes have said.
pub(crate) struct Site {
    dir: TempDir,
    settings: Vec<(String, String)>,
    said: Arc<Mutex<String>>,
    secrets: Mutex<Vec<String>>,
    survives_write_errors: bool,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            settings: Vec::new(),
            said: Arc::default(),
            secrets: Mutex::default(),
            survives_write_errors: false,
        };
        site.with("authentication.bcrypt_cost", "4")
    }

    /// Sets `section.key`.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a variable of the process's environment that is no setting.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let variable = format!("SIGNALBEAM__{}", key.replace('.', "__").to_uppercase());
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value.to_owned()));
    }

    /// Writes beyond [`Server::limit_files`] fail instead of ending the process by SIGXFSZ, as on a full disk.
    pub(crate) fn surviving_write_errors(mut self) -> Self {
        self.survives_write_errors = true;
        self
    }

    /// Writes the file that the server reads at its start and at SIGHUP.
    pub(crate) fn configure(&self, toml: &str) {
        std::fs::write(self.dir.path().join("signalbeam.toml"), toml).unwrap();
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("ca/ca-cert.pem")).unwrap()
    }

    pub(crate) fn ca_key_pem(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("ca/ca-key.pem")).unwrap()
    }

    /// The program with this site's directory and settings, and nothing of this process's environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let binary = env!("CARGO_BIN_EXE_signalbeam");
        let mut command = if self.survives_write_errors {
            let mut shell = Command::new("/bin/sh");
            // What is ignored stays ignored in the program that takes the shell's place.
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", binary]);
            shell
        } else {
            Command::new(binary)
        };
        command.env_clear().env("RUST_BACKTRACE", "1").env("SIGNALBEAM_DATA_DIR", self.data_dir());
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).current_dir(self.dir.path());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs an operator's command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a server; it is ready when this returns.
    #[track_caller]
    pub(crate) fn start(&self) -> Server<'_> {
        self.try_start().unwrap_or_else(|failed| panic!("the server did not start: {failed:#?}"))
    }

    /// As [`Self::start`]; a process that ends before it serves is what failed.
    pub(crate) fn try_start(&self) -> Result<Server<'_>, Ended> {
        let server = self.launch()?;
        eventually("the server is ready", || (server.readiness() == 200).then_some(()));
        Ok(server)
    }

    /// Starts a server that serves when this returns, ready or not.
    pub(crate) fn launch(&self) -> Result<Server<'_>, Ended> {
        let mut child =
            self.command(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]).spawn().unwrap();
        let (tell, lines) = mpsc::channel();
        let readers = vec![
            follow(child.stdout.take().unwrap(), Arc::clone(&self.said), Some(tell)),
            follow(child.stderr.take().unwrap(), Arc::clone(&self.said), None),
        ];
        let mut banner = String::new();
        let addresses = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => banner.push_str(&line),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    panic!("no sign of life: {}", self.said());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = child.wait().unwrap();
                    for reader in readers {
                        reader.join().unwrap();
                    }
                    return Err(Ended { code: status.code(), said: self.said() });
                }
            }
            if let (Some(api), Some(ops)) = (address(&banner, "https://"), address(&banner, "http://")) {
                break (api, ops);
            }
        };
        Ok(Server { site: self, child, readers, address: addresses.0, ops_address: addresses.1 })
    }

    /// Everything that all processes have printed.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Notes a secret that must never be seen again.
    pub(crate) fn note_secret(&self, secret: &str) {
        self.secrets.lock().unwrap().push(secret.to_owned());
    }

    pub(crate) fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap().clone()
    }

    /// An admin token by the operator's command.
    #[track_caller]
    pub(crate) fn admin_token(&self, more: &[&str]) -> String {
        let output = self.run(&[&["admin-token"], more].concat());
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        self.note_secret(&token);
        token
    }

    /// The whole event log, oldest first.
    #[track_caller]
    pub(crate) fn export(&self) -> Vec<Value> {
        let output = self.run(&["events", "export"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// How a server that did not serve ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

/// A running server; ended by SIGTERM when dropped.
pub(crate) struct Server<'a> {
    pub(crate) site: &'a Site,
    pub(crate) address: SocketAddr,
    pub(crate) ops_address: SocketAddr,
    child: Child,
    readers: Vec<JoinHandle<()>>,
}

impl Server<'_> {
    /// A client that proves nothing.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(self.address, &self.site.ca_pem(), None)
    }

    /// An admin of every tenant.
    pub(crate) fn admin(&self) -> Client {
        self.admin_with(&[])
    }

    pub(crate) fn admin_with(&self, more: &[&str]) -> Client {
        self.anonymous().bearer(&self.site.admin_token(more))
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The status of `/health/ready`.
    pub(crate) fn readiness(&self) -> u16 {
        Client::plain(self.ops_address).get("/health/ready").status
    }

    /// The metrics as text.
    pub(crate) fn metrics(&self) -> String {
        Client::plain(self.ops_address).get("/metrics").text()
    }

    /// Asks the process to read its configuration again.
    pub(crate) fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for the end after [`Self::terminate`].
    #[track_caller]
    pub(crate) fn wait(mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the server ends", || child.try_wait().unwrap());
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        status
    }

    /// SIGTERM, and exit code 0 is expected.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.terminate();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status:?}");
    }

    /// From now on no file can be written beyond this many bytes, nor overwritten there.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// SIGKILL, while others still talk to it.
    pub(crate) fn kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
    }

    /// Waits for the end after [`Self::kill`].
    pub(crate) fn reap(mut self) {
        self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.terminate();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            eprintln!("--- what the server said ---\n{}", self.site.said());
        }
    }
}

/// Keeps what a process prints, and passes lines on.
fn follow(
    pipe: impl Read + Send + 'static,
    said: Arc<Mutex<String>>,
    tell: Option<mpsc::Sender<String>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            said.lock().unwrap().push_str(&text);
            if let Some(tell) = &tell {
                // Nobody listens any more once the server is ready.
                let _unheard = tell.send(text);
            }
            line.clear();
        }
    })
}

/// The address that follows `scheme` in the banner.
fn address(banner: &str, scheme: &str) -> Option<SocketAddr> {
    let complete_lines = &banner[..=banner.rfind('\n')?];
    let start = complete_lines.match_indices(scheme).map(|(at, _)| at + scheme.len()).next()?;
    let rest = &complete_lines[start..];
    let end = rest.find(|letter: char| !(letter.is_ascii_hexdigit() || ".:[]".contains(letter)))?;
    rest[..end].parse().ok()
}

/// Removes the derived tables, as an operator may at any time while the server is down.
pub(crate) fn remove_projections(data_dir: &Path) {
    for name in ["projections.db", "projections.db-wal", "projections.db-shm"] {
        match std::fs::remove_file(data_dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
            _ => {}
        }
    }
}

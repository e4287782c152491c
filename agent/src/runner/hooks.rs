//! What happens after the certificate or its CAs changed: a command, and a signal to the program that uses them.
//!
//! Both are done for every installation once, also when the agent was not running at the time, and again after a failure.
//! They run beside the heartbeats and end at their timeout.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tracing::{info, warn};

use crate::cert_store::{CertStore, Installation};
use crate::decision::Backoff;
use crate::session::Session;
use crate::settings::{self, ReloadSignal};

/// Variables of the agent's own environment that are none of a hook's business.
const WITHHELD: [&str; 4] = ["SIGNALBEAM_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("the command cannot be run: {0}")]
    Run(io::Error),
    #[error("the command ended with {0}")]
    Ended(ExitStatus),
    #[error("the command was ended after {} s", .0.as_secs())]
    TooLong(Duration),
    #[error("{} holds no process id", .0.display())]
    NoProcessId(PathBuf),
    #[error("process {id} cannot be signalled: {source}")]
    Signal { id: i32, source: io::Error },
}

/// The hooks and how far they are.
#[derive(Debug)]
pub struct Hooks {
    settings: settings::Hooks,
    running: Option<Running>,
    done: Option<String>,
    backoff: Backoff,
}

#[derive(Debug)]
struct Running {
    digest: String,
    outcome: Receiver<Result<(), HookError>>,
}

impl Hooks {
    /// Hooks of which none has run yet.
    pub fn new(settings: settings::Hooks) -> Self {
        Self { settings, running: None, done: None, backoff: Backoff::default() }
    }

    /// Takes note of hooks that have ended, and starts them where they are due.
    pub fn tend(&mut self, session: &Session, elapsed: Duration, random: u8) {
        if self.settings.exec.is_none() && self.settings.reload_pid_file.is_none() {
            return;
        }
        self.collect(session.certs(), Duration::ZERO, elapsed, random);
        if self.running.is_some() || !self.backoff.allows(elapsed) {
            return;
        }
        let installed = session.installed().ok().flatten();
        let done = self.done.clone().or_else(|| session.certs().hooks_done());
        match installed.filter(|installed| done != Some(installed.digest())) {
            Some(installed) => {
                let digest = installed.digest();
                self.running = Some(Running { digest, outcome: self.start(session, &installed) });
            }
            // What failed is there no more: nothing is due for it.
            None => self.backoff.succeeded(),
        }
    }

    /// When hooks that failed are due again.
    pub fn next_due(&self) -> Option<Duration> {
        Some(self.backoff.held_until()).filter(|due| self.running.is_none() && !due.is_zero())
    }

    /// Waits for hooks that are running, at most this long.
    pub fn finish(&mut self, certs: &CertStore, patience: Duration, elapsed: Duration) {
        self.collect(certs, patience, elapsed, u8::MAX);
    }

    /// How long the hooks may run.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.settings.timeout_seconds.into())
    }

    fn collect(&mut self, certs: &CertStore, patience: Duration, elapsed: Duration, random: u8) {
        let Some(running) = &self.running else { return };
        let Ok(outcome) = running.outcome.recv_timeout(patience) else { return };
        let digest = running.digest.clone();
        self.running = None;
        match outcome {
            Ok(()) => {
                info!("the hooks for the installed certificate succeeded");
                self.backoff.succeeded();
                if let Err(error) = certs.remember_hooks_done(&digest) {
                    warn!(reason = %error, "they will run once more after the agent is started again");
                }
                self.done = Some(digest);
            }
            Err(error) => {
                self.backoff.failed(elapsed, None, random);
                warn!(reason = %error, "a hook failed and will be tried again");
            }
        }
    }

    fn start(&self, session: &Session, installed: &Installation) -> Receiver<Result<(), HookError>> {
        let (sender, outcome) = channel();
        let command = self.settings.exec.as_ref().map(|line| command(line, session, installed));
        let reload = self.settings.reload_pid_file.clone().map(|file| (file, self.settings.reload_signal));
        let timeout = self.timeout();
        // A receiver that hears nothing more waits no longer, so a thread that cannot be had is seen as a failure.
        let sent = sender.clone();
        let spawned = thread::Builder::new().name("hooks".to_owned()).stack_size(64 * 1024).spawn(move || {
            let outcome = command
                .map_or(Ok(()), |command| run(command, timeout))
                .and_then(|()| reload.map_or(Ok(()), |(file, with)| signal(&file, with)));
            // The agent may have ended meanwhile.
            let _ = sent.send(outcome);
        });
        if let Err(error) = spawned {
            // The receiver is in this very function.
            let _ = sender.send(Err(HookError::Run(error)));
        }
        outcome
    }
}

fn command(line: &str, session: &Session, installed: &Installation) -> Command {
    let record = session.certs().record(installed);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .stdin(Stdio::null())
        // Standard output is for results of the agent.
        .stdout(io::stderr())
        .process_group(0)
        .env("SIGNALBEAM_DEVICE_ID", session.device_id().to_string())
        .env("SIGNALBEAM_CERT_DIR", session.certs().dir())
        .env("SIGNALBEAM_SERIAL", record.serial_number)
        .env("SIGNALBEAM_EXPIRES_AT", record.expires_at.unix_timestamp().to_string())
        .env("SIGNALBEAM_CERTIFICATE_PATH", record.certificate_path)
        .env("SIGNALBEAM_PRIVATE_KEY_PATH", record.private_key_path)
        .env("SIGNALBEAM_CA_CERTIFICATE_PATH", record.ca_certificate_path);
    for name in WITHHELD {
        command.env_remove(name);
    }
    command
}

fn run(mut command: Command, timeout: Duration) -> Result<(), HookError> {
    let mut child = command.spawn().map_err(HookError::Run)?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (sender, ended) = channel();
    let waiter = thread::Builder::new().name("hook-wait".to_owned()).stack_size(64 * 1024);
    waiter.spawn(move || drop(sender.send(child.wait()))).map_err(HookError::Run)?;
    match ended.recv_timeout(timeout) {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HookError::Ended(status)),
        Ok(Err(error)) => Err(HookError::Run(error)),
        Err(_) => {
            // The whole group, for a shell that is ended alone leaves its children behind.
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(HookError::TooLong(timeout))
        }
    }
}

fn signal(file: &Path, with: ReloadSignal) -> Result<(), HookError> {
    let id: i32 = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        // 0 and negative numbers are groups; 1 is the machine.
        .filter(|id| *id > 1)
        .ok_or_else(|| HookError::NoProcessId(file.to_owned()))?;
    let process = Pid::from_raw(id).ok_or_else(|| HookError::NoProcessId(file.to_owned()))?;
    let with = match with {
        ReloadSignal::Hup => Signal::HUP,
        ReloadSignal::Usr1 => Signal::USR1,
        ReloadSignal::Usr2 => Signal::USR2,
        ReloadSignal::Term => Signal::TERM,
    };
    kill_process(process, with).map_err(|source| HookError::Signal { id, source: source.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).process_group(0);
        command
    }

    #[test]
    fn a_command_succeeds_fails_or_is_ended() {
        assert!(run(shell("exit 0"), Duration::from_secs(30)).is_ok());
        let failed = run(shell("exit 7"), Duration::from_secs(30)).unwrap_err();
        assert!(failed.to_string().contains('7'), "{failed}");
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Nobody ever writes into the pipe.
        let endless = run(shell(&format!("cat {}", pipe.display())), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(endless, HookError::TooLong(_)), "{endless}");
        assert!(matches!(run(Command::new("/nowhere"), Duration::from_secs(1)), Err(HookError::Run(_))));
    }

    #[test]
    fn only_a_process_is_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        for text in ["", "0", "1", "-5", "abc", "99999999999"] {
            fs::write(&file, text).unwrap();
            assert!(matches!(signal(&file, ReloadSignal::Hup), Err(HookError::NoProcessId(_))), "{text:?}");
        }
        assert!(matches!(signal(&dir.path().join("absent"), ReloadSignal::Hup), Err(HookError::NoProcessId(_))));
        fs::write(&file, i32::MAX.to_string()).unwrap();
        assert!(matches!(signal(&file, ReloadSignal::Hup), Err(HookError::Signal { .. })));

        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        fs::write(&file, format!("{}\n", child.id())).unwrap();
        signal(&file, ReloadSignal::Term).unwrap();
        assert!(!child.wait().unwrap().success(), "ended by the signal");
    }
}

//! The command line: what can be typed, and how it ends. 0 fine, 1 failed, 2 bad usage or configuration; `doctor` ends
//! with 3 where there is nothing worse than a warning.

mod admin_token;
pub(crate) mod audit;
mod backup;
mod ca;
mod config;
mod doctor;
mod events;
mod projections;
mod restore;
mod serve;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::backup::progress::Progress;
use crate::config::ConfigError;
use crate::data_dir::access;

const EXAMPLES: &str = "\
Examples:
  signalbeam serve                                     start with everything by default
  signalbeam serve --listen 0.0.0.0:8443               serve other machines too
  signalbeam admin-token                               print a token for the API, valid for 12 hours
  signalbeam admin-token --role auditor --ttl 30d      print one that may only read
  signalbeam ca status                                 show the certificate authorities and what to do next
  signalbeam config print                              show every setting and its value
  signalbeam backup --output /mnt/backups/monday       back everything up, beside a running server
  signalbeam doctor                                    look everything over and say what to do
  signalbeam events export --output events.ndjson      write out the event log
  signalbeam audit verify                              prove that the authentication log is what was recorded";

/// SignalBeam: identities for devices. Enrols them, issues their API keys and certificates, and proves what happened.
#[derive(Debug, Parser)]
#[command(name = "signalbeam", version, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server; makes what is missing at its first start
    Serve(serve::ServeArgs),
    /// Print an admin token, also beside a running server
    AdminToken(admin_token::AdminTokenArgs),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Read the event log, also beside a running server
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Verify the log of authentication attempts, also beside a running server
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Look at or rebuild what is derived from the event log
    #[command(subcommand)]
    Projections(projections::ProjectionsCommand),
    /// Show the certificate authorities, and let one take over from another
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Make a verified copy of the data directory, also beside a running server
    Backup(backup::BackupArgs),
    /// Look a data directory and its configuration over, and say what to do; changes nothing
    Doctor(doctor::DoctorArgs),
    /// Put a backup into a data directory, or acknowledge that the log went back
    Restore(restore::RestoreArgs),
}

/// Where the data is.
#[derive(Debug, Clone, Args)]
struct DataDirArgs {
    /// The directory with the databases, the authority and the secrets
    #[arg(long, env = "SIGNALBEAM_DATA_DIR", default_value = "signalbeam-data", value_name = "DIR")]
    data_dir: PathBuf,
}

impl DataDirArgs {
    /// The directory, after a look whether these files stand there and can be read.
    fn with(&self, needed: &[&'static str]) -> Result<&Path, Failure> {
        access::look(&self.data_dir, needed).map_err(Failure::of)?;
        Ok(&self.data_dir)
    }
}

/// Why a command did not do what it was told.
#[derive(Debug)]
enum Failure {
    /// What was typed or configured is wrong.
    Usage(Box<dyn Error>),
    /// It went wrong.
    Failed(Box<dyn Error>),
    /// Everything has been said; this is the exit code.
    Told(u8),
}

/// How a shell reports a program that nobody reads from any more: 128 and the number of SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// The output did not get where it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {place}")]
struct Unwritten {
    place: String,
    #[source]
    source: io::Error,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into())
    }
}

impl Failure {
    fn of(error: impl Error + 'static) -> Self {
        Self::Failed(Box::new(error))
    }

    /// Of what could not be written to `place`. Whoever does not read on, as `head` does, has been served.
    fn of_output(place: &str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::Told(BROKEN_PIPE);
        }
        Self::of(Unwritten { place: place.to_owned(), source })
    }
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    // First of all: without it, TLS libraries that are linked in with another provider would have to guess. A second
    // installation cannot happen in a process that has just begun.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Also `--help` and `--version`, which clap prints on standard output. Nothing is left to do if that is gone.
            let _unprintable = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::AdminToken(args) => admin_token::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Events(command) => events::run(command),
        Command::Audit(command) => audit::run(&command),
        Command::Projections(command) => projections::run(&command),
        Command::Ca(command) => ca::run(&command),
        Command::Backup(args) => backup::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Restore(args) => restore::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => complain(&*error, 2),
        Err(Failure::Failed(error)) => complain(&*error, 1),
        Err(Failure::Told(code)) => ExitCode::from(code),
    }
}

/// Prints an error with its causes on standard error.
fn complain(error: &dyn Error, code: u8) -> ExitCode {
    let mut output = io::stderr().lock();
    // If standard error is gone, the exit code has to do.
    let mut _unprintable = writeln!(output, "error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        _unprintable = writeln!(output, "  because: {error}");
        cause = error.source();
    }
    ExitCode::from(code)
}

/// How errors name standard output.
const STANDARD_OUTPUT: &str = "standard output";

/// Prints on standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(|error| Failure::of_output(STANDARD_OUTPUT, error))
}

/// Says how far long work has come, on standard error.
fn print_progress() -> Progress {
    Progress::new(|line| {
        // If standard error is gone, the work goes on all the same.
        let _unprintable = writeln!(io::stderr().lock(), "{line}");
    })
}

/// Runs a command that waits for I/O.
fn block_on<T>(task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?.block_on(task)
}

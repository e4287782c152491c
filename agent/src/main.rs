//! The `signalbeam-agent` program.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use signalbeam_agent::cli::Cli;
use signalbeam_agent::clock::SystemClock;
use signalbeam_agent::output::{Format, failure_text};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.output;
    start_logging(format);
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let exit = match signalbeam_agent::execute(cli, home, &SystemClock, &mut io::stdout().lock()) {
        Ok(exit) => exit,
        Err(failure) => {
            // Where standard error is closed too there is nobody left to tell.
            let _ = writeln!(io::stderr().lock(), "{}", failure_text(&failure, format));
            failure.exit()
        }
    };
    ExitCode::from(exit.code())
}

/// Logs go to standard error; `RUST_LOG` chooses how much.
fn start_logging(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("signalbeam_agent=info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => builder.json().init(),
    }
}

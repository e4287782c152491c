//! The `signalbeam-simulator` program.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use signalbeam_agent::clock::SystemClock;
use signalbeam_agent::output::{Format, failure_text_advising};
use signalbeam_agent::simulator::{self, cli::Cli};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = if cli.json { Format::Json } else { Format::Text };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("signalbeam_agent=info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    logs.with_ansi(io::stderr().is_terminal()).init();
    let exit = match simulator::execute(cli, &SystemClock, &mut io::stdout(), &mut io::stderr()) {
        Ok(exit) => exit,
        Err(failure) => {
            // Where standard error is closed too there is nobody left to tell.
            let _ = writeln!(
                io::stderr().lock(),
                "{}",
                failure_text_advising(&failure, &simulator::advice(&failure), format)
            );
            failure.exit()
        }
    };
    ExitCode::from(exit.code())
}

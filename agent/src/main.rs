//! The `signalbeam-agent` program.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use signalbeam_agent::cli::Cli;
use signalbeam_agent::clock::SystemClock;
use signalbeam_agent::exit::Exit;
use signalbeam_agent::failure::Failure;
use signalbeam_agent::output::{Format, failure_text};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error),
    };
    let format = cli.output;
    start_logging(cli.log_format.unwrap_or(format));
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

/// What clap has to say: help and version on standard output, a mistake on standard error in the form that was asked for.
fn refuse_usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<_> = env::args().collect();
    let wants_json = arguments.iter().any(|argument| argument == "--output=json")
        || arguments.windows(2).any(|pair| pair == ["--output", "json"]);
    if error.use_stderr() && wants_json {
        let failure = Failure::Usage(error.to_string().trim().to_owned());
        // Where standard error is closed there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{}", failure_text(&failure, Format::Json));
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()))
}

/// Logs go to standard error; `RUST_LOG` chooses how much.
fn start_logging(format: Format) {
    // Not the richer `EnvFilter`: its regular expressions weigh more than it is worth here.
    let wanted = env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_target("signalbeam_agent", Level::INFO));
    let layer = fmt::layer().with_writer(io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).init(),
        Format::Json => registry.with(layer.json()).init(),
    }
}

//! `signalbeam-agent completions`: a script for the shell.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Context, Outcome};
use crate::cli::Cli;
use crate::exit::Exit;

/// Writes the script.
pub fn execute(shell: Shell, context: &mut Context<'_>) -> Outcome {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "signalbeam-agent", &mut script);
    context.output.write_raw(&script)?;
    Ok(Exit::Fine)
}

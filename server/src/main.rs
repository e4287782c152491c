//! The binary `signalbeam`.

use std::process::ExitCode;

fn main() -> ExitCode {
    signalbeam_server::cli::main()
}

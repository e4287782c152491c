//! `signalbeam-fuzz TARGET FILE...`: judges files, as a fuzzer's child process or to see a finding again.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(target) = name.to_str().and_then(signalbeam_fuzz::target) else {
        let names: Vec<_> = signalbeam_fuzz::TARGETS.iter().map(|target| target.name).collect();
        return usage(&format!("usage: signalbeam-fuzz TARGET FILE...; the targets are {}", names.join(", ")));
    };
    for file in arguments {
        match std::fs::read(&file) {
            Ok(input) => (target.run)(&input),
            Err(error) => return usage(&format!("{}: {error}", file.display())),
        }
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "a command says on standard error how it is used")]
fn usage(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(2)
}

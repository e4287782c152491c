//! `signalbeam doctor`: looks a data directory over, and says what to do.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use signalbeam_event_store::{Clock, SystemClock};

use super::{DataDirArgs, Failure, block_on, print};
use crate::config::{Flags, Sources};
use crate::doctor::{Check, Report, Request, Status, examine};

const EXAMPLES: &str = "\
Examples:
  signalbeam doctor                                   look ./signalbeam-data over, beside a running server too
  signalbeam doctor --data-dir /var/lib/signalbeam --config /etc/signalbeam.toml
  signalbeam doctor --deep                            read the whole logs, however long that takes
  signalbeam doctor --output json | jq '.checks[] | select(.status != \"ok\")'

Exit codes: 0 everything is in order, 3 there are warnings, 1 there are errors, 2 bad usage. It changes nothing.";

/// What to look over.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// The configuration; by default ./signalbeam.toml, then signalbeam.toml in the data directory
    #[arg(long, env = "SIGNALBEAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check every event and the whole authentication log, not just the newest events
    #[arg(long)]
    deep: bool,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let data_dir = &args.data_dir.data_dir;
    let sources = Sources::find(args.config.clone(), data_dir, Flags::default());
    let request = Request { data_dir, sources: &sources, deep: args.deep, now: SystemClock.now() };
    let report = block_on(async { Ok(examine(request).await) })?;
    match args.output {
        Output::Text => print(&text(&report, io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()))?,
        Output::Json => print(&(serde_json::to_string_pretty(&report).map_err(Failure::of)? + "\n"))?,
    }
    match (report.summary.error, report.summary.warning) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Told(3)),
        _ => Err(Failure::Told(1)),
    }
}

fn text(report: &Report, in_colour: bool) -> String {
    let width = report.checks.iter().map(|check| check.id.len()).max().unwrap_or_default();
    let mut lines: Vec<String> = report.checks.iter().flat_map(|check| shown(check, width, in_colour)).collect();
    let summary = report.summary;
    lines.push(format!(
        "\n{} in order, {} with warnings, {} with errors, {} not checked\n",
        summary.ok, summary.warning, summary.error, summary.skipped
    ));
    lines.join("\n")
}

fn shown(check: &Check, width: usize, in_colour: bool) -> Vec<String> {
    let (word, colour) = match check.status {
        Status::Ok => ("ok     ", 32),
        Status::Warning => ("warning", 33),
        Status::Error => ("error  ", 31),
        Status::Skipped => ("skipped", 90),
    };
    let word = if in_colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
    let mut lines = vec![format!("{word}  {:width$}  {}", check.id, check.message)];
    lines.extend(check.action.iter().map(|action| format!("{:7}  {:width$}  -> {action}", "", "")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_coloured_only_on_request() {
        let check = Check {
            id: "clock",
            status: Status::Warning,
            message: "late".to_owned(),
            action: Some("set it".to_owned()),
        };
        assert_eq!(shown(&check, 7, false), ["warning  clock    late", "                  -> set it"]);
        assert!(shown(&check, 7, true)[0].starts_with("\x1b[33mwarning\x1b[0m"));
    }
}

//! The program's own code in this process, where time and disk are a test's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use signalbeam_agent::cli::{Cli, Command};
use signalbeam_agent::clock::{Clock, Pace};
use signalbeam_agent::commands::{Context, Outcome, run};
use signalbeam_agent::dispatch;
use signalbeam_agent::durable::SharedDisk;
use signalbeam_agent::locations::Locations;
use signalbeam_agent::output::{Format, Output};
use time::OffsetDateTime;

/// Time that passes only when somebody waits.
#[derive(Clone)]
pub(crate) struct Time {
    start: OffsetDateTime,
    passed_nanos: Arc<AtomicU64>,
    end: Duration,
}

impl Time {
    /// Begins now; waiting is over after this long.
    pub(crate) fn lasting(end: Duration) -> Self {
        Self { start: OffsetDateTime::now_utc(), passed_nanos: Arc::default(), end }
    }

    pub(crate) fn day(&self) -> u64 {
        self.elapsed().as_secs() / 86_400
    }
}

impl Clock for Time {
    fn now(&self) -> OffsetDateTime {
        self.start + self.elapsed()
    }
}

impl Pace for Time {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.passed_nanos.load(Ordering::SeqCst))
    }

    fn wait(&self, pause: Duration) -> bool {
        let nanos = u64::try_from(pause.as_nanos()).unwrap();
        self.passed_nanos.fetch_add(nanos, Ordering::SeqCst);
        self.elapsed() >= self.end
    }
}

/// Runs a command with credentials and certificates in this directory.
pub(crate) fn execute(
    home: &Path,
    disk: SharedDisk,
    clock: &dyn Clock,
    pace: &dyn Pace,
    arguments: &[&str],
) -> Outcome {
    let cli = Cli::parse_from(std::iter::once("signalbeam-agent").chain(arguments.iter().copied()));
    let locations = Locations::new(Some(home.join("credentials.json")), Some(home.join("certs")), None)?;
    let mut sink = Vec::new();
    let mut context =
        Context { locations: locations.with_disk(disk), output: Output::new(Format::Text, &mut sink), clock };
    match cli.command {
        Command::Run(args) => run::execute_at(&args, &mut context, pace),
        command => dispatch(command, &mut context),
    }
}

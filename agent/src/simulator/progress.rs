//! How far a run is: a bar on a terminal, lines for logs and pipes.

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

/// Between two lines of a log.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The progress of one phase.
pub struct Progress {
    bar: ProgressBar,
    last_line: Option<Mutex<Instant>>,
    phase: &'static str,
}

impl Progress {
    /// A phase of so many steps; without a number it is not known how many.
    pub fn new(phase: &'static str, steps: Option<u64>) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = steps.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_draw_target(if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        let template = "{prefix:>14} [{bar:40}] {human_pos}/{human_len} {per_sec} {elapsed_precise} eta {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(phase);
        Self { bar, last_line: (!is_terminal).then(|| Mutex::new(Instant::now())), phase }
    }

    /// One step is done.
    pub fn step(&self) {
        self.bar.inc(1);
        let Some(last_line) = &self.last_line else { return };
        // Whoever finds it taken leaves the line to the other.
        let Ok(mut last_line) = last_line.try_lock() else { return };
        if last_line.elapsed() >= LINE_INTERVAL {
            *last_line = Instant::now();
            info!(done = self.bar.position(), of = self.bar.length(), "{}", self.phase);
        }
    }

    /// The phase is over.
    pub fn finish(self) {
        let done = self.bar.position();
        self.bar.finish();
        if self.last_line.is_some() {
            info!(done, "{}: finished", self.phase);
        }
    }
}

//! The operating system's request to stop, and the pauses that it ends.

use std::cell::Cell;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock::Pace;

/// The machine's pace, which SIGTERM and SIGINT end.
#[derive(Debug)]
pub struct SystemPace {
    start: Instant,
    stop: Receiver<()>,
    is_stopping: Cell<bool>,
}

impl SystemPace {
    /// Begins to catch the signals; work in progress is no longer interrupted by them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let (sender, stop) = channel();
        thread::Builder::new().name("signals".to_owned()).stack_size(64 * 1024).spawn(move || {
            for _ in signals.forever() {
                if sender.send(()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { start: Instant::now(), stop, is_stopping: Cell::new(false) })
    }
}

impl Pace for SystemPace {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn wait(&self, pause: Duration) -> bool {
        if !self.is_stopping.get() {
            self.is_stopping.set(!matches!(self.stop.recv_timeout(pause), Err(RecvTimeoutError::Timeout)));
        }
        self.is_stopping.get()
    }
}

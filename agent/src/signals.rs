//! The operating system's request to stop, and the pauses that it ends.

use std::cell::Cell;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock::Pace;

/// SIGTERM and SIGINT as something to wait for.
#[derive(Debug)]
pub struct StopSignal(Receiver<()>);

impl StopSignal {
    /// Begins to catch the signals; work in progress is no longer interrupted by them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let (sender, receiver) = channel();
        thread::Builder::new().name("signals".to_owned()).stack_size(64 * 1024).spawn(move || {
            for _ in signals.forever() {
                if sender.send(()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(receiver))
    }

    /// Waits this long; true as soon as a signal has come.
    pub fn wait(&self, pause: Duration) -> bool {
        !matches!(self.0.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
    }
}

/// The machine's pace, which SIGTERM and SIGINT end.
#[derive(Debug)]
pub struct SystemPace {
    start: Instant,
    stop: StopSignal,
    is_stopping: Cell<bool>,
}

impl SystemPace {
    /// Begins to catch the signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        Ok(Self { start: Instant::now(), stop: StopSignal::install()?, is_stopping: Cell::new(false) })
    }
}

impl Pace for SystemPace {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn wait(&self, pause: Duration) -> bool {
        if !self.is_stopping.get() {
            self.is_stopping.set(self.stop.wait(pause));
        }
        self.is_stopping.get()
    }
}

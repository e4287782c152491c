//! Background tasks that end only with the server: one that panics is started again, and says so.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::metrics::TASK_RESTARTS;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A task that is watched over, until this is dropped.
#[derive(Debug)]
pub struct Supervised(JoinHandle<()>);

impl Drop for Supervised {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs what `task` makes. Where it panics it is made again, after a pause that doubles while panics come in a row.
pub fn supervise<F>(name: &'static str, mut task: impl FnMut() -> F + Send + 'static) -> Supervised
where
    F: Future<Output = ()> + Send + 'static,
{
    let restarts = metrics::counter!(TASK_RESTARTS, "task" => name);
    // The series is there before anything has failed.
    restarts.absolute(0);
    Supervised(tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            // The task is made anew, so nothing that the panic left half done is used again.
            if AssertUnwindSafe(task()).catch_unwind().await.is_ok() {
                return;
            }
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            restarts.increment(1);
            tracing::error!(task = name, pause_ms = pause.as_millis(), "a background task panicked; starting it again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_runs_again() {
        let (runs, done) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (count, tell) = (Arc::clone(&runs), Arc::clone(&done));
        let _supervised = supervise("test", move || {
            let (count, tell) = (Arc::clone(&count), Arc::clone(&tell));
            async move {
                assert_ne!(count.fetch_add(1, Ordering::SeqCst), 0, "the first run panics");
                tell.notify_one();
            }
        });
        tokio::time::timeout(Duration::from_secs(20), done.notified()).await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }
}

//! A bound on how much computing runs at once beside the asynchronous tasks.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A share of tokio's blocking threads: at most so many jobs at a time, the rest waits in order.
///
/// Clones share the bound.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    permits: Arc<Semaphore>,
}

/// The job did not finish: it panicked, or the runtime is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("a computation beside the asynchronous tasks did not finish")]
pub struct JobLost;

impl BlockingPool {
    /// Makes a pool for at most `jobs` at a time, at least one.
    pub fn new(jobs: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(jobs.max(1))) }
    }

    /// Makes a pool for as many jobs at a time as there are processors.
    pub fn per_processor() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// Runs a job and waits for its outcome. A job that has started runs to its end, also where nobody waits any more.
    ///
    /// # Errors
    /// [`JobLost`] where it panicked or the runtime is shutting down.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, JobLost> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| JobLost)?;
        tokio::task::spawn_blocking(move || {
            // Held by the job itself: a caller that goes away must not let another job in beside this one.
            let _permit = permit;
            job()
        })
        .await
        .map_err(|_| JobLost)
    }
}

//! What happens on a connection, and whether it has been too little for too long.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::Limits;

/// Whoever takes an answer at this pace or faster is given the time for all of it, however long it is.
const PACE_BYTES_PER_SECOND: u64 = 16 * 1024;

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Whether bytes that arrive between requests begin a request's head. In HTTP/2 they may as well be a ping.
    bytes_begin_head: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When each request began whose response has not been sent entirely, and how much had been written on the connection
    /// by then, by its number.
    running: BTreeMap<u64, (Instant, u64)>,
    /// How many bytes have been written.
    written: u64,
    /// The number of the next request.
    next: u64,
    /// When the current wait for a request began.
    idle_since: Instant,
    /// When the first byte of a head came that is still incomplete; the opening, before the first request.
    head_since: Option<Instant>,
    /// When a byte was last read or written.
    last_progress: Instant,
}

impl State {
    /// When the connection is to be closed if nothing changes until then.
    fn deadline(&self, limits: &Limits) -> Instant {
        // Numbers rise with time, so the first request is the oldest.
        match (self.running.first_key_value(), self.head_since) {
            (None, Some(since)) => since + limits.header_timeout,
            (None, None) => self.idle_since + limits.idle_timeout,
            (Some((_, (oldest, before))), _) => {
                let earned = Duration::from_secs((self.written - before) / PACE_BYTES_PER_SECOND);
                (self.last_progress + limits.stall_timeout).min(*oldest + limits.answer_timeout + earned)
            }
        }
    }
}

impl Activity {
    /// A connection that has just been opened.
    pub(super) fn new(bytes_begin_head: bool) -> Self {
        let now = Instant::now();
        let state = State {
            running: BTreeMap::new(),
            written: 0,
            next: 0,
            idle_since: now,
            head_since: Some(now),
            last_progress: now,
        };
        Self { bytes_begin_head, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's head is complete. The request runs until the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let written = state.written;
        state.running.insert(number, (Instant::now(), written));
        state.head_since = None;
        Running { activity: Arc::clone(self), number }
    }

    fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        state.last_progress = Instant::now();
        state.written += bytes as u64;
    }

    fn has_read(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.last_progress = now;
        if self.bytes_begin_head && state.running.is_empty() {
            state.head_since.get_or_insert(now);
        }
    }

    /// Resolves once the connection has outstayed its limits.
    pub(super) async fn overdue(&self, limits: &Limits) {
        // A head may begin at any time, so a long wait is looked at again after a head's time.
        let glance = limits.header_timeout.max(Duration::from_millis(1));
        loop {
            let deadline = self.state().deadline(limits);
            let now = Instant::now();
            if deadline <= now {
                return;
            }
            sleep_until(deadline.min(now + glance)).await;
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running {
    activity: Arc<Activity>,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.running.remove(&self.number);
        state.idle_since = Instant::now();
    }
}

/// A response's body, which keeps its request running until it has been sent or given up.
#[derive(Debug)]
pub(super) struct WatchedBody {
    body: Body,
    _running: Running,
}

impl WatchedBody {
    pub(super) fn new(body: Body, running: Running) -> Self {
        Self { body, _running: running }
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose reads and writes are noted.
#[derive(Debug)]
pub(super) struct WatchedIo<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> WatchedIo<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.has_read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count @ 1..)) = polled {
            self.activity.wrote(count);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(count @ 1..)) = polled {
            self.activity.wrote(count);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

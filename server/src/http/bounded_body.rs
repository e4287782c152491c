//! A request's body that ends where it has become too large or taken too long.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep, timeout};

/// How much of a body that is too large is read and thrown away.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// Reads what is left of a body for nobody, beside the answer. A connection that is closed with bytes unread is reset, and the
/// sender may lose the answer with it (RFC 9112, section 9.6).
pub(super) fn discard(mut body: Body, max_time: Duration) {
    tokio::spawn(timeout(max_time, async move {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
            left = less;
        }
    }));
}

/// What became of a body, for whoever answers: the handler that read it can only say that reading failed.
#[derive(Debug, Default)]
pub(super) struct BodyFate {
    too_large: AtomicBool,
    too_late: AtomicBool,
}

impl BodyFate {
    /// Whether it had more bytes than allowed.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    /// Whether it took longer than allowed.
    pub(super) fn is_too_late(&self) -> bool {
        self.too_late.load(Ordering::Relaxed)
    }
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
enum BodyEnded {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body took too long")]
    TooLate,
}

/// The bounded body.
#[derive(Debug)]
pub(super) struct BoundedBody {
    body: Body,
    remaining: usize,
    max_time: Duration,
    deadline: Pin<Box<Sleep>>,
    fate: Arc<BodyFate>,
}

impl BoundedBody {
    /// Starts the clock.
    pub(super) fn new(body: Body, max_bytes: usize, max_time: Duration, fate: Arc<BodyFate>) -> Self {
        Self { body, remaining: max_bytes, max_time, deadline: Box::pin(sleep(max_time)), fate }
    }
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(remaining) = self.remaining.checked_sub(length) else {
                    self.fate.too_large.store(true, Ordering::Relaxed);
                    discard(std::mem::take(&mut self.body), self.max_time);
                    return Poll::Ready(Some(Err(axum::Error::new(BodyEnded::TooLarge))));
                };
                self.remaining = remaining;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending if self.deadline.as_mut().poll(context).is_ready() => {
                self.fate.too_late.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(axum::Error::new(BodyEnded::TooLate))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

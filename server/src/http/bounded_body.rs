//! A request's body that ends where it has become too large or taken too long, and what is left of it unread.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep, timeout};

/// How much of an unread body is taken off the wire.
const DISCARDED_BYTES: usize = 1024 * 1024;

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyEnded {
    /// It has more bytes than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// It took longer than allowed.
    #[error("the body took too long")]
    TooLate,
}

#[derive(Debug)]
struct State {
    body: Body,
    remaining: usize,
    deadline: Pin<Box<Sleep>>,
    ended: Option<BodyEnded>,
    /// Whether there is nothing left, which a body must not be asked twice.
    is_done: bool,
}

/// The body as the handler reads it.
#[derive(Debug)]
pub(super) struct BoundedBody(Arc<Mutex<State>>);

/// The same body, for whoever answers: why it ended, since the handler can only say that reading failed, and its rest.
#[derive(Debug)]
pub(super) struct Rest(Arc<Mutex<State>>);

/// Bounds a body. Its time starts now.
pub(super) fn bound(body: Body, max_bytes: usize, max_time: Duration) -> (BoundedBody, Rest) {
    let state = State { body, remaining: max_bytes, deadline: Box::pin(sleep(max_time)), ended: None, is_done: false };
    let state = Arc::new(Mutex::new(state));
    (BoundedBody(Arc::clone(&state)), Rest(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A body whose polling panicked is not polled again by the handler that panicked; its state is whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let ended = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let remaining = self.remaining.checked_sub(frame.data_ref().map_or(0, Bytes::len));
                self.remaining = remaining.unwrap_or(0);
                remaining.is_none().then_some(BodyEnded::TooLarge)
            }
            Poll::Pending => self.deadline.as_mut().poll(context).is_ready().then_some(BodyEnded::TooLate),
            Poll::Ready(_) => {
                self.is_done = true;
                None
            }
        };
        let Some(ended) = ended else { return polled };
        self.ended = Some(ended);
        Poll::Ready(Some(Err(axum::Error::new(ended))))
    }
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        lock(&self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.size_hint()
    }
}

impl Rest {
    /// Why the handler did not get the whole body, where it did not.
    pub(super) fn ended(&self) -> Option<BodyEnded> {
        lock(&self.0).ended
    }

    /// Takes what was not read off the wire, within bounds and beside the answer. Where a connection is closed with bytes
    /// unread it is reset, and the sender may lose the answer with it (RFC 9112, section 9.6).
    pub(super) fn discard(self, max_time: Duration) {
        let is_done = {
            let state = lock(&self.0);
            state.is_done || state.body.is_end_stream()
        };
        if is_done {
            return;
        }
        let mut budget = DISCARDED_BYTES;
        let discarding = poll_fn(move |context| {
            let mut state = lock(&self.0);
            while let Some(Ok(frame)) = ready!(Pin::new(&mut state.body).poll_frame(context)) {
                let left = budget.checked_sub(frame.data_ref().map_or(0, Bytes::len));
                let Some(left) = left else { break };
                budget = left;
            }
            Poll::Ready(())
        });
        tokio::spawn(timeout(max_time, discarding));
    }
}

//! The task behind a subscription: reads page by page until it has caught up, then waits to be woken.

use std::future::Future;
use std::time::Duration;

use signalbeam_domain::Position;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::port::{Page, StoreError, Subscription, SubscriptionItem};

/// How many events are read, and handed over, at once.
pub(crate) const PAGE: usize = 512;
/// How often a reader hears that it has caught up while nothing happens; below the promised second.
const PROGRESS: Duration = Duration::from_millis(900);

/// Starts a subscription on pages that `read` returns. The head only wakes it up: what is delivered is what was read.
/// Ends when the subscriber goes away, or after all was delivered once the head's sender is gone.
pub(crate) fn start<F, R>(read: R, head: watch::Receiver<Position>, after: Position) -> Subscription
where
    R: Fn(Position) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Page, StoreError>> + Send + 'static,
{
    // One item: it is read only after the item before it was taken. So memory is bounded by one page, and a
    // `CaughtUp` that waits for its reader is never older than the moment at which the reader took the item before.
    let (items, receiver) = mpsc::channel(1);
    tokio::spawn(deliver(read, head, after, items));
    Subscription::new(receiver)
}

async fn deliver<F, R>(
    read: R,
    mut head: watch::Receiver<Position>,
    mut after: Position,
    items: mpsc::Sender<SubscriptionItem>,
) where
    R: Fn(Position) -> F,
    F: Future<Output = Result<Page, StoreError>>,
{
    let mut progress = tokio::time::interval(PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_closed = false;
    loop {
        let Ok(permit) = items.reserve().await else { return };
        head.borrow_and_update();
        match read(after).await {
            Ok(page) if page.reached > after => {
                after = page.reached;
                permit.send(SubscriptionItem::Events(page.events));
                continue;
            }
            Ok(_) => permit.send(SubscriptionItem::CaughtUp(after)),
            // A store that was closed reads nothing any more: that is the end, not a failure.
            Err(_) if head.has_changed().is_err() => return,
            Err(error) => permit.send(SubscriptionItem::Failed(error)),
        }
        if is_closed {
            return;
        }
        progress.reset();
        tokio::select! {
            changed = head.changed() => is_closed = changed.is_err(),
            _ = progress.tick() => {}
            () = items.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable() -> StoreError {
        StoreError::because("read the log")(std::io::Error::other("closed"))
    }

    #[tokio::test]
    async fn a_closed_store_ends_its_subscriptions_and_a_failing_one_says_so() {
        let (sender, head) = watch::channel(Position(0));
        let mut subscription = start(|_| async { Err(unreadable()) }, head.clone(), Position(0));
        assert!(matches!(subscription.next().await, Some(SubscriptionItem::Failed(_))));
        drop(sender);
        let mut subscription = start(|_| async { Err(unreadable()) }, head, Position(0));
        assert!(subscription.next().await.is_none());
    }
}

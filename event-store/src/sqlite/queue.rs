//! Groups: what stands in a writer's queue at one moment is written and committed together.

use tokio::sync::mpsc;

/// A group of this weight is worth a commit of its own.
const ENOUGH: usize = 64;

/// Takes what stands in the queue behind `first`, as long as the sum of weights stays below `max`.
///
/// Callers whose answers have just been sent are about to ask again: the queue is looked at anew after other tasks had
/// their turn, until nothing more arrives or the group is large enough. Where nobody else has anything to do that takes
/// microseconds. Waiting for more than enough would let everybody wait for everybody, and the disk and the processors
/// take turns instead of working at once.
pub(super) async fn gather<T>(queue: &mut mpsc::Receiver<T>, first: T, max: usize, weight: fn(&T) -> usize) -> Vec<T> {
    let mut sum = weight(&first);
    let mut group = vec![first];
    loop {
        tokio::task::yield_now().await;
        let before = group.len();
        while sum < max {
            let Ok(next) = queue.try_recv() else { break };
            sum += weight(&next);
            group.push(next);
        }
        if group.len() == before || sum >= ENOUGH.min(max) {
            return group;
        }
    }
}

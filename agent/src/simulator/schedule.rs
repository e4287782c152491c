//! Many devices, few threads: each device's next step is done when it is due and a thread is free.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::simulator::stopping::Stop;

/// How soon a stop is noticed by a thread that waits for a step to fall due.
const LONGEST_NAP: Duration = Duration::from_millis(200);

struct Queue {
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Devices whose last step is not done.
    left: usize,
}

/// Does the steps of all devices on so many threads. `first` says after how long a device's first step is due; `act` does
/// a step and says after how long the next is; nothing means that the device is done. Returns when all are, or a stop was asked for.
pub fn run<D: Send>(
    devices: &[Mutex<D>],
    threads: u32,
    stop: &Stop,
    first: impl Fn(usize) -> Duration,
    act: impl Fn(usize, &mut D) -> Option<Duration> + Sync,
) {
    let begun = Instant::now();
    let due = (0..devices.len()).map(|number| Reverse((begun + first(number), number))).collect();
    let queue = (Mutex::new(Queue { due, left: devices.len() }), Condvar::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(number) = next(&queue, stop) {
                    let mut device = devices[number].lock().unwrap_or_else(PoisonError::into_inner);
                    let again = act(number, &mut device);
                    drop(device);
                    put_back(&queue, number, again);
                }
            });
        }
    });
}

/// Waits for the next step that is due; nothing once all devices are done.
fn next((queue, bell): &(Mutex<Queue>, Condvar), stop: &Stop) -> Option<usize> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if queue.left == 0 || stop.is_set() {
            return None;
        }
        let wait = match queue.due.peek() {
            Some(Reverse((due, _))) => due.saturating_duration_since(Instant::now()),
            None => LONGEST_NAP,
        };
        if wait.is_zero() {
            return queue.due.pop().map(|Reverse((_, number))| number);
        }
        queue = bell.wait_timeout(queue, wait.min(LONGEST_NAP)).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn put_back((queue, bell): &(Mutex<Queue>, Condvar), number: usize, again: Option<Duration>) {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    match again {
        Some(pause) => queue.due.push(Reverse((Instant::now() + pause, number))),
        None => queue.left -= 1,
    }
    if queue.left == 0 {
        bell.notify_all();
    } else {
        bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn devices(count: usize) -> Vec<Mutex<usize>> {
        (0..count).map(|_| Mutex::new(0)).collect()
    }

    #[test]
    fn every_device_does_all_its_steps_and_never_more_than_so_many_at_a_time() {
        let devices = devices(50);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        run(
            &devices,
            4,
            &Stop::default(),
            |_| Duration::ZERO,
            |_, steps: &mut usize| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                *steps += 1;
                running.fetch_sub(1, Ordering::SeqCst);
                (*steps < 3).then_some(Duration::from_millis(1))
            },
        );
        assert!(devices.iter().all(|steps| *steps.lock().unwrap() == 3));
        assert!(most.into_inner() <= 4);
    }

    #[test]
    fn steps_come_in_the_order_in_which_they_are_due() {
        let devices = devices(5);
        let order = Mutex::new(Vec::new());
        let first = |number: usize| Duration::from_millis(10 * (4 - number as u64));
        run(&devices, 1, &Stop::default(), first, |number, _: &mut usize| {
            order.lock().unwrap().push(number);
            None
        });
        assert_eq!(order.into_inner().unwrap(), [4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_stop_ends_what_would_go_on_for_ever() {
        let devices = devices(3);
        let stop = Stop::default();
        run(
            &devices,
            2,
            &stop,
            |_| Duration::ZERO,
            |_, steps: &mut usize| {
                *steps += 1;
                if *steps == 10 {
                    stop.set();
                }
                Some(Duration::ZERO)
            },
        );
        assert!(devices.iter().any(|steps| *steps.lock().unwrap() >= 10));
    }
}

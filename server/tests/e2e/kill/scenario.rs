//! Several threads of lives, and a server that is killed in the middle of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::life::Life;
use crate::server::Server;
use crate::waiting::PATIENCE;

const WORKERS: usize = 6;

/// Seeded random numbers (`SplitMix64`), so that a failing run can be repeated.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Lets the lives go on, and new ones begin, until the server is killed; gives all of them back.
pub(super) fn kill_under_load(server: Server<'_>, admin_token: &str, lives: Vec<Life>, dice: &mut Dice) -> Vec<Life> {
    let (unfinished, finished): (Vec<_>, Vec<_>) = lives.into_iter().partition(|life| !life.is_over());
    let next_number = AtomicUsize::new(unfinished.len() + finished.len());
    let (waiting, done) = (Mutex::new(unfinished), Mutex::new(finished));
    let (acknowledgements, counted) = (Mutex::new(0_u64), Condvar::new());
    let work = || {
        let admin = server.anonymous().bearer(admin_token);
        loop {
            let resumed = waiting.lock().unwrap().pop();
            let mut life = resumed.unwrap_or_else(|| Life::new(next_number.fetch_add(1, Ordering::SeqCst), &server));
            while !life.is_over() {
                if life.advance(&server, &admin).is_err() {
                    return done.lock().unwrap().push(life);
                }
                *acknowledgements.lock().unwrap() += 1;
                counted.notify_all();
            }
            done.lock().unwrap().push(life);
        }
    };
    let (enough, moment) = (20 + dice.below(150), Duration::from_micros(dice.below(8_000)));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
        let count = acknowledgements.lock().unwrap();
        let (count, waited) = counted.wait_timeout_while(count, PATIENCE, |count| *count < enough).unwrap();
        assert!(!waited.timed_out(), "only {count} answers");
        drop(count);
        // Anywhere between two answers, not just after one.
        std::thread::park_timeout(moment);
        server.kill();
    });
    server.reap();
    let mut lives = done.into_inner().unwrap();
    lives.extend(waiting.into_inner().unwrap());
    lives
}

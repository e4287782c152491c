//! Which statements about certificates were signed: a row for each, and counts where there are too many.
//!
//! Nobody waits for these rows: an answer is proof in itself, and the row says what it was made of. In a minute at most
//! [`ROWS_PER_MINUTE`] answers get a row of their own, so that strangers cannot fill the disk; the others are counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use signalbeam_domain::{AuthorityId, Position, SerialNumber, Timestamp};

use super::AuditError;

/// How many answers of a minute get a row of their own.
pub const ROWS_PER_MINUTE: usize = 600;
/// How many rows may wait while the log cannot be written.
const WAITING_MAX: usize = 10 * ROWS_PER_MINUTE;

/// What was said of a certificate in a signed answer; of counted ones the first, without what differs among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspAnswerRow {
    /// When it was signed.
    pub produced_at: Timestamp,
    /// Whose certificate it is, by the request.
    pub authority_id: AuthorityId,
    /// The serial number; absent where none of our certificates could have it, and of counted ones.
    pub serial_number: Option<SerialNumber>,
    /// `good`, `revoked` or `unknown`.
    pub status: &'static str,
    /// The answer takes account of every event up to this one.
    pub complete_to: Position,
    /// When that was known to be right.
    pub this_update: Timestamp,
    /// By when there will be newer information.
    pub next_update: Timestamp,
    /// Whether it was made for one request alone.
    pub has_nonce: bool,
    /// Who asked; only of answers with a nonce, since the others are handed to anybody.
    pub client_address: Option<IpAddr>,
    /// How many answers the row stands for.
    pub answers: u64,
}

/// Keeps the rows.
#[async_trait]
pub trait OcspAnswerLog: Send + Sync + 'static {
    /// Writes rows.
    ///
    /// # Errors
    /// [`AuditError`]; none of them is written then.
    async fn record_answers(&self, rows: Vec<OcspAnswerRow>) -> Result<(), AuditError>;
}

/// Takes answers without ever waiting, and writes them when it is told to.
pub struct OcspAnswerRecorder {
    log: Arc<dyn OcspAnswerLog>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether the disk is nearly full: then answers are only counted, and nothing is written.
    is_sparing: bool,
    /// The present minute, counted from 1970, and how many of its answers got a row.
    minute: i64,
    rows_of_minute: usize,
    waiting: Vec<OcspAnswerRow>,
    counters: HashMap<(i64, AuthorityId, &'static str, bool), OcspAnswerRow>,
}

impl std::fmt::Debug for OcspAnswerRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OcspAnswerRecorder").finish_non_exhaustive()
    }
}

fn minute(moment: Timestamp) -> i64 {
    moment.unix_seconds().div_euclid(60)
}

impl OcspAnswerRecorder {
    /// Writes to this log.
    pub fn new(log: Arc<dyn OcspAnswerLog>) -> Self {
        Self { log, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spares the disk, or no longer.
    pub fn set_sparing(&self, is_sparing: bool) {
        self.state().is_sparing = is_sparing;
    }

    /// Takes an answer.
    pub fn note(&self, row: OcspAnswerRow) {
        let mut state = self.state();
        let minute = minute(row.produced_at);
        if state.minute != minute {
            (state.minute, state.rows_of_minute) = (minute, 0);
        }
        let has_room = state.rows_of_minute < ROWS_PER_MINUTE && state.waiting.len() < WAITING_MAX;
        if has_room && !state.is_sparing {
            state.rows_of_minute += 1;
            state.waiting.push(row);
            return;
        }
        let key = (minute, row.authority_id, row.status, row.has_nonce);
        let counter = state.counters.entry(key).or_insert_with(|| OcspAnswerRow {
            serial_number: None,
            client_address: None,
            answers: 0,
            ..row
        });
        counter.answers += row.answers;
        counter.complete_to = counter.complete_to.max(row.complete_to);
    }

    /// Writes what waits, and the counts of minutes that have ended.
    ///
    /// # Errors
    /// [`AuditError`]; what was to be written waits on.
    pub async fn flush(&self, now: Timestamp) -> Result<(), AuditError> {
        self.write(minute(now)).await
    }

    /// Writes everything, also the counts of the present minute.
    ///
    /// # Errors
    /// [`AuditError`]
    pub async fn flush_all(&self) -> Result<(), AuditError> {
        self.write(i64::MAX).await
    }

    async fn write(&self, before_minute: i64) -> Result<(), AuditError> {
        let (rows, counts) = {
            let mut state = self.state();
            if state.is_sparing {
                return Ok(());
            }
            let ended = state.counters.keys().filter(|key| key.0 < before_minute).copied().collect::<Vec<_>>();
            let counts: Vec<_> = ended.into_iter().filter_map(|key| state.counters.remove_entry(&key)).collect();
            (std::mem::take(&mut state.waiting), counts)
        };
        let all: Vec<_> = rows.iter().chain(counts.iter().map(|(_, count)| count)).cloned().collect();
        if all.is_empty() {
            return Ok(());
        }
        let written = self.log.record_answers(all).await;
        if written.is_err() {
            let mut state = self.state();
            let later = std::mem::replace(&mut state.waiting, rows);
            state.waiting.extend(later);
            for (key, count) in counts {
                state.counters.entry(key).and_modify(|newer| newer.answers += count.answers).or_insert(count);
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryAuditLog;

    fn row(second: i64, status: &'static str) -> OcspAnswerRow {
        let moment = Timestamp::from_unix_seconds(second);
        OcspAnswerRow {
            produced_at: moment,
            authority_id: AuthorityId::parse("018f3c5e-7b1a-7cc2-9d3e-000000000401").unwrap(),
            serial_number: Some(SerialNumber::from_random([7; 20])),
            status,
            complete_to: Position(u64::try_from(second).unwrap()),
            this_update: moment,
            next_update: moment.plus_seconds(3_600),
            has_nonce: false,
            client_address: None,
            answers: 1,
        }
    }

    fn number(rows: &[OcspAnswerRow]) -> u64 {
        rows.iter().map(|row| row.answers).sum()
    }

    #[tokio::test]
    async fn beyond_a_limit_a_minute_of_answers_is_counted() {
        let log = Arc::new(MemoryAuditLog::new());
        let recorder = OcspAnswerRecorder::new(log.clone());
        for nth in 0..2_000 {
            recorder.note(row(60 + nth % 50, if nth % 2 == 0 { "good" } else { "unknown" }));
        }
        recorder.flush(Timestamp::from_unix_seconds(119)).await.unwrap();
        assert_eq!(log.ocsp_answers().len(), ROWS_PER_MINUTE, "the minute has not ended");
        recorder.flush(Timestamp::from_unix_seconds(120)).await.unwrap();
        let rows = log.ocsp_answers();
        assert_eq!((rows.len(), number(&rows)), (ROWS_PER_MINUTE + 2, 2_000));
        assert!(rows[ROWS_PER_MINUTE..].iter().all(|row| row.serial_number.is_none() && row.complete_to.0 >= 108));
        recorder.note(row(130, "good"));
        recorder.flush_all().await.unwrap();
        assert_eq!(log.ocsp_answers().len(), ROWS_PER_MINUTE + 3, "the next minute has rows again");
    }

    #[tokio::test]
    async fn on_a_full_disk_answers_are_counted_and_written_later() {
        let log = Arc::new(MemoryAuditLog::new());
        let recorder = OcspAnswerRecorder::new(log.clone());
        recorder.set_sparing(true);
        for _ in 0..10 {
            recorder.note(row(60, "good"));
        }
        recorder.flush_all().await.unwrap();
        assert!(log.ocsp_answers().is_empty());
        recorder.set_sparing(false);
        recorder.flush_all().await.unwrap();
        assert_eq!((log.ocsp_answers().len(), number(&log.ocsp_answers())), (1, 10));
    }

    /// A log that refuses until it is told otherwise.
    #[derive(Default)]
    struct Refusing(std::sync::atomic::AtomicBool, MemoryAuditLog);

    #[async_trait]
    impl OcspAnswerLog for Refusing {
        async fn record_answers(&self, rows: Vec<OcspAnswerRow>) -> Result<(), AuditError> {
            if self.0.load(std::sync::atomic::Ordering::SeqCst) {
                return self.1.record_answers(rows).await;
            }
            Err(AuditError::because("record answers")(std::io::Error::other("no")))
        }
    }

    #[tokio::test]
    async fn what_could_not_be_written_waits_within_bounds() {
        let log = Arc::new(Refusing::default());
        let recorder = OcspAnswerRecorder::new(log.clone());
        for second in 0..20_000 {
            recorder.note(row(second, "good"));
        }
        assert!(recorder.flush_all().await.is_err());
        log.0.store(true, std::sync::atomic::Ordering::SeqCst);
        recorder.flush_all().await.unwrap();
        let rows = log.1.ocsp_answers();
        assert_eq!(number(&rows), 20_000, "every answer is accounted for");
        assert!(rows.len() <= WAITING_MAX + 20_000 / 60 + 1, "{}", rows.len());
    }
}

//! A flood of failed attempts becomes a few rows that count: strangers cannot fill the disk.
//!
//! In each minute an address may fail so many times with a row for each, all addresses together a hundred times as often.
//! Beyond it failures are counted in memory, by address, prefix, means and code, and each count becomes a row when the
//! minute has ended. The counters are bounded too: an address with too many prefixes shares one without a prefix, and
//! beyond [`COUNTERS_MAX`] all share one for each means and code, without an address. So a minute adds at most
//! `100 * per_address + COUNTERS_MAX` rows, and one for each means and code.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use signalbeam_domain::{Prefix, Timestamp};

use super::{
    AttemptFilter, AttemptPage, AttemptScan, AuditError, AuditLog, AuditReader, AuthenticationAttempt,
    AuthenticationMethod, UsageSummary,
};

/// How many counters there may be for single addresses.
pub const COUNTERS_MAX: usize = 1_000;
/// How many counters of an address may have a prefix.
const PREFIXES_MAX: usize = 16;
/// How many times an address's share all addresses have together.
const ADDRESSES_AT_LIMIT: u64 = 100;

/// An audit log that counts failures beyond a limit instead of recording each.
///
/// What it counts is lost in a crash; [`flush`](Self::flush) writes it, every second and at the end. Successes pass as they
/// are.
pub struct FloodGuard {
    log: Arc<dyn AuditLog>,
    state: Mutex<State>,
}

struct State {
    per_address: u64,
    /// Whether the disk is nearly full: then failures are only counted, and the counts wait.
    is_sparing: bool,
    /// The present minute, counted from 1970.
    minute: i64,
    recorded: u64,
    recorded_by_address: HashMap<IpAddr, u64>,
    counters: HashMap<Counter, Counted>,
    /// How many counters an address has that carry a prefix.
    prefixes: HashMap<IpAddr, usize>,
}

/// What failures are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Counter {
    minute: i64,
    /// Absent where there are too many of them.
    address: Option<IpAddr>,
    prefix: Option<Prefix>,
    method: AuthenticationMethod,
    code: Option<String>,
}

/// The first of the failures, without what differs among them.
struct Counted(AuthenticationAttempt);

impl FloodGuard {
    /// Stands before a log. `per_address`: how many failures of an address are recorded one by one in a minute.
    pub fn new(log: Arc<dyn AuditLog>, per_address: NonZeroU32) -> Self {
        let state = State {
            per_address: per_address.get().into(),
            is_sparing: false,
            minute: i64::MIN,
            recorded: 0,
            recorded_by_address: HashMap::new(),
            counters: HashMap::new(),
            prefixes: HashMap::new(),
        };
        Self { log, state: Mutex::new(state) }
    }

    /// Changes how many failures of an address are recorded one by one in a minute.
    pub fn set_limit(&self, per_address: NonZeroU32) {
        self.state().per_address = per_address.get().into();
    }

    /// While the disk is nearly full failures are only counted, and the counts wait in memory: the last space is for
    /// successes, and for the event log.
    pub fn set_sparing(&self, is_sparing: bool) {
        self.state().is_sparing = is_sparing;
    }

    /// Writes the counts of the minutes that have ended by `now`. Those that cannot be written now stay.
    ///
    /// # Errors
    /// As for [`AuditLog::record`].
    pub async fn flush(&self, now: Timestamp) -> Result<(), AuditError> {
        let rows = {
            let mut state = self.state();
            let rows = state.take_ended(minute_of(now));
            if state.is_sparing {
                state.count_again(rows, minute_of(now));
                return Ok(());
            }
            rows
        };
        self.write(rows, minute_of(now)).await
    }

    /// Writes all counts, also of the running minute: for the end.
    ///
    /// # Errors
    /// As for [`AuditLog::record`].
    pub async fn flush_all(&self) -> Result<(), AuditError> {
        let rows = self.state().take_ended(i64::MAX);
        self.write(rows, i64::MIN).await
    }

    async fn write(&self, rows: Vec<AuthenticationAttempt>, minute: i64) -> Result<(), AuditError> {
        if rows.is_empty() {
            return Ok(());
        }
        let written = self.log.record(rows.clone()).await;
        if written.is_err() {
            self.state().count_again(rows, minute);
        }
        written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts that a panic left half done are off by one at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn minute_of(moment: Timestamp) -> i64 {
    moment.unix_seconds().div_euclid(60)
}

/// What counts as one address: that of IPv4, or the /64 that an IPv6 address belongs to: that is the least that a subscriber
/// is given (RFC 6177), and whoever has one has all of its addresses. IPv4-mapped IPv6 addresses are IPv4.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl State {
    /// Whether the attempt is recorded by itself; otherwise it has been counted.
    fn admits(&mut self, attempt: &AuthenticationAttempt) -> bool {
        if attempt.success {
            return true;
        }
        let minute = minute_of(attempt.timestamp);
        // Requests overtake each other around the end of a minute; a clock that is set back does more than that.
        if minute > self.minute || minute < self.minute.saturating_sub(1) {
            self.minute = minute;
            self.recorded = 0;
            self.recorded_by_address.clear();
        }
        if !self.is_sparing && self.recorded < self.per_address.saturating_mul(ADDRESSES_AT_LIMIT) {
            let by_address = self.recorded_by_address.entry(subscriber(attempt.ip_address)).or_default();
            if *by_address < self.per_address {
                *by_address += 1;
                self.recorded += 1;
                return true;
            }
        }
        self.count(attempt.clone(), self.minute);
        false
    }

    fn count(&mut self, attempt: AuthenticationAttempt, minute: i64) {
        // One that was without its address already stays so.
        let address = Some(subscriber(attempt.ip_address)).filter(|address| !address.is_unspecified());
        let counter = Counter {
            minute,
            address,
            prefix: attempt.api_key_prefix,
            method: attempt.method,
            code: attempt.failure_code.clone(),
        };
        let counter = self.bounded(counter);
        match self.counters.entry(counter) {
            Entry::Occupied(mut place) => place.get_mut().add(&attempt),
            Entry::Vacant(place) => {
                let first = Counted::first(place.key(), attempt);
                if let Counter { address: Some(address), prefix: Some(_), .. } = place.key() {
                    *self.prefixes.entry(*address).or_default() += 1;
                }
                place.insert(first);
            }
        }
    }

    /// Counts on in another minute what could not be written.
    fn count_again(&mut self, rows: Vec<AuthenticationAttempt>, minute: i64) {
        for row in rows {
            self.count(row, minute);
        }
    }

    /// The counter itself where it exists or has room, or the coarser one that takes its place.
    fn bounded(&self, mut counter: Counter) -> Counter {
        if counter.address.is_none() || self.counters.contains_key(&counter) {
            return counter;
        }
        let has_too_many = |address| self.prefixes.get(address).is_some_and(|number| *number >= PREFIXES_MAX);
        if counter.prefix.is_some() && counter.address.as_ref().is_some_and(has_too_many) {
            counter.prefix = None;
        }
        if self.counters.len() >= COUNTERS_MAX && !self.counters.contains_key(&counter) {
            counter = Counter { address: None, prefix: None, ..counter };
        }
        counter
    }

    /// Takes the counts of the minutes before this one; also of those that a clock has left behind that was set back, for
    /// they would wait until it gets there again.
    fn take_ended(&mut self, minute: i64) -> Vec<AuthenticationAttempt> {
        let has_ended = |counter: &Counter| counter.minute < minute || counter.minute > minute.saturating_add(1);
        let mut rows: Vec<_> =
            self.counters.extract_if(|counter, _| has_ended(counter)).map(|(_, counted)| counted.0).collect();
        self.prefixes.clear();
        for counter in self.counters.keys() {
            if let Counter { address: Some(address), prefix: Some(_), .. } = counter {
                *self.prefixes.entry(*address).or_default() += 1;
            }
        }
        rows.sort_by_key(|row| row.timestamp);
        rows
    }
}

impl Counted {
    fn first(counter: &Counter, attempt: AuthenticationAttempt) -> Self {
        let nowhere = match attempt.ip_address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self(AuthenticationAttempt {
            ip_address: counter.address.unwrap_or(nowhere),
            api_key_prefix: counter.prefix,
            user_agent: None,
            ..attempt
        })
    }

    /// Counts another one, and forgets whose it is where they differ.
    fn add(&mut self, attempt: &AuthenticationAttempt) {
        let Self(counted) = self;
        counted.attempts = counted.attempts.saturating_add(attempt.attempts);
        counted.timestamp = counted.timestamp.min(attempt.timestamp);
        counted.device_id = counted.device_id.filter(|id| attempt.device_id == Some(*id));
        counted.tenant_id = counted.tenant_id.filter(|id| attempt.tenant_id == Some(*id));
        let serial_number = attempt.certificate_serial_number;
        counted.certificate_serial_number = counted.certificate_serial_number.filter(|is| serial_number == Some(*is));
    }
}

#[async_trait]
impl AuditReader for FloodGuard {
    async fn head(&self) -> Result<i64, AuditError> {
        self.log.head().await
    }

    async fn scan(
        &self,
        filter: &AttemptFilter,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Result<AttemptScan, AuditError> {
        self.log.scan(filter, after, through, limit).await
    }
}

#[async_trait]
impl AuditLog for FloodGuard {
    async fn record(&self, mut attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        if attempts.iter().any(|attempt| !attempt.success) {
            let mut state = self.state();
            attempts.retain(|attempt| state.admits(attempt));
        }
        if attempts.is_empty() { Ok(()) } else { self.log.record(attempts).await }
    }

    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError> {
        self.log.query(filter, after, limit).await
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        self.log.usage_after(row, limit).await
    }
}

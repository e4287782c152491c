//! What strangers can make the authentication log grow by.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use signalbeam_domain::{Prefix, Timestamp};
use signalbeam_event_store::audit::flood::COUNTERS_MAX;
use signalbeam_event_store::{
    AttemptFilter, AttemptPage, AttemptScan, AuditError, AuditLog, AuditReader, AuthenticationAttempt, FloodGuard,
    MemoryAuditLog, UsageSummary,
};

use crate::audit::{failure, success};
use crate::fixture::{ManualClock, device_id, tenant_id};

/// The beginning of a minute, so many seconds later.
fn at(seconds: i64) -> Timestamp {
    let start = ManualClock::START.unix_seconds().div_euclid(60) * 60;
    Timestamp::from_unix_seconds(start + seconds)
}

fn limit(per_address: u32) -> NonZeroU32 {
    NonZeroU32::new(per_address).unwrap()
}

fn guarded(per_address: u32) -> (Arc<MemoryAuditLog>, FloodGuard) {
    let log = Arc::new(MemoryAuditLog::new());
    (Arc::clone(&log), FloodGuard::new(log, limit(per_address)))
}

fn from(address: &str, seconds: i64) -> AuthenticationAttempt {
    AuthenticationAttempt { ip_address: address.parse().unwrap(), ..failure(at(seconds), "INVALID_API_KEY") }
}

fn with_prefix(number: usize, attempt: AuthenticationAttempt) -> AuthenticationAttempt {
    AuthenticationAttempt { api_key_prefix: Some(Prefix::parse(&format!("{number:08}")).unwrap()), ..attempt }
}

async fn rows(log: &dyn AuditLog) -> Vec<AuthenticationAttempt> {
    log.scan(&AttemptFilter::default(), 0, i64::MAX, 1_000_000)
        .await
        .unwrap()
        .attempts
        .into_iter()
        .map(|recorded| recorded.attempt)
        .collect()
}

fn attempts(rows: &[AuthenticationAttempt]) -> u64 {
    rows.iter().map(|row| row.attempts).sum()
}

#[tokio::test]
async fn failures_beyond_the_limit_become_one_row_when_the_minute_has_ended() {
    let (log, guard) = guarded(3);
    for second in 0..10 {
        guard.record(vec![from("192.0.2.1", second)]).await.unwrap();
        guard.record(vec![success(device_id(), tenant_id(), at(second))]).await.unwrap();
    }
    guard.record(vec![from("192.0.2.2", 11)]).await.unwrap();
    guard.flush(at(59)).await.unwrap();
    let before = rows(&*log).await;
    assert_eq!(before.iter().filter(|row| !row.success).count(), 4, "three of one address, one of the other");
    assert_eq!(before.iter().filter(|row| row.success).count(), 10, "successes are never counted together");

    guard.flush(at(60)).await.unwrap();
    let after = rows(&*log).await;
    let [counted] = &after[before.len()..] else { panic!("one row: {after:#?}") };
    let first = from("192.0.2.1", 3);
    let expected = AuthenticationAttempt { id: counted.id, user_agent: None, attempts: 7, ..first };
    assert_eq!(*counted, expected);
    guard.flush(at(120)).await.unwrap();
    assert_eq!(rows(&*log).await.len(), after.len(), "it is written once");
    guard.record(vec![from("192.0.2.1", 61)]).await.unwrap();
    assert_eq!(rows(&*log).await.len(), after.len() + 1, "the next minute begins anew");
}

#[tokio::test]
async fn a_failure_that_goes_with_a_success_does_not_hold_it_up() {
    let (log, guard) = guarded(1);
    guard.record(vec![from("192.0.2.17", 0)]).await.unwrap();
    guard.record(vec![from("192.0.2.17", 1), success(device_id(), tenant_id(), at(1))]).await.unwrap();
    let rows = rows(&*log).await;
    assert_eq!(rows.iter().map(|row| row.success).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn prefixes_and_codes_are_counted_apart_until_an_address_has_too_many() {
    let (log, guard) = guarded(1);
    for _ in 0..3 {
        for number in 0..40 {
            guard.record(vec![with_prefix(number, from("192.0.2.1", 0))]).await.unwrap();
        }
    }
    let expired = AuthenticationAttempt { failure_code: Some("API_KEY_EXPIRED".to_owned()), ..from("192.0.2.1", 1) };
    guard.record(vec![AuthenticationAttempt { api_key_prefix: None, ..expired }]).await.unwrap();
    guard.flush(at(60)).await.unwrap();
    let rows = rows(&*log).await;
    assert_eq!(attempts(&rows), 121);
    let counted = &rows[1..];
    assert_eq!(counted.iter().filter(|row| row.api_key_prefix.is_some()).count(), 16);
    let codes: Vec<_> = counted.iter().filter(|row| row.api_key_prefix.is_none()).collect();
    assert_eq!(codes.len(), 2, "one for each code");
}

#[tokio::test]
async fn a_subscriber_of_ipv6_is_one_address() {
    let (log, guard) = guarded(2);
    for host in 1..=50 {
        guard.record(vec![from(&format!("2001:db8:1:2::{host:x}"), 0)]).await.unwrap();
    }
    guard.record(vec![from("2001:db8:1:3::1", 0)]).await.unwrap();
    guard.record(vec![from("::ffff:192.0.2.1", 0)]).await.unwrap();
    guard.flush(at(60)).await.unwrap();
    let rows = rows(&*log).await;
    assert_eq!((rows.len(), attempts(&rows)), (5, 52));
    assert_eq!(rows[4].ip_address.to_string(), "2001:db8:1:2::");
}

#[tokio::test]
async fn however_many_addresses_there_are_a_minute_adds_so_many_rows_and_no_more() {
    let (log, guard) = guarded(2);
    let addresses = (0..30_000_u32).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n));
    for address in addresses {
        guard.record(vec![from(&address.to_string(), 30), from(&address.to_string(), 31)]).await.unwrap();
    }
    guard.flush(at(60)).await.unwrap();
    let rows = rows(&*log).await;
    assert_eq!(attempts(&rows), 60_000, "none is forgotten");
    assert_eq!(rows.len(), 200 + COUNTERS_MAX + 1);
    assert_eq!(rows.iter().filter(|row| row.ip_address.is_unspecified()).count(), 1);
}

#[tokio::test]
async fn counts_lose_what_their_failures_do_not_share() {
    let (log, guard) = guarded(1);
    let (device, other, tenant) = (device_id(), device_id(), tenant_id());
    let of =
        |device| AuthenticationAttempt { device_id: Some(device), tenant_id: Some(tenant), ..from("192.0.2.1", 0) };
    for attempt in [of(device), of(device), of(other)] {
        guard.record(vec![attempt]).await.unwrap();
    }
    guard.flush_all().await.unwrap();
    let rows = rows(&*log).await;
    assert_eq!((rows[1].device_id, rows[1].tenant_id, rows[1].attempts), (None, Some(tenant), 2));
}

#[tokio::test]
async fn a_clock_around_the_end_of_a_minute_or_set_back_opens_no_door() {
    let (log, guard) = guarded(2);
    for n in 0..50 {
        guard.record(vec![from("192.0.2.1", 60 - n % 2)]).await.unwrap();
    }
    assert!(rows(&*log).await.len() <= 4);
    let before = rows(&*log).await.len();
    guard.record(vec![from("192.0.2.1", -3_600)]).await.unwrap();
    assert_eq!(rows(&*log).await.len(), before + 1, "a clock that was set back counts from there");
}

#[tokio::test]
async fn counts_from_before_the_clock_was_set_back_are_written_at_once() {
    let (log, guard) = guarded(1);
    for second in [86_400, 86_401, 86_402, 60, 61, 62] {
        guard.record(vec![from("192.0.2.1", second)]).await.unwrap();
    }
    guard.flush(at(60)).await.unwrap();
    let written = rows(&*log).await;
    assert_eq!(
        (written.len(), attempts(&written)),
        (3, 4),
        "one of each minute by itself, and the count of the later one"
    );
    guard.flush(at(120)).await.unwrap();
    assert_eq!(attempts(&rows(&*log).await), 6);
}

#[tokio::test]
async fn while_the_disk_is_nearly_full_failures_are_only_counted() {
    let (log, guard) = guarded(10);
    guard.set_sparing(true);
    for minute in 0..5 {
        for address in ["192.0.2.1", "192.0.2.2"] {
            guard.record(vec![from(address, minute * 60)]).await.unwrap();
        }
        guard.record(vec![success(device_id(), tenant_id(), at(minute * 60))]).await.unwrap();
        guard.flush(at(minute * 60 + 60)).await.unwrap();
    }
    assert!(rows(&*log).await.iter().all(|row| row.success));
    guard.set_sparing(false);
    guard.flush(at(600)).await.unwrap();
    let rows = rows(&*log).await;
    assert_eq!(rows.len(), 5 + 2);
    assert_eq!(attempts(&rows), 5 + 10);
}

/// A log that can be told to fail.
#[derive(Default)]
struct Failing {
    log: MemoryAuditLog,
    fails: AtomicBool,
}

#[async_trait]
impl AuditReader for Failing {
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
impl AuditLog for Failing {
    async fn record(&self, attempts: Vec<AuthenticationAttempt>) -> Result<(), AuditError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(AuditError { context: "test", source: Arc::new(std::io::Error::other("no space")) });
        }
        self.log.record(attempts).await
    }

    async fn query(&self, filter: &AttemptFilter, after: Option<i64>, limit: usize) -> Result<AttemptPage, AuditError> {
        self.log.query(filter, after, limit).await
    }

    async fn usage_after(&self, row: i64, limit: usize) -> Result<UsageSummary, AuditError> {
        self.log.usage_after(row, limit).await
    }
}

#[tokio::test]
async fn counts_that_cannot_be_written_are_written_later() {
    let log = Arc::new(Failing::default());
    let guard = FloodGuard::new(Arc::clone(&log) as _, limit(1));
    for n in 0..5 {
        guard.record(vec![from("192.0.2.1", n)]).await.unwrap();
    }
    log.fails.store(true, Ordering::SeqCst);
    guard.flush(at(60)).await.unwrap_err();
    log.fails.store(false, Ordering::SeqCst);
    guard.flush(at(120)).await.unwrap();
    assert_eq!(attempts(&rows(&*log).await), 5);
}

//! What every audit log does, and what strict and relaxed durability mean.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use signalbeam_domain::{CorrelationId, DeviceId, Prefix, SerialNumber, TenantId, Timestamp};
use signalbeam_event_store::{
    AttemptFilter, AuditDurability, AuditLog, AuthenticationAttempt, AuthenticationMethod, MemoryAuditLog, OpenError,
    SqliteAuditLog, UsageCount, UsageSummary,
};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fixture::{ManualClock, device_id, tenant_id};

struct Subject {
    log: Arc<dyn AuditLog>,
    _folder: Option<TempDir>,
}

impl Subject {
    #[expect(clippy::unused_async, reason = "made like the others")]
    async fn memory() -> Self {
        Self { log: Arc::new(MemoryAuditLog::new()), _folder: None }
    }

    async fn strict() -> Self {
        Self::on_disk(AuditDurability::Strict).await
    }

    async fn relaxed() -> Self {
        Self::on_disk(AuditDurability::Relaxed).await
    }

    async fn on_disk(durability: AuditDurability) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteAuditLog::open(folder.path().join("audit.db"), durability).await.unwrap();
        Self { log: Arc::new(log), _folder: Some(folder) }
    }
}

macro_rules! on_every_adapter {
    ($($test:ident),+ $(,)?) => { on!(memory: $($test),+); on!(strict: $($test),+); on!(relaxed: $($test),+); };
}

macro_rules! on {
    ($adapter:ident: $($test:ident),+) => {
        mod $adapter {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                crate::audit::$test(crate::audit::Subject::$adapter().await).await;
            })+
        }
    };
}

on_every_adapter! {
    an_empty_log_has_no_attempts,
    an_attempt_is_kept_whole,
    attempts_come_newest_first_in_pages,
    every_filter_holds,
    usage_is_counted_by_credential_and_day,
    blocks_of_rows_hide_nothing,
    racing_recorders_lose_nothing,
    rows_are_read_in_the_order_in_which_they_were_recorded,
}

fn at(seconds: i64) -> Timestamp {
    ManualClock::START.plus_seconds(seconds)
}

pub(crate) fn success(device_id: DeviceId, tenant_id: TenantId, timestamp: Timestamp) -> AuthenticationAttempt {
    AuthenticationAttempt {
        id: Uuid::now_v7(),
        device_id: Some(device_id),
        tenant_id: Some(tenant_id),
        ip_address: IpAddr::from([192, 0, 2, 17]),
        user_agent: Some("agent/1.0 \"quoted\" 'n'".to_owned()),
        timestamp,
        success: true,
        method: AuthenticationMethod::Certificate,
        failure_reason: None,
        failure_code: None,
        api_key_prefix: None,
        certificate_serial_number: Some(SerialNumber::from_random([9; 20])),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        attempts: 1,
    }
}

pub(crate) fn failure(timestamp: Timestamp, code: &str) -> AuthenticationAttempt {
    AuthenticationAttempt {
        id: Uuid::now_v7(),
        device_id: None,
        tenant_id: None,
        ip_address: "2001:db8::17".parse().unwrap(),
        user_agent: None,
        timestamp,
        success: false,
        method: AuthenticationMethod::ApiKey,
        failure_reason: Some("no such key".to_owned()),
        failure_code: Some(code.to_owned()),
        api_key_prefix: Some(Prefix::parse("Zz019aAb").unwrap()),
        certificate_serial_number: None,
        correlation_id: CorrelationId::parse("caller.chose_this-1").unwrap(),
        attempts: 1,
    }
}

/// All that pass, newest first.
pub(crate) async fn all(log: &dyn AuditLog, filter: &AttemptFilter, limit: usize) -> Vec<AuthenticationAttempt> {
    let mut attempts = vec![];
    let mut after = None;
    loop {
        let page = log.query(filter, after, limit).await.unwrap();
        assert!(page.attempts.len() <= limit);
        attempts.extend(page.attempts);
        let Some(next) = page.next else { return attempts };
        assert!(after.is_none_or(|after| next < after), "every page gets further");
        after = Some(next);
    }
}

/// All that pass, by scans from the oldest on.
async fn scanned(log: &dyn AuditLog, filter: &AttemptFilter, limit: usize) -> Vec<AuthenticationAttempt> {
    let head = log.head().await.unwrap();
    let (mut attempts, mut after) = (vec![], 0);
    while after < head {
        let scan = log.scan(filter, after, head, limit).await.unwrap();
        assert!(scan.attempts.len() <= limit && scan.reached > after && scan.reached <= head);
        assert!(scan.attempts.iter().all(|recorded| recorded.row > after && recorded.row <= scan.reached));
        attempts.extend(scan.attempts.into_iter().map(|recorded| recorded.attempt));
        after = scan.reached;
    }
    attempts
}

/// Waits until so many can be read: what is relaxed is on disk a little later.
async fn until_readable(log: &dyn AuditLog, count: usize) {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while all(log, &AttemptFilter::default(), 500).await.len() < count {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

async fn usage_is_counted_by_credential_and_day(Subject { log, .. }: Subject) {
    assert_eq!(log.usage_after(0, 10).await.unwrap(), UsageSummary::default());
    let (one, other, tenant) = (device_id(), device_id(), tenant_id());
    let late = at(0).plus_days(1);
    let from = |address: &str, attempt| AuthenticationAttempt { ip_address: address.parse().unwrap(), ..attempt };
    let refused = AuthenticationAttempt { success: false, attempts: 4, ..success(one, tenant, at(3)) };
    log.record(vec![
        from("192.0.2.1", success(one, tenant, at(1))),
        from("192.0.2.9", success(one, tenant, at(2))),
        from("192.0.2.3", refused),
        success(other, tenant, at(4)),
        success(one, tenant, late),
        failure(at(5), "INVALID_API_KEY"),
        failure(at(6), "API_KEY_REVOKED"),
    ])
    .await
    .unwrap();
    until_readable(&*log, 7).await;
    let all = log.usage_after(0, 100).await.unwrap();
    assert_eq!((all.last_row, all.head), (7, 7));
    let told = |counts: &[UsageCount]| {
        let one = |count: &UsageCount| (count.device_id, count.day.clone(), count.successes, count.failures);
        let mut told: Vec<_> = counts.iter().map(one).collect();
        told.sort();
        told
    };
    let day = |moment: Timestamp| moment.to_string()[..10].to_owned();
    let expected = vec![
        (None, day(at(0)), 0, 2),
        (Some(one), day(at(0)), 2, 4),
        (Some(one), day(late), 1, 0),
        (Some(other), day(at(0)), 1, 0),
    ];
    assert_eq!(told(&all.counts), expected);
    let find = |device_id, day: String| {
        all.counts.iter().find(|count| count.device_id == device_id && count.day == day).unwrap()
    };
    let busy = find(Some(one), day(at(0)));
    assert_eq!(busy.last_success, Some((at(2), "192.0.2.9".parse().unwrap())), "the address of the last success");
    assert_eq!(busy.credential, Some(SerialNumber::from_random([9; 20]).to_string()));
    assert_eq!((busy.method, busy.tenant_id), (AuthenticationMethod::Certificate, Some(tenant)));
    let strangers = find(None, day(at(0)));
    assert_eq!(
        (strangers.last_success, &strangers.credential),
        (None, &None),
        "what a stranger shows is not kept apart"
    );

    let first = log.usage_after(0, 3).await.unwrap();
    assert_eq!((first.last_row, first.head, told(&first.counts)), (3, 7, vec![(Some(one), day(at(0)), 2, 4)]));
    let rest = log.usage_after(3, 100).await.unwrap();
    assert_eq!((rest.last_row, rest.counts.len()), (7, 3));
    assert_eq!(log.usage_after(7, 100).await.unwrap(), UsageSummary { last_row: 7, head: 7, counts: vec![] });
}

async fn an_empty_log_has_no_attempts(Subject { log, .. }: Subject) {
    let spans = AttemptFilter { start: Some(at(0)), end: Some(at(1)), ..AttemptFilter::default() };
    for filter in [AttemptFilter::default(), spans] {
        let page = log.query(&filter, None, 10).await.unwrap();
        assert_eq!((page.attempts, page.next), (vec![], None));
    }
    log.record(vec![]).await.unwrap();
}

async fn an_attempt_is_kept_whole(Subject { log, .. }: Subject) {
    let attempts = [failure(at(0), "INVALID_API_KEY"), success(device_id(), tenant_id(), at(1))];
    log.record(attempts.to_vec()).await.unwrap();
    let mut read = all(&*log, &AttemptFilter::default(), 10).await;
    read.reverse();
    assert_eq!(read, attempts, "together with a failure a success is on disk at once");
}

async fn attempts_come_newest_first_in_pages(Subject { log, .. }: Subject) {
    let (device, tenant) = (device_id(), tenant_id());
    let mut recorded: Vec<_> = (0..25).map(|n| success(device, tenant, at(n))).collect();
    for attempt in &recorded {
        log.record(vec![attempt.clone()]).await.unwrap();
    }
    until_readable(&*log, 25).await;
    recorded.reverse();
    for limit in [1, 5, 24, 25, 26] {
        assert_eq!(all(&*log, &AttemptFilter::default(), limit).await, recorded, "in pages of {limit}");
    }
}

async fn every_filter_holds(Subject { log, .. }: Subject) {
    let (devices, tenants) = ([device_id(), device_id(), device_id()], [tenant_id(), tenant_id()]);
    let mut recorded = vec![];
    for n in 0..60_u8 {
        let mut attempt = match n % 5 {
            0 => failure(at(n.into()), if n % 2 == 0 { "INVALID_API_KEY" } else { "API_KEY_EXPIRED" }),
            _ => success(devices[usize::from(n % 3)], tenants[usize::from(n % 2)], at(n.into())),
        };
        if n % 5 == 4 {
            attempt.method = AuthenticationMethod::ApiKey;
        }
        recorded.push(attempt);
    }
    for pair in recorded.chunks(2) {
        log.record(pair.to_vec()).await.unwrap();
    }
    until_readable(&*log, 60).await;
    recorded.reverse();
    let none = AttemptFilter::default();
    let filters = [
        (AttemptFilter { device_id: Some(devices[1]), ..none.clone() }, 16),
        (AttemptFilter { tenant_id: Some(tenants[0]), ..none.clone() }, 24),
        (AttemptFilter { device_id: Some(devices[1]), tenant_id: Some(tenants[0]), ..none.clone() }, 8),
        (AttemptFilter { start: Some(at(10)), end: Some(at(20)), ..none.clone() }, 10),
        (AttemptFilter { start: Some(at(58)), ..none.clone() }, 2),
        (AttemptFilter { end: Some(at(3)), ..none.clone() }, 3),
        (AttemptFilter { start: Some(at(60)), ..none.clone() }, 0),
        (AttemptFilter { success: Some(false), ..none.clone() }, 12),
        (AttemptFilter { method: Some(AuthenticationMethod::ApiKey), ..none.clone() }, 24),
        (AttemptFilter { failure_code: Some("API_KEY_EXPIRED".to_owned()), ..none.clone() }, 6),
        (AttemptFilter { device_id: Some(device_id()), ..none.clone() }, 0),
        (AttemptFilter { ip_address: Some("2001:db8::17".parse().unwrap()), ..none.clone() }, 12),
        (AttemptFilter { api_key_prefix: Some(Prefix::parse("Zz019aAb").unwrap()), ..none.clone() }, 12),
        (AttemptFilter { certificate_serial_number: Some(SerialNumber::from_random([9; 20])), ..none.clone() }, 48),
        (AttemptFilter { correlation_id: Some(recorded[7].correlation_id.clone()), ..none.clone() }, 1),
    ];
    for (filter, count) in filters {
        let expected: Vec<_> = recorded.iter().filter(|attempt| filter.matches(attempt)).cloned().collect();
        assert_eq!(expected.len(), count, "{filter:?}");
        for limit in [3, 100] {
            assert_eq!(all(&*log, &filter, limit).await, expected, "{filter:?} in pages of {limit}");
            let mut oldest_first = scanned(&*log, &filter, limit).await;
            oldest_first.reverse();
            assert_eq!(oldest_first, expected, "{filter:?} in scans of {limit}");
        }
    }
}

/// Rows are found by blocks of 16,384, so these fill several, with times that go to and fro, and odd numbers at a time.
async fn blocks_of_rows_hide_nothing(Subject { log, .. }: Subject) {
    let devices: Vec<_> = std::iter::repeat_with(device_id).take(300).collect();
    let tenants = [tenant_id(), tenant_id()];
    let moment = |n: usize| match i64::try_from(n).unwrap() {
        39_000 => at(-5),
        n => at(n - 12_000 * (n / 16_000)),
    };
    let mut recorded: Vec<_> = (0..42_000)
        .map(|n| match n % 40 {
            0 => failure(moment(n), "INVALID_API_KEY"),
            _ => success(devices[n * 7 % 300], tenants[usize::from(n % 1_000 == 1)], moment(n)),
        })
        .collect();
    for attempts in recorded.chunks(1_311) {
        // A failure in it makes a relaxed log wait as well.
        assert!(attempts.iter().any(|attempt| !attempt.success));
        log.record(attempts.to_vec()).await.unwrap();
    }
    recorded.reverse();
    let none = AttemptFilter::default();
    let spans = [(-10, 0), (0, 100), (6_000, 10_000), (15_990, 16_010), (12_000, 24_000), (26_000, 36_000)];
    let spans = spans.map(|(start, end)| AttemptFilter { start: Some(at(start)), end: Some(at(end)), ..none.clone() });
    let filters = [
        AttemptFilter { device_id: Some(devices[17]), ..none.clone() },
        AttemptFilter { device_id: Some(devices[18]), start: Some(at(9_000)), end: Some(at(19_000)), ..none.clone() },
        AttemptFilter { device_id: Some(devices[19]), tenant_id: Some(tenants[1]), ..none.clone() },
        AttemptFilter { tenant_id: Some(tenants[1]), ..none.clone() },
        AttemptFilter { tenant_id: Some(tenants[1]), success: Some(false), ..none.clone() },
        AttemptFilter { success: Some(false), ..none.clone() },
    ];
    for filter in spans.iter().chain(&filters) {
        let expected: Vec<_> = recorded.iter().filter(|attempt| filter.matches(attempt)).collect();
        let found = all(&*log, filter, 41).await;
        assert!(found.iter().eq(expected.iter().copied()), "{} of {}: {filter:?}", found.len(), expected.len());
        let oldest_first = scanned(&*log, filter, 1_000).await;
        assert!(oldest_first.iter().rev().eq(expected), "{}: {filter:?}", oldest_first.len());
    }
}

async fn rows_are_read_in_the_order_in_which_they_were_recorded(Subject { log, .. }: Subject) {
    assert_eq!(
        (log.head().await.unwrap(), log.scan(&AttemptFilter::default(), 0, i64::MAX, 10).await.unwrap().attempts),
        (0, vec![])
    );
    // Recorded with a failure, so that a relaxed log has them all on disk; the times go backwards.
    let recorded: Vec<_> = (0..30).map(|n| failure(at(-n), "INVALID_API_KEY")).collect();
    for pair in recorded.chunks(2) {
        log.record(pair.to_vec()).await.unwrap();
    }
    assert_eq!(log.head().await.unwrap(), 30);
    for limit in [1, 7, 29, 30, 31] {
        let (mut read, mut after) = (vec![], 0);
        loop {
            let rows = log.scan(&AttemptFilter::default(), after, i64::MAX, limit).await.unwrap().attempts;
            assert!(rows.iter().zip(after + 1..).all(|(recorded, row)| recorded.row == row));
            after = rows.last().map_or(after, |last| last.row);
            let is_last = rows.len() < limit;
            read.extend(rows.into_iter().map(|recorded| recorded.attempt));
            if is_last {
                break;
            }
        }
        assert_eq!(read, recorded, "in steps of {limit}");
    }
    assert_eq!(log.scan(&AttemptFilter::default(), 30, i64::MAX, 10).await.unwrap().attempts, vec![]);
    assert_eq!(log.scan(&AttemptFilter::default(), 10, 20, 100).await.unwrap().attempts.len(), 10);
}

async fn racing_recorders_lose_nothing(Subject { log, .. }: Subject) {
    let mut recorders = JoinSet::new();
    for _ in 0..32 {
        let log = Arc::clone(&log);
        recorders.spawn(async move {
            let mut ids = vec![];
            for n in 0..20 {
                let attempts = vec![success(device_id(), tenant_id(), at(n)), failure(at(n), "INVALID_API_KEY")];
                ids.extend(attempts.iter().map(|attempt| attempt.id));
                log.record(attempts).await.unwrap();
            }
            ids
        });
    }
    let mut recorded: Vec<_> = recorders.join_all().await.concat();
    let mut read: Vec<_> = all(&*log, &AttemptFilter::default(), 200).await.iter().map(|attempt| attempt.id).collect();
    recorded.sort_unstable();
    read.sort_unstable();
    assert_eq!(recorded, read);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_writes_what_was_queued_and_reopening_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let (device, tenant) = (device_id(), tenant_id());
    for round in 1..=3 {
        let log = SqliteAuditLog::open(&path, AuditDurability::Relaxed).await.unwrap();
        assert!(matches!(SqliteAuditLog::open(&path, AuditDurability::Strict).await, Err(OpenError::InUse { .. })));
        for n in 0..10 {
            log.record(vec![success(device, tenant, at(n))]).await.unwrap();
        }
        log.close().await;
        assert!(log.record(vec![success(device, tenant, at(0))]).await.is_err());
        let log = SqliteAuditLog::open(&path, AuditDurability::Strict).await.unwrap();
        assert_eq!(all(&log, &AttemptFilter::default(), 7).await.len(), round * 10);
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relaxed_success_is_on_disk_within_a_quarter_of_a_second() {
    let subject = Subject::relaxed().await;
    subject.log.record(vec![success(device_id(), tenant_id(), at(0))]).await.unwrap();
    let recorded = std::time::Instant::now();
    until_readable(&*subject.log, 1).await;
    // Four times the promise: the machine that tests is busy.
    assert!(recorded.elapsed() < Duration::from_secs(1), "{:?}", recorded.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn analysts_find_the_columns_and_readable_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let log = SqliteAuditLog::open(&path, AuditDurability::Strict).await.unwrap();
    let attempt = success(device_id(), tenant_id(), ManualClock::START);
    log.record(vec![attempt.clone(), failure(at(1), "INVALID_API_KEY")]).await.unwrap();

    let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=ro", path.display())).await.unwrap();
    let row: (String, String, String, String, i64, Option<String>, String, Option<String>) = sqlx::query_as(
        "SELECT id, device_id, ip_address, user_agent, success, failure_reason, timestamp, api_key_prefix
         FROM device_authentication_logs WHERE device_id = ?",
    )
    .bind(attempt.device_id.unwrap().to_string())
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let expected = (
        attempt.id.to_string(),
        attempt.device_id.unwrap().to_string(),
        "192.0.2.17".to_owned(),
        attempt.user_agent.unwrap(),
        1,
        None,
        "2027-01-15T08:00:00.123456Z".to_owned(),
        None,
    );
    assert_eq!(row, expected);
}

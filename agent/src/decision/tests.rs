//! The rules of time, one test a rule.

use time::macros::datetime;

use super::*;

const THRESHOLD: time::Duration = time::Duration::days(30);

fn certificate(days: i64) -> CertificateInfo {
    let not_before = datetime!(2025-01-01 00:00 UTC);
    CertificateInfo {
        serial_number: "01".to_owned(),
        subject: String::new(),
        not_before,
        not_after: not_before + time::Duration::days(days),
    }
}

#[test]
fn a_certificate_is_renewed_from_the_threshold_on_and_after_its_end() {
    let certificate = certificate(90);
    for (now, due) in [
        (datetime!(2025-01-01 00:00 UTC), false),
        (datetime!(2025-03-01 23:59:59 UTC), false),
        (datetime!(2025-03-02 00:00 UTC), true),
        (datetime!(2025-04-01 00:00 UTC), true),
        (datetime!(2026-04-01 00:00 UTC), true),
    ] {
        assert_eq!(renewal_is_due(now, &certificate, THRESHOLD, false), due, "{now}");
    }
}

#[test]
fn the_servers_hint_alone_is_enough() {
    assert!(renewal_is_due(datetime!(2025-01-02 00:00 UTC), &certificate(90), THRESHOLD, true));
}

#[test]
fn a_short_lived_certificate_is_renewed_in_its_last_third() {
    let certificate = certificate(3);
    assert!(!renewal_is_due(datetime!(2025-01-02 23:59 UTC), &certificate, THRESHOLD, false));
    assert!(renewal_is_due(datetime!(2025-01-03 00:00 UTC), &certificate, THRESHOLD, false));
}

#[test]
fn a_clock_in_1970_neither_renews_nor_calls_anything_expired() {
    let epoch = OffsetDateTime::UNIX_EPOCH;
    assert!(!renewal_is_due(epoch, &certificate(90), THRESHOLD, false));
    assert_eq!(certificate_age(epoch, &certificate(90)), Age::ClockBehind);
    assert_eq!(certificate_age(datetime!(2024-12-31 23:00 UTC), &certificate(90)), Age::Valid);
    assert_eq!(certificate_age(datetime!(2025-04-01 00:00 UTC), &certificate(90)), Age::Valid);
    assert_eq!(certificate_age(datetime!(2025-04-01 00:00:01 UTC), &certificate(90)), Age::Expired);
}

#[test]
fn a_key_is_claimed_when_missing_over_or_rotated() {
    let now = datetime!(2025-01-01 00:00 UTC);
    let (over, ahead, other) =
        (datetime!(2024-12-31 00:00 UTC), datetime!(2025-03-01 00:00 UTC), datetime!(2025-04-01 00:00 UTC));
    assert!(claim_is_due(now, None, Some(ahead)));
    assert!(claim_is_due(now, None, None));
    assert!(claim_is_due(now, Some(over), Some(over)));
    assert!(claim_is_due(now, Some(ahead), Some(other)));
    assert!(!claim_is_due(now, Some(ahead), Some(ahead + time::Duration::milliseconds(400))));
    assert!(!claim_is_due(now, Some(ahead), None));
}

#[test]
fn pauses_double_are_bounded_spread_and_obey_the_server() {
    let minute = Duration::from_mins(1);
    assert_eq!(pause(minute, 0, None, 0), Duration::from_secs(54));
    assert_eq!(pause(minute, 0, None, 255), Duration::from_secs(66));
    assert_eq!(pause(minute, 2, None, 0), Duration::from_secs(216));
    assert_eq!(pause(minute, 1000, None, 0), LONGEST_BACKOFF.mul_f64(0.9));
    assert_eq!(pause(minute, 1, Some(Duration::from_mins(10)), 0), Duration::from_mins(10));
    assert_eq!(pause(minute, 1, Some(Duration::from_hours(9000)), 0), Duration::from_hours(1));
    let rare = Duration::from_hours(1);
    assert_eq!(pause(rare, 3, None, 0), rare.mul_f64(0.9), "a failure never shortens the interval");
}

#[test]
fn hints_are_obeyed_at_once_but_not_again_and_again() {
    let start = Instant::now();
    let hour = Duration::from_hours(1);
    let mut schedule = RenewalSchedule::new(12 * hour, start);
    assert!(schedule.allows(start, false));
    schedule.nothing_to_do(start);
    assert!(!schedule.allows(start + 11 * hour, false));
    assert!(schedule.allows(start + 12 * hour, false));
    assert!(schedule.allows(start, true), "a hint may come with the next heartbeat");
    schedule.renewed(start);
    assert!(!schedule.allows(start + 11 * hour, true));
    assert!(schedule.allows(start + 12 * hour, true));
    for _ in 0..20 {
        schedule.failed(start);
    }
    assert!(!schedule.allows(start + Duration::from_secs(3599), true));
    assert!(schedule.allows(start + hour, false));
}

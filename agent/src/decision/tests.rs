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

fn decide(now: OffsetDateTime, days: i64, suggested: Option<SuggestedWindow>, hint: Hint, share: f64) -> Renewal {
    renewal(now, &certificate(days), suggested, hint, THRESHOLD, share)
}

const WINDOW: SuggestedWindow =
    SuggestedWindow { start: datetime!(2025-02-01 00:00 UTC), end: datetime!(2025-02-11 00:00 UTC) };

#[test]
fn without_a_suggestion_a_certificate_is_renewed_in_the_window_of_the_threshold() {
    for (now, share, expected) in [
        (datetime!(2025-01-01 00:00 UTC), 0.0, Renewal::Wait(datetime!(2025-03-02 00:00 UTC))),
        (datetime!(2025-03-01 23:59:59 UTC), 1.0, Renewal::Wait(datetime!(2025-03-12 00:00 UTC))),
        (datetime!(2025-03-02 00:00 UTC), 0.0, Renewal::Act),
        (datetime!(2025-03-12 00:00 UTC), 1.0, Renewal::Act),
        (datetime!(2026-04-01 00:00 UTC), 1.0, Renewal::Act),
    ] {
        assert_eq!(decide(now, 90, None, Hint::None, share), expected, "{now}");
    }
}

#[test]
fn a_suggested_window_decides_each_device_at_its_own_moment_of_its_first_half() {
    let before = datetime!(2025-01-02 00:00 UTC);
    for hint in [Hint::None, Hint::WindowOpen] {
        let chosen = |share| decide(before, 90, Some(WINDOW), hint, share);
        assert_eq!(chosen(0.0), Renewal::Wait(WINDOW.start));
        assert_eq!(chosen(0.5), Renewal::Wait(datetime!(2025-02-03 12:00 UTC)));
        assert_eq!(chosen(1.0), Renewal::Wait(datetime!(2025-02-06 00:00 UTC)));
        assert_eq!(decide(datetime!(2025-02-06 00:00 UTC), 90, Some(WINDOW), hint, 1.0), Renewal::Act);
    }
    assert_eq!(decide(WINDOW.end, 90, Some(WINDOW), Hint::None, 1.0), Renewal::Act, "a window that is over is now");
    let upside_down = SuggestedWindow { start: WINDOW.end, end: WINDOW.start };
    let expected = decide(before, 90, None, Hint::None, 0.5);
    assert_eq!(decide(before, 90, Some(upside_down), Hint::None, 0.5), expected, "nonsense suggests nothing");
    let too_late = SuggestedWindow { start: datetime!(2025-06-01 00:00 UTC), end: datetime!(2025-07-01 00:00 UTC) };
    let latest = Renewal::Wait(datetime!(2025-03-22 00:00 UTC));
    assert_eq!(decide(before, 90, Some(too_late), Hint::None, 0.5), latest, "no suggestion lets a certificate end");
}

#[test]
fn a_hint_without_a_window_is_enough_and_a_certificate_that_ended_never_waits() {
    let now = datetime!(2025-01-02 00:00 UTC);
    assert_eq!(decide(now, 90, None, Hint::WindowOpen, 0.5), Renewal::Act);
    assert_eq!(decide(now, 90, Some(WINDOW), Hint::Ended, 0.5), Renewal::Act);
}

#[test]
fn a_short_lived_certificate_is_renewed_in_its_last_third() {
    let almost = datetime!(2025-01-02 23:59 UTC);
    assert_eq!(decide(almost, 3, None, Hint::None, 0.0), Renewal::Wait(datetime!(2025-01-03 00:00 UTC)));
    assert_eq!(decide(datetime!(2025-01-03 00:00 UTC), 3, None, Hint::None, 0.0), Renewal::Act);
}

#[test]
fn a_clock_in_1970_neither_renews_nor_calls_anything_expired() {
    let epoch = OffsetDateTime::UNIX_EPOCH;
    assert_eq!(decide(epoch, 90, None, Hint::None, 0.5), Renewal::ClockWrong);
    assert_eq!(certificate_age(epoch, &certificate(90)), Age::ClockBehind);
    assert_eq!(certificate_age(datetime!(2024-12-31 23:00 UTC), &certificate(90)), Age::Valid);
    assert_eq!(certificate_age(datetime!(2025-04-01 00:00 UTC), &certificate(90)), Age::Valid);
    assert_eq!(certificate_age(datetime!(2025-04-01 00:00:01 UTC), &certificate(90)), Age::Expired);
}

#[test]
fn a_fleet_spreads_evenly_and_a_device_keeps_its_place() {
    let shares: Vec<f64> = (0..1000).map(|id| share_of(Uuid::from_u128(id), "01")).collect();
    for tenth in 0..10_u32 {
        let bounds = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
        let count = shares.iter().filter(|share| bounds.contains(share)).count();
        assert!((60..140).contains(&count), "{count} of 1000 in tenth {tenth}");
    }
    let device = Uuid::from_u128(7);
    assert!((share_of(device, "01") - share_of(device, "01")).abs() < f64::EPSILON);
    assert!(
        (share_of(device, "01") - share_of(device, "02")).abs() > f64::EPSILON,
        "another certificate, another place"
    );
}

#[test]
fn an_api_key_is_rotated_while_enough_of_it_is_left() {
    let end = datetime!(2025-04-01 00:00 UTC);
    let obtained = Some(datetime!(2025-01-01 00:00 UTC));
    assert!(!rotation_is_due(datetime!(2025-03-01 00:00 UTC), obtained, end, 0.0));
    assert!(rotation_is_due(datetime!(2025-03-02 00:00 UTC), obtained, end, 0.0));
    assert!(!rotation_is_due(datetime!(2025-03-16 23:00 UTC), obtained, end, 1.0));
    assert!(rotation_is_due(datetime!(2025-03-17 00:00 UTC), obtained, end, 1.0), "half of the threshold is left");
    let two_years_before = Some(datetime!(2023-04-01 00:00 UTC));
    assert!(!rotation_is_due(datetime!(2025-03-01 00:00 UTC), two_years_before, end, 0.0));
    let yesterday = Some(end - time::Duration::days(1));
    assert!(!rotation_is_due(end - time::Duration::hours(9), yesterday, end, 0.0));
    assert!(rotation_is_due(end - time::Duration::hours(8), yesterday, end, 0.0));
    assert!(!rotation_is_due(datetime!(2025-03-17 00:00 UTC), None, end, 0.0));
    assert!(rotation_is_due(datetime!(2025-03-18 00:00 UTC), None, end, 0.0), "a key of unknown age");
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
    assert_eq!(pause(minute, 0, None, u8::MAX), Duration::from_secs(66));
    assert_eq!(pause(minute, 2, None, 0), SHORTEST_BACKOFF);
    assert_eq!(pause(minute, 2, None, u8::MAX), Duration::from_mins(4));
    assert_eq!(pause(minute, 1000, None, u8::MAX), LONGEST_BACKOFF);
    assert_eq!(pause(minute, 1, Some(Duration::from_mins(10)), 0), Duration::from_mins(10));
    assert_eq!(pause(minute, 1, Some(Duration::from_hours(9000)), 0), Duration::from_hours(1));
    let (rare, often) = (Duration::from_hours(1), Duration::from_secs(1));
    assert_eq!(pause(rare, 3, None, u8::MAX), rare, "a rare heartbeat does not become rarer");
    assert_eq!(pause(often, 1, None, 0), often, "nor a frequent one more frequent");
}

#[test]
fn failures_in_a_row_hold_longer_and_longer_within_an_hour() {
    let mut backoff = Backoff::default();
    assert!(backoff.allows(Duration::ZERO));
    for minutes in [2, 4, 8, 16, 32, 60, 60] {
        backoff.failed(Duration::ZERO, None, u8::MAX);
        assert_eq!(backoff.held_until(), Duration::from_mins(minutes));
    }
    backoff.failed(Duration::ZERO, Some(Duration::from_mins(7)), 0);
    assert_eq!(backoff.held_until(), Duration::from_mins(7));
    backoff.succeeded();
    assert!(backoff.allows(Duration::ZERO));
}

#[test]
fn hints_are_obeyed_at_once_but_not_again_and_again() {
    let hour = Duration::from_hours(1);
    let mut schedule = RenewalSchedule::new(12 * hour);
    assert!(schedule.allows(Duration::ZERO, Hint::None));
    schedule.waits(Duration::ZERO, Hint::None, None);
    assert!(!schedule.allows(11 * hour, Hint::None));
    assert!(schedule.allows(12 * hour, Hint::None));
    assert!(schedule.allows(Duration::ZERO, Hint::WindowOpen), "a hint may come with the next heartbeat");
    schedule.waits(Duration::ZERO, Hint::WindowOpen, Some(3 * hour));
    assert!(!schedule.allows(2 * hour, Hint::WindowOpen), "the hint is known and a moment chosen");
    assert!(schedule.allows(2 * hour, Hint::Ended), "a more pressing one is not");
    assert!(schedule.allows(3 * hour, Hint::None));
    schedule.waits(Duration::ZERO, Hint::None, Some(100 * hour));
    assert_eq!(schedule.next_look(), 12 * hour, "looks go on before a moment that is far off");
    schedule.renewed(Duration::ZERO);
    assert!(!schedule.allows(11 * hour, Hint::Ended));
    assert!(schedule.allows(12 * hour, Hint::WindowOpen));
    for _ in 0..20 {
        schedule.failed(Duration::ZERO, None, u8::MAX);
    }
    assert!(!schedule.allows(Duration::from_secs(3599), Hint::Ended));
    assert!(schedule.allows(hour, Hint::None));
}

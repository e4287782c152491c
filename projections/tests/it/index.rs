//! The credential index: always what the log says, however it came to know it, and never silently old.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use signalbeam_domain::admin_token::{AdminTokenEvent, RevokedAdminTokens};
use signalbeam_domain::api_key::{ApiKeys, KeyOrigin};
use signalbeam_domain::certificate::{Certificates, Standing};
use signalbeam_domain::device::Device;
use signalbeam_domain::{
    Aggregate, DecodeError, DeviceId, DeviceStatus, Event, Position, StreamId, TenantId, Timestamp, TokenIssuer,
};
use signalbeam_event_store::Recorded;
use signalbeam_projections::{ApiKeyEntry, CertificateEntry, CredentialIndex, ProjectionFailure};
use tokio::runtime::Runtime;

use crate::fleet::{Fleet, Step, admin_token, steps, tenant};
use crate::rows::{LONG, Projected};
use crate::tampered::TamperedLog;

/// One device's stream of each category, read in full and folded by the domain.
fn fold<A>(log: &[Recorded], stream: &StreamId) -> A
where
    A: Aggregate<Event: TryFrom<Event>>,
{
    let events = log.iter().filter(|recorded| recorded.envelope.stream == *stream);
    let events: Vec<_> = events.map(|recorded| A::Event::try_from(recorded.event().unwrap()).ok().unwrap()).collect();
    A::fold(&events)
}

/// The same for the admin tokens, whose revocations are forgotten long after they would have expired.
fn assert_admin_tokens_are_fold_of(index: &CredentialIndex, log: &[Recorded], forgotten_before: Timestamp) {
    let events: Vec<_> =
        log.iter().filter_map(|recorded| AdminTokenEvent::try_from(recorded.event().unwrap()).ok()).collect();
    let revoked = RevokedAdminTokens::fold(&events);
    let ours = TokenIssuer::built_in();
    for (jti, issuer, expires_at) in (0..6).map(admin_token) {
        let is_forgotten = expires_at.is_some_and(|expires_at| expires_at < forgotten_before);
        let expected = revoked.has(&issuer, &jti) && !is_forgotten;
        let late = Some(forgotten_before.plus_days(1_000));
        assert_eq!(index.has_revoked_admin_token(&issuer, Some(&jti), late), expected, "{issuer} {jti}");
    }
    let is_issued_too_early = |issuer, issued_at| index.has_revoked_admin_token(issuer, None, issued_at);
    assert_eq!(is_issued_too_early(&ours, None), revoked.issued_before().is_some());
    if let Some(moment) = revoked.issued_before() {
        assert!(is_issued_too_early(&ours, Some(moment.plus_seconds(-1))));
        assert!(!is_issued_too_early(&ours, Some(moment)));
        assert!(!is_issued_too_early(&TokenIssuer::parse("https://id.example").unwrap(), None));
    }
}

/// The index answers for every device, key and certificate what the domain's own folds of the log say.
fn assert_is_fold_of(index: &CredentialIndex, log: &[Recorded], devices: &[DeviceId]) {
    let Some(last) = log.last() else { return };
    let forgotten_before = last.envelope.recorded_at.plus_days(-30);
    assert_admin_tokens_are_fold_of(index, log, forgotten_before);
    let mut by_prefix: BTreeMap<_, Vec<ApiKeyEntry>> = BTreeMap::new();
    let mut in_service: BTreeMap<TenantId, usize> = BTreeMap::new();
    for id in devices.iter().copied() {
        let device: Device = fold(log, &StreamId::device(id));
        let known = device.known().map(|device| (device.registered.tenant_id, device.status));
        assert_eq!(index.device(id).map(|entry| (entry.tenant_id, entry.status)), known);
        if let Some(device) = device.known() {
            for third in 0..=255 {
                let address = Ipv4Addr::new(10, 0, third, 1).into();
                assert_eq!(index.permits_address(id, address), device.allowed_networks.permit(address), "{address}");
            }
            if device.status.is_in_service() {
                *in_service.entry(device.registered.tenant_id).or_default() += 1;
            }
        }

        let certificates: Certificates = fold(log, &StreamId::certificates(id));
        for certificate in certificates.issued() {
            let intended = &certificate.issued.intended;
            let is_forgotten = certificate.standing != Standing::Active && intended.not_after < forgotten_before;
            let entry = (!is_forgotten).then_some(CertificateEntry {
                fingerprint: certificate.issued.fingerprint,
                serial_number: intended.serial_number,
                device_id: id,
                not_before: intended.not_before,
                not_after: intended.not_after,
                is_imported: certificate.is_imported,
                standing: certificate.standing,
                authority_id: certificate.issued.authority_id,
                is_used: certificate.is_used,
                profile: match intended.profile.as_str() {
                    _ if certificate.is_imported => "",
                    "sensor" => "sensor",
                    _ => "device",
                },
                is_reuse_suspected: certificate.is_reuse_suspected,
            });
            assert_eq!(index.certificate(&certificate.issued.fingerprint), entry);
            assert_eq!(index.certificate_by_serial(intended.serial_number), entry);
            if let Some(entry) = entry {
                let requested = certificate.renewal_requested.filter(|_| certificate.standing == Standing::Active);
                assert_eq!(index.early_renewal(&entry), requested, "no authority signed them that rotates here");
            }
        }
        let active = certificates.active().map(|certificate| certificate.issued.fingerprint);
        assert_eq!(index.active_certificate(id).map(|entry| entry.fingerprint), active);

        let keys: ApiKeys = fold(log, &StreamId::api_keys(id));
        for key in keys.keys().iter().filter(|key| !key.is_revoked || key.issued.expires_at >= forgotten_before) {
            by_prefix.entry(key.issued.prefix).or_default().push(ApiKeyEntry {
                key_id: key.issued.key_id,
                prefix: key.issued.prefix,
                device_id: id,
                verifier: Arc::new(key.issued.verifier.clone()),
                expires_at: key.issued.expires_at,
                is_revoked: key.is_revoked,
                is_used: key.is_used,
            });
        }
        let newest = keys.keys().iter().rev().find(|key| !key.is_revoked).map(|key| key.issued.expires_at);
        assert_eq!(index.api_key_expiry(id), newest);
    }
    for number in 0..2 {
        let expected = in_service.get(&tenant(number)).copied().unwrap_or_default();
        assert_eq!(index.devices_in_service(tenant(number)), expected);
    }
    let keys: usize = by_prefix.values().map(Vec::len).sum();
    assert_eq!(index.sizes().1, keys);
    for (prefix, mut expected) in by_prefix {
        expected.sort_by_key(|key| key.key_id);
        let mut found = index.api_keys(prefix, <[ApiKeyEntry]>::to_vec);
        found.sort_by_key(|key| key.key_id);
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_the_fold_of_the_log(steps in steps(), page in 1..50usize) {
        Runtime::new().unwrap().block_on(async {
            let fleet = Fleet::of(&steps).await;
            let log = fleet.log().await;
            let index = CredentialIndex::from_events(&[]).unwrap();
            for events in log.chunks(page) {
                index.apply(events).unwrap();
            }
            assert_is_fold_of(&index, &log, &fleet.devices);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn an_index_that_starts_from_the_tables_is_the_same(steps in steps(), more in steps()) {
        Runtime::new().unwrap().block_on(async {
            let mut fleet = Fleet::of(&steps).await;
            let projected = Projected::of(&fleet).await;
            let tables = projected.projector.tables().clone();
            // The tables stay behind, so that the index has to catch up from the log.
            drop(projected.projector);
            for step in more {
                fleet.perform(step).await;
            }
            let index = CredentialIndex::start(fleet.store.clone(), Some(tables));
            index.wait_until_ready(LONG).await.unwrap();
            assert_eq!(index.position(), fleet.head().await);
            assert_is_fold_of(&index, &fleet.log().await, &fleet.devices);
        });
    }
}

#[tokio::test]
async fn what_is_appended_is_known_once_its_position_is_reached() {
    let (mut fleet, device) = Fleet::with_device().await;
    let index = CredentialIndex::start(fleet.store.clone(), None);
    index.wait_until_ready(LONG).await.unwrap();
    assert_eq!(index.device(device).unwrap().tenant_id, tenant(0));
    assert_eq!(index.device(device).unwrap().status, DeviceStatus::Approved);
    assert!(index.active_certificate(device).is_none() && index.api_key_expiry(device).is_none());
    fleet.perform(Step::IssueCertificate(0)).await;
    fleet.perform(Step::IssueKey(0, KeyOrigin::Claim)).await;
    fleet.perform(Step::Suspend(0)).await;
    index.wait_for(fleet.head().await, LONG).await.unwrap();
    assert_eq!(index.device(device).unwrap().status, DeviceStatus::Suspended);
    assert!(index.active_certificate(device).is_some() && index.api_key_expiry(device).is_some());
    assert!(index.wait_for(Position(1_000), Duration::from_millis(1)).await.is_err());
}

#[tokio::test]
async fn an_event_that_cannot_be_read_stops_the_index_and_says_so() {
    let (mut fleet, device) = Fleet::with_device().await;
    let next = Position(fleet.head().await.0 + 1);
    let index = CredentialIndex::start(Arc::new(TamperedLog::new(fleet.store.clone(), next)), None);
    index.wait_until_ready(LONG).await.unwrap();
    fleet.perform(Step::Suspend(0)).await;
    assert!(index.wait_for(next, LONG).await.is_err(), "the wait ends with the failure, not with its time");
    assert!(matches!(index.failure(), Some(ProjectionFailure::Unreadable { position, .. }) if position == next));
    assert!(!index.is_ready());
    assert_eq!(index.age(), Duration::MAX);
    assert_eq!(index.device(device).unwrap().status, DeviceStatus::Approved, "which must therefore not be trusted");
}

#[tokio::test]
async fn an_index_that_cannot_ask_the_log_grows_old_and_young_again() {
    let (fleet, _) = Fleet::with_device().await;
    let log = Arc::new(TamperedLog::new(fleet.store.clone(), Position(u64::MAX)));
    log.is_out_of_reach.store(true, Ordering::SeqCst);
    let index = CredentialIndex::start(log.clone(), None);
    index.wait_for(fleet.head().await, LONG).await.unwrap();
    assert!(!index.is_ready(), "it may hold everything, but nobody has said so");
    assert_eq!(index.age(), Duration::MAX);
    log.is_out_of_reach.store(false, Ordering::SeqCst);
    index.wait_until_ready(LONG).await.unwrap();
    assert!(index.age() < LONG);
    log.is_out_of_reach.store(true, Ordering::SeqCst);
    let until_old = async {
        while index.age() < Duration::from_millis(600) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, until_old).await.unwrap();
    assert!(index.is_ready(), "ready and old: whoever asks judges the age");
    log.is_out_of_reach.store(false, Ordering::SeqCst);
    let until_young = async {
        while index.age() > Duration::from_millis(500) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, until_young).await.unwrap();
}

#[tokio::test]
async fn a_log_that_a_newer_program_wrote_is_refused_whole() {
    let (mut fleet, _) = Fleet::with_device().await;
    fleet.perform(Step::IssueCertificate(0)).await;
    let mut log = fleet.log().await;
    log.last_mut().unwrap().envelope.schema_version += 1;
    let failure = CredentialIndex::from_events(&log).unwrap_err();
    assert!(matches!(failure, ProjectionFailure::Unreadable { .. }), "{failure}");
}

#[tokio::test]
async fn an_event_in_a_foreign_or_nameless_stream_is_refused() {
    let (fleet, device) = Fleet::with_device().await;
    let log = fleet.log().await;
    let approved = log.last().unwrap();
    for (stream, is_expected) in [
        (StreamId::certificates(device), (|f| matches!(f, ProjectionFailure::Unreadable { .. })) as fn(&_) -> bool),
        (StreamId::parse("device-x").unwrap(), |f| matches!(f, ProjectionFailure::Nameless { .. })),
    ] {
        let mut moved = approved.clone();
        moved.envelope.stream = stream;
        let failure = CredentialIndex::from_events(&[moved]).unwrap_err();
        assert!(is_expected(&failure), "{failure}");
    }
}

#[tokio::test]
async fn every_kind_of_event_that_the_domain_has_is_known() {
    let (fleet, _) = Fleet::with_device().await;
    let mut recorded = fleet.log().await.remove(0);
    recorded.envelope.data = b"{}".to_vec();
    for (kind, schema_version) in Event::kinds() {
        let category = kind.split_once('.').unwrap().0;
        recorded.envelope.stream = StreamId::parse(&format!("{category}-{}", uuid::Uuid::nil())).unwrap();
        recorded.envelope.event_type = kind.to_owned();
        recorded.envelope.schema_version = schema_version;
        if let Err(ProjectionFailure::Unreadable { source, .. }) =
            CredentialIndex::from_events(std::slice::from_ref(&recorded))
        {
            assert!(matches!(*source, DecodeError::Payload { .. }), "{kind}: {source}");
        }
    }
}

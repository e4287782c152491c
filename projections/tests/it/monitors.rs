//! What monitors do, once, and what they leave alone; by a clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeyError, ApiKeyEvent, ApiKeys, KeyOrigin, KeyRevocationCause};
use signalbeam_domain::{Actor, Aggregate, Context, DeviceId, Event, StreamId, Timestamp};
use signalbeam_event_store::{Clock, EventReader, Recorded, load};
use signalbeam_projections::{
    ApiKeyExpiryMonitor, ApiKeyRetirementMonitor, Freshness, Monitor, Projector, ReadModel, Surroundings, Tables,
};

use crate::fleet::{Fleet, Step};

const DAILY: Duration = Duration::from_hours(24);

/// A monitor's own clock, so that it looks from another day than the one on which things happened.
struct At(AtomicI64);

impl At {
    fn set(&self, moment: Timestamp) {
        self.0.store(moment.unix_microseconds(), Ordering::SeqCst);
    }
}

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_microseconds(self.0.load(Ordering::SeqCst))
    }
}

/// A fleet with what its monitors work with.
struct Watched {
    fleet: Fleet,
    clock: Arc<At>,
    surroundings: Surroundings,
    _folder: tempfile::TempDir,
}

impl Watched {
    async fn of(fleet: Fleet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(&folder.path().join("projections.db"), &*fleet.store).await.unwrap();
        let projector = Projector::start(fleet.store.clone(), tables.clone());
        let clock = Arc::new(At(AtomicI64::new(fleet.clock.now().unix_microseconds())));
        let surroundings = Surroundings {
            store: fleet.store.clone(),
            read_model: ReadModel::new(tables),
            freshness: Freshness::new(Arc::new(projector)),
            clock: clock.clone(),
        };
        Self { fleet, clock, surroundings, _folder: folder }
    }

    /// An approved device with a key in use that lives 60 days, and a certificate in use.
    async fn with_device() -> Self {
        let mut fleet = device_with_key().await;
        for step in [Step::UseKeys(0), Step::IssueCertificate(0), Step::UseCertificates(0)] {
            fleet.perform(step).await;
        }
        Self::of(fleet).await
    }

    fn expiry(&self) -> ApiKeyExpiryMonitor {
        ApiKeyExpiryMonitor::new(self.surroundings.clone(), DAILY, 7)
    }

    fn retirement(&self, days: u16) -> ApiKeyRetirementMonitor {
        ApiKeyRetirementMonitor::new(self.surroundings.clone(), days)
    }

    fn device(&self) -> DeviceId {
        self.fleet.devices[0]
    }

    async fn keys(&self) -> Vec<Recorded> {
        self.fleet.store.read_stream(&StreamId::api_keys(self.device())).await.unwrap()
    }

    /// The thresholds that were told, in order.
    async fn noticed(&self) -> Vec<u16> {
        let events = self.keys().await.into_iter().map(|recorded| recorded.event().unwrap());
        events
            .filter_map(|event| match event {
                Event::ApiKeyEvent(ApiKeyEvent::ExpiryNoticed(noticed)) => Some(noticed.threshold_days),
                _ => None,
            })
            .collect()
    }

    /// Whether the newest thing that happened to the device's keys is that they were retired.
    async fn is_retired(&self) -> bool {
        let last = self.keys().await.pop().unwrap();
        let Event::ApiKeyEvent(ApiKeyEvent::Revoked(revoked)) = last.event().unwrap() else { return false };
        assert_eq!(revoked.cause, KeyRevocationCause::Retired);
        assert_eq!(last.envelope.actor, Actor::system(ApiKeyRetirementMonitor::NAME));
        true
    }

    /// When the certificate was first used.
    async fn first_use(&self) -> Timestamp {
        let stream = StreamId::certificates(self.device());
        let recorded = self.fleet.store.read_stream(&stream).await.unwrap();
        recorded.iter().find(|r| r.envelope.event_type == "certificate.first_used").unwrap().envelope.recorded_at
    }

    async fn key_end(&self) -> Timestamp {
        let (keys, _) = load::<ApiKeys>(&*self.fleet.store, &StreamId::api_keys(self.device())).await.unwrap();
        keys.keys().last().unwrap().issued.expires_at
    }
}

async fn device_with_key() -> Fleet {
    let mut fleet = Fleet::new();
    let steps = [Step::IssueToken, Step::Register(0), Step::Approve(0), Step::IssueKey(0, KeyOrigin::Claim)];
    for step in steps {
        fleet.perform(step).await;
    }
    fleet
}

#[tokio::test]
async fn each_threshold_is_told_once_also_after_a_restart() {
    let watched = Watched::of(device_with_key().await).await;
    let end = watched.key_end().await;
    let told = async |at: Timestamp| {
        watched.clock.set(at);
        // A monitor of its own each time, as after a restart.
        let told = watched.expiry().round().await.unwrap();
        (told, watched.noticed().await)
    };
    assert_eq!(told(end.plus_days(-7).plus_seconds(-1)).await, (0, vec![]));
    assert_eq!(told(end.plus_days(-7)).await, (1, vec![7]), "seven days are within seven days");
    assert_eq!(told(end.plus_days(-7)).await, (0, vec![7]));
    assert_eq!(told(end.plus_seconds(-1)).await, (0, vec![7]));
    assert_eq!(told(end).await, (1, vec![7, 0]), "it authenticates nothing from here on");
    assert_eq!(told(end.plus_days(400)).await, (0, vec![7, 0]));
    let noticed = watched.keys().await.pop().unwrap();
    assert_eq!(noticed.envelope.actor, Actor::system(ApiKeyExpiryMonitor::NAME));
    assert!(noticed.envelope.tenant_id.is_some());
}

#[tokio::test]
async fn a_key_that_expired_while_nobody_looked_is_told_of_as_expired_alone() {
    let watched = Watched::of(device_with_key().await).await;
    watched.clock.set(watched.key_end().await.plus_days(1));
    assert_eq!(watched.expiry().round().await.unwrap(), 1);
    assert_eq!(watched.noticed().await, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_monitors_that_look_at_once_one_tells() {
    let mut fleet = Fleet::new();
    for nth in 0..20 {
        for step in [Step::IssueToken, Step::Register(nth), Step::Approve(nth), Step::IssueKey(nth, KeyOrigin::Claim)] {
            fleet.perform(step).await;
        }
    }
    let watched = Watched::of(fleet).await;
    watched.clock.set(watched.key_end().await);
    let looking: Vec<_> = (0..4)
        .map(|_| {
            let monitor = watched.expiry();
            tokio::spawn(async move { monitor.round().await.unwrap() })
        })
        .collect();
    let mut told = 0;
    for looked in looking {
        told += looked.await.unwrap();
    }
    assert_eq!(told, 20, "each key once between them");
    assert_eq!(watched.expiry().round().await.unwrap(), 0);
}

#[tokio::test]
async fn nobody_is_told_of_a_key_that_has_ended() {
    let mut fleet = device_with_key().await;
    fleet.perform(Step::RevokeKeys(0)).await;
    let watched = Watched::of(fleet).await;
    watched.clock.set(watched.key_end().await);
    assert_eq!(watched.expiry().round().await.unwrap(), 0);
    assert!(watched.noticed().await.is_empty());
}

#[tokio::test]
async fn a_key_is_retired_when_the_days_have_passed_and_once() {
    let watched = Watched::with_device().await;
    let first_use = watched.first_use().await;
    watched.clock.set(first_use.plus_days(3).plus_seconds(-1));
    assert_eq!(watched.retirement(3).round().await.unwrap(), 0);
    assert!(!watched.is_retired().await);
    watched.clock.set(first_use.plus_days(3));
    assert_eq!(watched.retirement(3).round().await.unwrap(), 1);
    assert!(watched.is_retired().await);
    let events = watched.keys().await.len();
    assert_eq!(watched.retirement(3).round().await.unwrap(), 0);
    assert_eq!(watched.keys().await.len(), events);
}

#[tokio::test]
async fn no_days_are_the_first_round_after_the_first_use() {
    let watched = Watched::with_device().await;
    watched.clock.set(watched.first_use().await);
    assert_eq!(watched.retirement(0).round().await.unwrap(), 1);
    assert!(watched.is_retired().await);
}

#[tokio::test]
async fn a_device_without_a_certificate_that_works_keeps_its_key() {
    for steps in [
        vec![],
        vec![Step::IssueCertificate(0)],
        vec![Step::IssueCertificate(0), Step::UseCertificates(0), Step::RevokeCertificate(0, 0)],
        vec![Step::IssueCertificate(0), Step::UseCertificates(0), Step::IssueCertificate(0)],
        vec![Step::IssueCertificate(0), Step::UseCertificates(0), Step::Suspend(0)],
    ] {
        let mut fleet = device_with_key().await;
        for step in &steps {
            fleet.perform(step.clone()).await;
        }
        let watched = Watched::of(fleet).await;
        watched.clock.set(watched.fleet.clock.now().plus_days(1));
        assert_eq!(watched.retirement(0).round().await.unwrap(), 0, "{steps:?}");
        assert!(!watched.is_retired().await, "{steps:?}");
    }
}

#[tokio::test]
async fn a_device_whose_certificate_has_expired_keeps_its_key() {
    let watched = Watched::with_device().await;
    watched.clock.set(watched.first_use().await.plus_days(398));
    assert_eq!(watched.retirement(30).round().await.unwrap(), 0);
    assert!(!watched.is_retired().await);
}

#[tokio::test]
async fn a_retired_device_comes_back_by_an_admins_rotation() {
    let watched = Watched::with_device().await;
    watched.clock.set(watched.first_use().await);
    watched.retirement(0).round().await.unwrap();
    let (keys, _) = load::<ApiKeys>(&*watched.fleet.store, &StreamId::api_keys(watched.device())).await.unwrap();
    let issued = keys.keys()[0].issued.clone();
    let decide = |keys: &ApiKeys, origin| {
        let issued = signalbeam_domain::api_key::KeyIssued { origin, ..issued.clone() };
        keys.decide(ApiKeyCommand::Issue(issued), &Context { now: watched.clock.now() })
    };
    assert_eq!(decide(&keys, KeyOrigin::Claim), Err(ApiKeyError::AlreadyClaimed));
    assert_eq!(decide(&keys, KeyOrigin::DeviceRotation), Err(ApiKeyError::NothingToRotate));
    let rotated = decide(&keys, KeyOrigin::AdminRotation).unwrap();
    let keys = rotated.iter().fold(keys, ApiKeys::evolve);
    assert!(decide(&keys, KeyOrigin::Claim).is_ok(), "the claim is open again");
}

#[tokio::test]
async fn a_monitor_whose_log_fails_says_so_and_does_nothing() {
    let watched = Watched::with_device().await;
    watched.clock.set(watched.first_use().await);
    let failing = Surroundings {
        read_model: {
            let folder = tempfile::tempdir().unwrap();
            let tables = Tables::open(&folder.path().join("other.db"), &*watched.fleet.store).await.unwrap();
            tables.close().await;
            ReadModel::new(tables)
        },
        ..watched.surroundings.clone()
    };
    assert!(ApiKeyRetirementMonitor::new(failing.clone(), 0).round().await.is_err());
    assert!(ApiKeyExpiryMonitor::new(failing, DAILY, 7).round().await.is_err());
    assert!(!watched.is_retired().await);
}

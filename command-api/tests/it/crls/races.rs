//! One number has one content: with several publishers, after a crash at any point, and where a list cannot be made again.

use signalbeam_authn::ErrorCode;
use signalbeam_domain::authority::AuthorityEvent;
use signalbeam_domain::{ActorKind, Digest};

use super::{append, get, published, publisher, revoke, round, served};
use crate::world::{TENANT_A, World};

const ROUTES: [&str; 2] = ["/api/certificates/crl", "/api/certificates/crl/delta"];

#[tokio::test]
async fn of_two_publishers_one_has_published_and_both_serve_the_same_octets() {
    let world = World::new().await;
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let publishers = [publisher(&world.nodes[0]), publisher(&world.nodes[1])];
    for expected in 1..=2 {
        world.assert_projections_follow().await;
        world.store.hold(ActorKind::System);
        let race = async { tokio::join!(publishers[0].round(), publishers[1].round()) };
        let referee = async {
            world.store.held_arrival().await;
            world.store.held_arrival().await;
            world.store.release();
        };
        let ((first, second), ()) = tokio::join!(race, referee);
        first.unwrap();
        second.unwrap();
        assert_eq!(published(&world).await.len(), expected, "both had decided, one has published");
        for route in ROUTES {
            assert_eq!(get(&world.nodes[0], route).await.body, get(&world.nodes[1], route).await.body);
        }
        revoke(&world, &certificate).await;
        world.clock.advance_seconds(5);
    }
    assert_eq!(served(&world.nodes[1]).await.0.entries.len(), 1);
}

#[tokio::test]
async fn whoever_starts_again_serves_the_same_octets_under_the_same_number() {
    let world = World::new().await;
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let before = publisher(&world.nodes[0]);
    round(&world, &before).await.unwrap();
    revoke(&world, &certificate).await;
    world.clock.advance_seconds(5);
    round(&world, &before).await.unwrap();
    // What happens afterwards changes nothing of what was published.
    let (_, other) = world.device_with_certificate(TENANT_A).await;
    revoke(&world, &other).await;
    round(&world, &publisher(&world.nodes[1])).await.unwrap();
    assert_eq!(published(&world).await.len(), 2, "the five seconds are not over");
    for route in ROUTES {
        assert_eq!(get(&world.nodes[0], route).await.body, get(&world.nodes[1], route).await.body);
    }
}

#[tokio::test]
async fn what_was_signed_and_not_recorded_is_never_served() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    world.store.appends_fail.set(true);
    round(&world, &publisher).await.unwrap_err();
    assert_eq!(get(&world.nodes[0], ROUTES[0]).await.status, ErrorCode::SigningUnavailable.status());
    world.store.appends_fail.set(false);
    round(&world, &publisher).await.unwrap();
    assert_eq!(served(&world.nodes[0]).await.0.number, published(&world).await[0].number);
}

#[tokio::test]
async fn a_list_that_cannot_be_made_again_is_followed_by_the_next() {
    let world = World::new().await;
    round(&world, &publisher(&world.nodes[0])).await.unwrap();
    let mut foreign = published(&world).await.remove(0);
    foreign.number += 1;
    foreign.complete.sha256 = Digest([9; 32]);
    append(&world, vec![AuthorityEvent::from(foreign.clone())]).await;
    let other = publisher(&world.nodes[1]);
    round(&world, &other).await.unwrap();
    let events = published(&world).await;
    assert_eq!((events.len(), events[2].number), (3, foreign.number + 1));
    assert_eq!(served(&world.nodes[1]).await.0.number, foreign.number + 1);
}

#[tokio::test]
async fn a_key_store_that_fails_leaves_the_last_list_served() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    round(&world, &publisher).await.unwrap();
    let before = served(&world.nodes[0]).await;
    world.keys.signing_fails.set(true);
    revoke(&world, &certificate).await;
    world.clock.advance_seconds(5);
    round(&world, &publisher).await.unwrap_err();
    assert_eq!(served(&world.nodes[0]).await, before);
    world.keys.signing_fails.set(false);
    round(&world, &publisher).await.unwrap();
    assert_eq!(served(&world.nodes[0]).await.0.entries.len(), 1);
}

#[tokio::test]
async fn while_the_log_is_not_relied_on_nothing_is_published_or_served() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    round(&world, &publisher).await.unwrap();
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    world.log_lock.engage();
    revoke(&world, &certificate).await;
    world.clock.advance_days(1);
    round(&world, &publisher).await.unwrap();
    assert_eq!(published(&world).await.len(), 1);
    for route in ROUTES {
        let refused = get(&world.nodes[0], route).await;
        assert_eq!(refused.status, ErrorCode::LogRolledBack.status());
        assert!(String::from_utf8_lossy(&refused.body).contains("LOG_ROLLED_BACK"));
    }
    world.log_lock.release();
    round(&world, &publisher).await.unwrap();
    assert_eq!(served(&world.nodes[0]).await.0.entries.len(), 1);
}

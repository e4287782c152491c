//! When lists are published, and what they say.

use signalbeam_authn::Role;
use signalbeam_domain::authority::CrlKind;

use super::{published, publisher, revoke, round, served};
use crate::world::{TENANT_A, World};

const SUPERSEDED: Option<u8> = Some(4);
const REMOVED: Option<u8> = Some(8);

#[tokio::test]
async fn the_first_look_publishes_and_the_next_finds_nothing_to_do() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    for _ in 0..3 {
        round(&world, &publisher).await.unwrap();
    }
    let [first] = &published(&world).await[..] else { panic!("one") };
    let now = world.now().unix_seconds();
    assert_eq!((first.kind, first.base_number, first.complete.entries), (CrlKind::Scheduled, first.number, 0));
    let (complete, delta) = served(&world.nodes[0]).await;
    assert_eq!((complete.number, complete.base, complete.entries.len()), (first.number, None, 0));
    assert_eq!((complete.this_update, complete.next_update), (now, now + 86_400));
    assert_eq!((delta.number, delta.base, delta.entries.len()), (first.number, Some(first.number), 0));
}

#[tokio::test]
async fn what_ends_is_listed_with_its_reason_in_both_lists() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    let (device, first) = world.device_with_certificate(TENANT_A).await;
    round(&world, &publisher).await.unwrap();
    let second = world.certificate_of(&device).await;
    revoke(&world, &second).await;
    world.clock.advance_seconds(5);
    round(&world, &publisher).await.unwrap();
    let (complete, delta) = served(&world.nodes[0]).await;
    let both = vec![(first.serial.clone(), SUPERSEDED), (second.serial.clone(), None)];
    assert_eq!((&complete.entries, &delta.entries), (&both, &both));
    let events = published(&world).await;
    assert_eq!((delta.base, complete.number), (Some(events[0].number), events[1].number));
    assert_eq!((events[1].kind, events[1].complete.entries, events[1].delta.entries), (CrlKind::OnChange, 2, 2));
    revoke(&world, &first).await;
    world.clock.advance_seconds(5);
    round(&world, &publisher).await.unwrap();
    let revoked = vec![(first.serial.clone(), None), (second.serial.clone(), None)];
    assert_eq!(served(&world.nodes[0]).await.0.entries, revoked, "superseded, then revoked");
}

#[tokio::test]
async fn the_reason_that_an_admin_names_stands_in_the_list() {
    let world = World::new().await;
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    let compromised = serde_json::json!({"reasonCode": "keyCompromise"});
    world.delete(certificate.route()).admin(Role::Admin).json(&compromised).send().await.expect(204);
    round(&world, &publisher(&world.nodes[0])).await.unwrap();
    assert_eq!(served(&world.nodes[0]).await.0.entries, [(certificate.serial, Some(1))]);
}

#[tokio::test]
async fn lists_follow_one_another_at_a_bounded_pace() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    let (device, _) = world.device_with_certificate(TENANT_A).await;
    round(&world, &publisher).await.unwrap();
    let second = world.certificate_of(&device).await;
    let count = async || {
        round(&world, &publisher).await.unwrap();
        published(&world).await.len()
    };
    world.clock.advance_seconds(899);
    assert_eq!(count().await, 1, "superseded certificates wait for a quarter of an hour");
    world.clock.advance_seconds(1);
    assert_eq!(count().await, 2);
    revoke(&world, &second).await;
    world.clock.advance_seconds(4);
    assert_eq!(count().await, 2, "revoked ones for five seconds");
    world.clock.advance_seconds(1);
    assert_eq!(count().await, 3);
    world.clock.advance_seconds(21_600 - 906);
    assert_eq!(count().await, 3, "nothing has happened");
    world.clock.advance_seconds(1);
    assert_eq!(count().await, 4);
    let events = published(&world).await;
    assert_eq!(events[3].kind, CrlKind::Scheduled);
    assert_eq!(events[3].next_update, world.now().plus_seconds(86_400));
    assert!(events.windows(2).all(|pair| pair[0].number < pair[1].number && pair[0].next_update > pair[1].this_update));
}

#[tokio::test]
async fn a_clock_that_was_put_back_holds_no_revocation_up() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    round(&world, &publisher).await.unwrap();
    world.clock.advance_days(-2);
    revoke(&world, &certificate).await;
    round(&world, &publisher).await.unwrap();
    let events = published(&world).await;
    assert_eq!((events.len(), events[1].complete.entries), (2, 1));
    assert_eq!((events[1].number, events[1].this_update), (events[0].number + 1, events[0].this_update));
}

#[tokio::test]
async fn a_certificate_leaves_after_one_scheduled_list_past_its_end() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    revoke(&world, &certificate).await;
    round(&world, &publisher).await.unwrap();
    let after = async |days| {
        world.clock.advance_days(days);
        round(&world, &publisher).await.unwrap();
        let (complete, delta) = served(&world.nodes[0]).await;
        (complete.entries.len(), delta.entries.first().map(|(_, reason)| *reason))
    };
    assert_eq!(after(89).await, (1, None), "its last day is not over");
    assert_eq!(after(2).await, (1, None), "the one list past its end");
    assert_eq!(after(1).await, (0, Some(REMOVED)));
    assert_eq!(after(1).await, (0, None));
}

#[tokio::test]
async fn an_authority_that_has_ended_publishes_nothing() {
    let world = World::new().await;
    world.clock.advance_days(3_700);
    round(&world, &publisher(&world.nodes[0])).await.unwrap();
    assert!(published(&world).await.is_empty());
}

//! A device moves along its statuses and nowhere else.

use proptest::prelude::*;
use signalbeam_domain::device::{
    Device, DeviceCommand as Command, DeviceEvent as Event, DeviceRegistered, DeviceRenamed,
};
use signalbeam_domain::{AllowedNetworks, DeviceStatus, Metadata, MetadataValue, Network, Tag, Tags, ValidityBounds};

use super::{Life, steps};
use crate::fixtures::{because, digest, name, registered_device};

use DeviceStatus::{Approved, Decommissioned, Pending, Rejected, Suspended};

const ALLOWED: [(Option<DeviceStatus>, DeviceStatus); 9] = [
    (None, Pending),
    (Some(Pending), Approved),
    (Some(Pending), Rejected),
    (Some(Approved), Suspended),
    (Some(Suspended), Approved),
    (Some(Pending), Decommissioned),
    (Some(Approved), Decommissioned),
    (Some(Rejected), Decommissioned),
    (Some(Suspended), Decommissioned),
];

fn metadata() -> impl Strategy<Value = Metadata> {
    prop::collection::btree_map("[a-z]{1,3}", any::<i64>().prop_map(MetadataValue::Integer), 0..3)
        .prop_map(|entries| Metadata::new(entries).unwrap())
}

fn tags() -> impl Strategy<Value = Tags> {
    prop::collection::btree_set("[a-c]", 0..3)
        .prop_map(|tags| Tags::new(tags.iter().map(|tag| Tag::parse(tag).unwrap())).unwrap())
}

fn command() -> impl Strategy<Value = Command> {
    let reason = || "[a-z]{1,8}".prop_map(|text| because(&text));
    prop_oneof![
        (1_u8..3).prop_map(|secret| {
            Command::Register(DeviceRegistered { claim_secret_sha256: digest(secret), ..registered_device() })
        }),
        (1_i64..=730).prop_map(|days| Command::Approve {
            certificate_profile: None,
            api_key_validity_days: ValidityBounds::API_KEY.judge(Some(days)).unwrap()
        }),
        reason().prop_map(Command::Reject),
        prop::collection::vec(0_u8..3, 0..3).prop_map(|thirds| {
            let networks = thirds.into_iter().map(|third| Network::parse(&format!("10.0.{third}.0/24")).unwrap());
            Command::Change {
                renamed: DeviceRenamed::default(),
                networks: Some(AllowedNetworks::new(networks.collect()).unwrap()),
            }
        }),
        (prop::option::of("[a-c]"), prop::option::of(metadata()), prop::option::of(tags())).prop_map(
            |(label, metadata, tags)| {
                Command::Change {
                    renamed: DeviceRenamed {
                        device_name: label.as_deref().map(name),
                        metadata,
                        tags,
                        certificate_profile: None,
                    },
                    networks: None,
                }
            }
        ),
        reason().prop_map(Command::Suspend),
        reason().prop_map(Command::Reinstate),
        reason().prop_map(Command::Decommission),
    ]
}

proptest! {
    #[test]
    fn a_device_moves_along_its_statuses_and_nowhere_else(steps in steps(command())) {
        let mut life = Life::<Device>::new();
        for (hours, command) in steps {
            life.wait(hours);
            let before = life.state.known().cloned();
            let events = life.ask(command).unwrap_or_default();
            let after = life.state.known().cloned();
            let (was, is) = (before.as_ref().map(|d| d.status), after.as_ref().map(|d| d.status));
            prop_assert!(events.len() <= 1, "one command, one fact: {events:?}");
            prop_assert!(was == is || ALLOWED.contains(&(was, is.unwrap())), "{was:?} -> {is:?}");
            prop_assert_eq!(before == after, events.is_empty(), "an event changes something: {:?}", events);
            if let (Some(before), Some(after)) = (before, after) {
                prop_assert_eq!(before.registered.tenant_id, after.registered.tenant_id);
                prop_assert_eq!(before.registered.claim_secret_sha256(), after.registered.claim_secret_sha256());
            }
        }
        let approvals = life.events().filter(|event| matches!(event, Event::Approved(_))).count();
        let has_validity = life.state.known().is_some_and(|device| device.api_key_validity_days.is_some());
        prop_assert_eq!(approvals, usize::from(has_validity), "approved at most once, and its key's life is known then");
        life.replays()?;
    }
}

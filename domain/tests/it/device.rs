//! A device waits for an admin, is let in or refused, may be barred for a while, and ends for good.

use std::collections::BTreeMap;

use signalbeam_domain::device::{
    Device, DeviceApproved, DeviceCommand as Command, DeviceDecommissioned, DeviceError as Error, DeviceEvent as Event,
    DeviceNetworksRestricted, DeviceRegistered, DeviceReinstated, DeviceRejected, DeviceRenamed, DeviceSuspended,
};
use signalbeam_domain::{
    Aggregate, AllowedNetworks, DeviceStatus, Metadata, MetadataValue, Network, ProfileName, Tag, Tags, ValidityBounds,
};

use crate::fixtures::{because, digest, name, prefix, reason, registered_device};
use crate::given::{Given, given};

fn registered() -> Event {
    registered_device().into()
}

fn approve(days: i64) -> Command {
    Command::Approve {
        api_key_validity_days: ValidityBounds::API_KEY.judge(Some(days)).unwrap(),
        certificate_profile: None,
    }
}

fn approved(days: i64) -> Event {
    DeviceApproved {
        api_key_validity_days: ValidityBounds::API_KEY.judge(Some(days)).unwrap(),
        certificate_profile: None,
    }
    .into()
}

fn rejected() -> Event {
    DeviceRejected(because("unknown site")).into()
}

fn suspended() -> Event {
    DeviceSuspended(because("stolen?")).into()
}

fn decommissioned() -> Event {
    DeviceDecommissioned(because("replaced")).into()
}

fn renaming(renamed: DeviceRenamed) -> Command {
    Command::Change { renamed, networks: None }
}

fn restricting(networks: AllowedNetworks) -> Command {
    Command::Change { renamed: DeviceRenamed::default(), networks: Some(networks) }
}

fn rename(name_to: Option<&str>, metadata: Option<Metadata>) -> DeviceRenamed {
    DeviceRenamed { device_name: name_to.map(name), metadata, tags: None, certificate_profile: None }
}

fn floor(number: i64) -> Metadata {
    Metadata::new(BTreeMap::from([("floor".into(), MetadataValue::Integer(number))])).unwrap()
}

/// A history that leads to each status.
fn that_is(status: DeviceStatus) -> Given<Device> {
    given(match status {
        DeviceStatus::Pending => vec![registered()],
        DeviceStatus::Approved => vec![registered(), approved(90)],
        DeviceStatus::Rejected => vec![registered(), rejected()],
        DeviceStatus::Suspended => vec![registered(), approved(90), suspended()],
        DeviceStatus::Decommissioned => vec![registered(), approved(90), decommissioned()],
    })
}

/// The command is accepted in these statuses, and refused in all others with the status and the participle.
#[track_caller]
fn only_from(allowed: &[DeviceStatus], command: &Command, event: &Event, action: &'static str) {
    for status in DeviceStatus::ALL {
        let outcome = that_is(status).when(command.clone());
        if allowed.contains(&status) {
            outcome.then([event.clone()]);
        } else {
            outcome.then_refused(Error::InvalidState { status, action });
        }
    }
}

#[test]
fn a_device_registers_and_waits() {
    given::<Device>([]).when(Command::Register(registered_device())).then([registered()]);
    assert_eq!(given::<Device>([registered()]).state().known().unwrap().status, DeviceStatus::Pending);
}

#[test]
fn the_same_registration_rolled_forward_twice_happens_once_whatever_became_of_the_device() {
    for status in DeviceStatus::ALL {
        that_is(status).when(Command::Register(registered_device())).then_nothing();
    }
}

#[test]
fn a_renamed_device_is_still_the_one_that_registered() {
    let renamed = rename(Some("hall 2"), Some(floor(2))).into();
    given::<Device>([registered(), renamed]).when(Command::Register(registered_device())).then_nothing();
}

#[test]
fn another_registration_does_not_take_the_devices_id() {
    let other_token = DeviceRegistered { token_prefix: prefix(2), ..registered_device() };
    let other_secret = DeviceRegistered { claim_secret_sha256: digest(2), ..registered_device() };
    for other in [other_token, other_secret] {
        given::<Device>([registered()]).when(Command::Register(other)).then_refused(Error::AlreadyRegistered);
    }
}

#[test]
fn nothing_can_be_done_with_an_unknown_device() {
    for command in [
        approve(90),
        Command::Reject(because("x")),
        renaming(rename(Some("x"), None)),
        Command::Suspend(because("x")),
        Command::Reinstate(because("x")),
        Command::Decommission(because("x")),
    ] {
        given::<Device>([]).when(command).then_refused(Error::Unknown);
    }
}

#[test]
fn only_a_pending_device_is_approved_and_never_twice() {
    only_from(&[DeviceStatus::Pending], &approve(365), &approved(365), "approved");
}

#[test]
fn only_a_pending_device_is_rejected_and_not_after_its_approval() {
    only_from(&[DeviceStatus::Pending], &Command::Reject(because("unknown site")), &rejected(), "rejected");
}

#[test]
fn only_an_approved_device_is_suspended() {
    only_from(&[DeviceStatus::Approved], &Command::Suspend(because("stolen?")), &suspended(), "suspended");
}

#[test]
fn only_a_suspended_device_is_reinstated_and_the_reason_is_kept() {
    let event = DeviceReinstated(because("found")).into();
    only_from(&[DeviceStatus::Suspended], &Command::Reinstate(because("found")), &event, "reinstated");
}

#[test]
fn every_living_device_is_decommissioned_once() {
    let alive = [DeviceStatus::Pending, DeviceStatus::Approved, DeviceStatus::Rejected, DeviceStatus::Suspended];
    only_from(&alive, &Command::Decommission(because("replaced")), &decommissioned(), "decommissioned");
}

#[test]
fn a_device_that_is_refused_or_out_of_service_keeps_its_label() {
    let renamed = rename(Some("hall 2"), Some(floor(2)));
    let allowed = [DeviceStatus::Pending, DeviceStatus::Approved, DeviceStatus::Suspended];
    only_from(&allowed, &renaming(renamed.clone()), &renamed.into(), "renamed");
}

#[test]
fn a_renaming_records_only_what_changes() {
    let both = renaming(rename(Some("gateway"), Some(floor(1))));
    given::<Device>([registered()]).when(both).then([rename(None, Some(floor(1))).into()]);
    let both = renaming(rename(Some("hall 2"), Some(Metadata::default())));
    given::<Device>([registered()]).when(both).then([rename(Some("hall 2"), None).into()]);
}

#[test]
fn a_renaming_that_changes_nothing_is_no_event() {
    for same in [rename(None, None), rename(Some("gateway"), None), rename(Some("gateway"), Some(Metadata::default()))]
    {
        given::<Device>([registered()]).when(renaming(same)).then_nothing();
    }
}

#[test]
fn a_device_shows_its_present_name_and_what_an_admin_decided() {
    let renamed = rename(Some("hall 2"), Some(floor(2))).into();
    let device = given::<Device>([registered(), renamed, approved(365)]).state();
    let device = device.known().unwrap();
    assert_eq!(device.registered.device_name, name("hall 2"));
    assert_eq!(device.registered.metadata, floor(2));
    assert_eq!(device.api_key_validity_days.unwrap().get(), 365);
    let device = that_is(DeviceStatus::Rejected).state();
    assert_eq!(device.known().unwrap().rejection_reason, Some(reason("unknown site")));
    assert_eq!(given::<Device>([]).state().known(), None);
}

#[test]
fn a_reinstated_device_is_approved_again() {
    let history = [registered(), approved(90), suspended(), DeviceReinstated(because("found")).into()];
    assert_eq!(given::<Device>(history).state().known().unwrap().status, DeviceStatus::Approved);
}

#[test]
fn every_status_is_read_as_it_is_written() {
    for status in DeviceStatus::ALL {
        assert_eq!(that_is(status).state().known().unwrap().status, status);
        assert_eq!(DeviceStatus::parse(&status.to_string()), Some(status));
        assert_eq!(DeviceStatus::parse(&status.as_str().to_lowercase()), Some(status));
    }
    assert_eq!(DeviceStatus::parse("Unknown"), None);
}

fn networks(texts: &[&str]) -> AllowedNetworks {
    AllowedNetworks::new(texts.iter().map(|text| Network::parse(text).unwrap()).collect()).unwrap()
}

#[test]
fn a_device_in_service_is_bound_to_networks_and_set_free_again() {
    use DeviceStatus::{Approved, Pending, Suspended};
    let office = || networks(&["192.0.2.0/24"]);
    let bound = || Event::from(DeviceNetworksRestricted { networks: office() });
    let command = restricting(office());
    only_from(&[Pending, Approved, Suspended], &command, &bound(), "restricted to networks");
    given::<Device>([registered(), bound()]).when(command).then_nothing();
    let free = DeviceNetworksRestricted { networks: AllowedNetworks::default() };
    given::<Device>([registered(), bound()]).when(restricting(AllowedNetworks::default())).then([free.into()]);
    let state = given::<Device>([registered(), bound()]).state();
    assert_eq!(state.known().unwrap().allowed_networks, office());
}

#[test]
fn tags_are_replaced_as_a_whole_and_only_where_they_change() {
    let tagged = |tags: &[&str]| DeviceRenamed {
        tags: Some(Tags::new(tags.iter().map(|tag| Tag::parse(tag).unwrap())).unwrap()),
        ..DeviceRenamed::default()
    };
    given::<Device>([registered()]).when(renaming(tagged(&["b", "a"]))).then([tagged(&["a", "b"]).into()]);
    given::<Device>([registered(), tagged(&["a", "b"]).into()]).when(renaming(tagged(&["b", "a"]))).then_nothing();
    let fewer = renaming(tagged(&[]));
    given::<Device>([registered(), tagged(&["a"]).into()]).when(fewer).then([tagged(&[]).into()]);
    given::<Device>([registered()]).when(renaming(tagged(&[]))).then_nothing();
}

#[test]
fn a_change_of_name_and_networks_happens_as_a_whole() {
    let office = networks(&["192.0.2.0/24"]);
    let renamed = rename(Some("gate"), None);
    let bound = Event::from(DeviceNetworksRestricted { networks: office.clone() });
    let change = Command::Change { renamed: renamed.clone(), networks: Some(office) };
    given::<Device>([registered()]).when(change.clone()).then([renamed.clone().into(), bound.clone()]);
    given::<Device>([registered(), renamed.clone().into()]).when(change.clone()).then([bound]);
    let action = "restricted to networks";
    given::<Device>([registered(), rejected()])
        .when(change)
        .then_refused(Error::InvalidState { status: DeviceStatus::Rejected, action });
    given::<Device>([registered()])
        .when(Command::Change { renamed: renamed.clone(), networks: None })
        .then([renamed.into()]);
}

#[test]
fn the_profile_of_certificates_is_chosen_at_approval_and_changed_later() {
    let profile = |name: &str| Some(ProfileName::parse(name).unwrap());
    let api_key_validity_days = ValidityBounds::API_KEY.judge(None).unwrap();
    let changed = |name: &str| DeviceRenamed { certificate_profile: profile(name), ..DeviceRenamed::default() };
    let approval = Command::Approve { api_key_validity_days, certificate_profile: profile("sensor") };
    let approved = Event::from(DeviceApproved { api_key_validity_days, certificate_profile: profile("sensor") });
    given::<Device>([registered()]).when(approval).then([approved.clone()]);
    given::<Device>([registered(), approved.clone()]).when(renaming(changed("sensor"))).then_nothing();
    given::<Device>([registered(), approved.clone()])
        .when(renaming(changed("gateway")))
        .then([changed("gateway").into()]);
    given::<Device>([registered()]).when(renaming(changed("device"))).then_nothing();
    let device = Device::fold(&[registered(), approved, changed("gateway").into()]);
    assert_eq!(device.known().unwrap().profile().as_str(), "gateway");
    assert_eq!(Device::fold(&[registered()]).known().unwrap().profile(), ProfileName::device());
}
